"""The command: which programs to run, on which loops, and what to say of a fault."""

import argparse
import dataclasses
import itertools
import json
import pathlib
import platform
import sys
import threading
import time
from collections.abc import Iterator

from .listing import listing
from .programs import Program, from_data, generate, to_data
from .shrinking import shrink
from .workers import Faults, Worker, work

DIRECTORY = pathlib.Path(__file__).parents[2] / "target" / "fuzz"
RESCUE_AFTER = [0.0001, 0.001]
MOST_RUNS = 20  # to see whether a program fails
ENOUGH_FAILURES = 3  # to know how often it does


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if options.worker:
        work()
        return 0
    campaign = Campaign(options)
    threads = [threading.Thread(target=campaign.run) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    campaign.say(campaign.summary())
    return 1 if campaign.failures else 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="tests/fuzz",
        description=sys.modules[__package__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, help="the first program (default: a number made from the time)")
    add("--count", type=int, help="how many programs (default: one if --seed is given)")
    add("--seconds", type=float, help="begin no program after so long")
    add("--program", type=pathlib.Path, help="a file with a program, run --count times")
    add("--loop", action="append", help="a loop in place of all others: everloop, rescue=SECONDS, or module:factory")
    add("--rescue-after", type=float, nargs="+", default=RESCUE_AFTER, help="when rescue sets in, in seconds")
    add("--patience", type=float, default=60, help="seconds that a program may take on one loop")
    add("--shrink-seconds", type=float, default=120, help="how long to look for a smaller program; 0: not at all")
    add("--most-failures", type=int, default=5, help="stop after so many")
    add("--save", type=pathlib.Path, default=DIRECTORY, help="where programs that fail are written to")
    add("--jobs", type=int, default=1, help="how many programs run at once")
    add("--list", action="store_true", help="print the programs in place of running them")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.count is None and options.seconds is None:
        options.count = 1
    if options.seed is None:
        options.seed = 0 if options.program else int(time.time()) % 10_000_000 * 100
    options.loops = options.loop or ["everloop", *(f"rescue={seconds:g}" for seconds in options.rescue_after)]
    return options


class Campaign:
    """Programs that are run one after the other, and the faults that were found."""

    def __init__(self, options):
        self.options = options
        self.failures = 0
        self.done = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()  # around the numbers above, and what is printed
        self._programs = self._choose()

    def run(self) -> None:
        """Run programs until there are no more. Called by as many threads as there are jobs."""
        with Worker(self.options.patience) as worker:
            while (following := self._next()) is not None:
                label, program = following
                if self.options.list:
                    self.say(f"seed {label}\n{listing(program, source=False)}\n")
                elif faults := worker.run(program, self.options.loops):
                    self._fail(worker, label, program, faults)
                with self._lock:
                    self.done += 1

    def say(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def summary(self) -> str:
        seconds = time.monotonic() - self._began
        return (
            f"{self.done} programs from seed {self.options.seed} on, on {', '.join(self.options.loops)}, "
            f"CPython {platform.python_version()}, {seconds:.0f} s: {self.failures or 'none'} failed"
        )

    def _choose(self) -> Iterator[tuple[str, Program]]:
        numbers = itertools.count() if self.options.count is None else range(self.options.count)
        for number in numbers:
            if self.options.program:
                yield self.options.program.stem, from_data(json.loads(self.options.program.read_text()))
            else:
                seed = self.options.seed + number
                yield str(seed), generate(seed)

    def _next(self):
        with self._lock:
            late = self.options.seconds is not None and time.monotonic() - self._began > self.options.seconds
            if late or self.failures >= self.options.most_failures:
                return None
            return next(self._programs, None)

    def _fail(self, worker: Worker, label: str, program: Program, faults: Faults) -> None:
        """Make the program smaller, and print it."""
        with self._lock:
            self.failures += 1
        loop, told = next(iter(faults.items()))
        self.say(f"FAILED: program {label} on {loop}\n{_first_lines(told)}\n")

        often = "as it was generated"
        if self.options.shrink_seconds:
            program, told, often = Shrinker(worker, loop, told).shrink(program, self.options.shrink_seconds)
        file = self.options.save / f"{label}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(to_data(program), indent=1))
        self.say(
            f"== program {label} on {loop}: {often}\n"
            f"{_first_lines(told, 40)}\n\n{listing(program)}\n"
            f"again:   python tests/fuzz --program {file} --loop {loop} --count {MOST_RUNS}\n"
            f"as made: python tests/fuzz --seed {label} --loop {loop}\n"
        )


@dataclasses.dataclass
class Shrinker:
    """Looks for a smaller program that fails on one loop."""

    worker: Worker
    loop: str
    told: list[str]  # the faults of the last program that failed

    def shrink(self, program: Program, seconds: float) -> tuple[Program, list[str], str]:
        """The smallest program found, its faults, and how often it fails."""
        failed, runs = self._measure(program)
        if not failed:
            return program, self.told, f"it did not fail again in {runs} runs"
        # a program that fails as often does so within as many runs, almost surely
        program = shrink(program, lambda candidate: any(self._fails(candidate) for _ in range(runs)), seconds)
        failed, runs = self._measure(program)
        return program, self.told, f"it failed {failed} times in {runs} runs"

    def _measure(self, program):
        """How often it failed in so many runs."""
        failed = runs = 0
        while runs < MOST_RUNS and failed < ENOUGH_FAILURES:
            runs += 1
            failed += self._fails(program)
        return failed, runs

    def _fails(self, program: Program) -> bool:
        faults = self.worker.run(program, [self.loop] if self.loop != "asyncio" else []).get(self.loop)
        if faults:
            self.told = faults
        return bool(faults)


def _first_lines(faults, most=12):
    lines = "\n".join(faults).splitlines()
    more = [f"... and {len(lines) - most} lines more"] if len(lines) > most else []
    return "\n".join(["  " + line for line in lines[:most]] + more)
