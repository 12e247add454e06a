"""Interleaved measurement: every loop in a process of its own, figure by figure, round after round.

A script says which figures there are for a kind of loop, and calls `main`. In each round `main` starts the script
again as a child for each loop, and asks one child after the other for the same figure: loops never share a process, and
a slow moment of the machine falls on all of them alike. Loops are compared within a round only; the median of the
rounds is printed. How to read the figures is in benches/README.md.
"""

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from asyncio import AbstractEventLoop, Runner
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

# what measures, and what it adds to the environment
LOOPS = {
    "asyncio": {},
    "uvloop": {},
    "rloop": {},
    "blazio": {},
    "everloop": {},
    "unwatched": {"EVERLOOP_WATCHDOG": "0"},  # everloop, with its watchdog not started
}
ATTEMPTS = 3

Times = tuple[float, float]  # seconds: wall time, and CPU time of the process
Figures = dict[str, Callable[[Runner], Times]]
Results = dict[str, dict[str, list[Times]]]  # loop -> figure -> one entry for each round


def main(script: str, doc: str, figures: Callable[[str], Figures], *, loops: tuple[str, ...], rounds: int) -> None:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="(%(default)s)")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=loops, help="(%(default)s)")
    parser.add_argument("--child", choices=LOOPS, help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.child:
        answer(options.child, figures(options.child))
        return

    results: Results = {name: {title: [] for title in figures(name)} for name in installed(options.loops)}
    for number in range(options.rounds):
        play_round(script, number, results)
    print(f"{doc.splitlines()[0]} CPython {sys.version.split()[0]}, median of {options.rounds} rounds.")
    for clock, title in enumerate(("wall time", "CPU time of the process")):
        print_table(title, results, clock)


def installed(names: list[str]) -> Iterator[str]:
    for name in names:
        if importlib.util.find_spec(module(name)):
            yield name
        else:
            print(f"{name}: not installed, skipped", file=sys.stderr)


def module(name: str) -> str:
    return "everloop" if name == "unwatched" else name


def play_round(script: str, number: int, results: Results) -> None:
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(child(script, name)) for name in results}
        titles = list(dict.fromkeys(title for figures in results.values() for title in figures))
        for turn, title in enumerate(titles, start=number):
            # another loop begins each time: who comes after whom must not matter
            names = [name for name in results if title in results[name]]
            start = turn % len(names) if names else 0
            for name in names[start:] + names[:start]:
                times = ask(children[name], title)
                if times is None:
                    print(f"{name}: failed at {title!r}, left out", file=sys.stderr)
                    del results[name]
                else:
                    results[name][title].append(times)


@contextlib.contextmanager
def child(script: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, script, "--child", name]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | LOOPS[name], stdin=pipe, stdout=pipe, text=True) as process:
        yield process


def ask(process: subprocess.Popen[str], title: str) -> Times | None:
    try:
        print(title, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())
    except (BrokenPipeError, json.JSONDecodeError):
        return None


def print_table(title: str, results: Results, clock: int) -> None:
    """The time of each loop, and how many times the others' time everloop takes."""
    others = [name for name in results if name != "everloop"] if "everloop" in results else []
    heads = list(results) + [f"/ {name}" for name in others]
    print(f"\n{title:<30}" + "".join(f"{head:>12}" for head in heads))

    # not every loop has every figure: a dash stands for what it cannot do
    for figure in dict.fromkeys(figure for figures in results.values() for figure in figures):
        seconds = {name: [times[clock] for times in results[name].get(figure, [])] for name in results}
        cells = [duration(seconds[name]) for name in results] + [ratio(seconds["everloop"], seconds[x]) for x in others]
        print(f"{figure:<30}" + "".join(f"{cell:>12}" for cell in cells))


def duration(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    microseconds = 1e6 * median(seconds)
    return f"{microseconds:.3f} us" if microseconds < 10 else f"{microseconds:.1f} us"


def ratio(mine: list[float], others: list[float]) -> str:
    ratios = [a / b for a, b in zip(mine, others, strict=False) if b]
    return f"{median(ratios):.3f}" if ratios else "-"


# -- in the child ---------------------------------------------------------------------------------------------------


def answer(name: str, figures: Figures) -> None:
    with runner(name) as made:
        for line in sys.stdin:
            print(json.dumps(figures[line.rstrip("\n")](made)), flush=True)


def runner(name: str) -> Runner:
    def new_event_loop() -> AbstractEventLoop:
        return importlib.import_module(module(name)).new_event_loop()

    return Runner(loop_factory=new_event_loop)


def fastest(run: Callable[[], object], operations: int) -> Times:
    """Seconds per operation of the fastest attempt, by each clock; the collector runs between attempts, not in them."""
    walls, cpus = [], []
    gc.disable()
    for _ in range(ATTEMPTS):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    gc.enable()
    return min(walls) / operations, min(cpus) / operations


async def typical(trip: Callable[[], Awaitable[float]], trips: int) -> Times:
    """The median of the seconds that `trip` says it took, and the CPU time of a trip."""
    cpu = time.process_time()
    seconds = [await trip() for _ in range(trips)]
    return median(seconds), (time.process_time() - cpu) / trips
