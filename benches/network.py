"""What a message costs over TCP, Unix sockets, UDP and TLS: an echo, and connections that are opened and closed.

    python benches/network.py [--cells 'tcp-1k-*,udp-*'] [--loops asyncio uvloop rloop everloop] [--rounds 5] [--quick]

`epoll` and `epoll+py` are no loops, but what no loop can be faster than: a server without Python, and one that calls an
empty Python function for each message (limit.rs).

A cell is TRANSPORT-SIZE-STYLE-CONNECTIONS. Each has a server process for each loop (echo_server.py) on one processor,
and this process as the client (load.py) on another. The servers take turns in short slices, and the medians of the
slices are compared. Server CPU time is read from the clock of the server's process, all threads included. A slice in
which other programs took the processors away is played again.
"""

import argparse
import contextlib
import fnmatch
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import load
import measure
from echo_server import LIMIT, LIMITS, UNSUPPORTED

SERVER = Path(__file__).with_name("echo_server.py")
LOOPS = ("asyncio", "uvloop", "rloop", "everloop", *LIMITS)
SIZES = {"1k": 1024, "16k": 16 * 1024, "256k": 256 * 1024}
WARM_UP = 0.05  # seconds
DISTURBED = 0.05  # of a slice spent waiting for a processor
ATTEMPTS = 3
GOAL = 1.2  # times uvloop's throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="*", help="patterns, joined by commas (all)")
    parser.add_argument("--loops", nargs="+", choices=[*measure.LOOPS, *LIMITS], default=LOOPS, help="(all)")
    parser.add_argument("--rounds", type=int, help="slices of each loop in a cell (5, quick 3)")
    parser.add_argument("--slice", type=float, help="seconds of one slice (0.2, quick 0.1)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter slices")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.slice or (0.1 if options.quick else 0.2)

    cells = [cell for cell in every_cell() if matches(cell, options.cells)]
    loops = list(measure.installed([name for name in options.loops if name not in LIMITS]))
    if LIMIT.exists():
        loops += [name for name in options.loops if name in LIMITS]
    else:
        print(f"{LIMIT} is missing, which `make bench` builds: no limits", file=sys.stderr)
    server_core = pin_client()
    gc.disable()

    table = Table(loops)
    table.print_head(rounds, seconds)
    for cell in cells:
        table.add(cell, measure_cell(cell, loops, server_core, rounds, seconds))
    table.print_summary()


@dataclass(frozen=True)
class Cell:
    transport: str
    size: str
    style: str
    connections: int

    def __str__(self) -> str:
        return f"{self.transport}-{self.size}-{self.style}-{self.connections}"


def every_cell() -> Iterator[Cell]:
    for style in ("protocol", "buffered", "streams"):
        for size in SIZES:
            for connections in (1, 10, 100):
                yield Cell("tcp", size, style, connections)
    for transport in ("unix", "tls"):
        for size in SIZES:
            for connections in (1, 10, 100):
                yield Cell(transport, size, "protocol", connections)
    for connections in (1, 10, 100):
        yield Cell("udp", "1k", "datagram", connections)
    for transport in ("tcp", "unix", "tls"):
        yield Cell(transport, "1k", "churn", 10)


def matches(cell: Cell, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(str(cell), pattern) for pattern in patterns.split(","))


def pin_client() -> str:
    """Keeps this process on the last processor; the servers are left the first. With one only, all share it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one processor only: client and server take it from each other", file=sys.stderr)
        return "any"
    os.sched_setaffinity(0, {cores[-1]})
    return str(cores[0])


# -- one cell -------------------------------------------------------------------------------------------------------


@dataclass
class Slice:
    rate: float
    """Messages per second."""
    cost: float
    """Seconds of server CPU time per message."""
    waited: float
    """Which part of the time server and client were ready and others had their processors."""


class Slices(list[Slice]):
    """What one loop did in one cell."""

    @property
    def rate(self) -> float:
        return median(each.rate for each in self)

    @property
    def cost(self) -> float:
        return median(each.cost for each in self)

    @property
    def busy(self) -> float:
        """Which part of the time the server had something to do: far below 1, the rate is not its own."""
        return median(each.rate * each.cost for each in self)


def measure_cell(cell: Cell, loops: list[str], core: str, rounds: int, seconds: float) -> dict[str, Slices]:
    results: dict[str, Slices] = {}
    with contextlib.ExitStack() as stack:
        contenders = {}
        for name in loops:
            if contender := stack.enter_context(contending(name, cell, core)):
                contenders[name] = contender
                results[name] = Slices()

        for number in range(-1, rounds):
            # another loop begins each time: who comes after whom must not matter
            names = list(contenders)
            start = number % len(names) if names else 0
            for name in names[start:] + names[:start]:
                try:
                    if number < 0:
                        contenders[name].play(WARM_UP)
                    else:
                        results[name].append(contenders[name].play_undisturbed(seconds))
                except OSError as error:
                    print(f"{name}: failed at {cell}: {error!r}", file=sys.stderr)
                    del contenders[name], results[name]
    return results


class Contender:
    def __init__(self, process: subprocess.Popen[str], client: load.Echoes | load.Churn) -> None:
        self.process = process
        self.client = client
        # what clock_getcpuclockid(3) makes of a process id
        self.cpu_clock = (~process.pid << 3) | 2

    def play_undisturbed(self, seconds: float) -> Slice:
        """The first slice in which hardly anybody waited for a processor, else the best of a few."""
        slices = []
        for _ in range(ATTEMPTS):
            slices.append(self.play(seconds))
            if slices[-1].waited < DISTURBED:
                break
        return min(slices, key=lambda each: each.waited)

    def play(self, seconds: float) -> Slice:
        gc.collect()
        waited = self.waited()
        wall, cpu = time.perf_counter(), time.clock_gettime(self.cpu_clock)
        messages = self.client.run(seconds)
        cpu, wall = time.clock_gettime(self.cpu_clock) - cpu, time.perf_counter() - wall
        return Slice(messages / wall, cpu / messages, (self.waited() - waited) / wall)

    def waited(self) -> float:
        """Seconds for which server and client have been ready and not running; 0 where the kernel does not count."""
        nanoseconds = 0
        with contextlib.suppress(FileNotFoundError):
            for process in (self.process.pid, "self"):
                nanoseconds += int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
        return nanoseconds / 1e9


@contextlib.contextmanager
def contending(name: str, cell: Cell, core: str) -> Iterator[Contender | None]:
    """A server on this loop and the connections to it; None where the loop cannot do that."""
    command = [sys.executable, str(SERVER), name, cell.transport, cell.style, core]
    environment, pipe = os.environ | measure.LOOPS.get(name, {}), subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            client = start_client(process, cell)
            if client is None and process.wait() != UNSUPPORTED:
                print(f"{name}: failed at {cell}", file=sys.stderr)
            yield Contender(process, client) if client else None
            if client:
                client.close()
        finally:
            process.kill()


def start_client(process: subprocess.Popen[str], cell: Cell) -> load.Echoes | load.Churn | None:
    line = process.stdout.readline()
    if not line:
        return None
    kind = load.Churn if cell.style == "churn" else load.Echoes
    try:
        return kind(cell.transport, json.loads(line), SIZES[cell.size], cell.connections)
    except OSError as error:
        print(f"no answer at {cell}: {error!r}", file=sys.stderr)
        process.kill()
        return None


# -- the table ------------------------------------------------------------------------------------------------------


class Table:
    """One line for each cell, printed as soon as it is known."""

    def __init__(self, loops: list[str]) -> None:
        self.loops = loops
        self.reference = "uvloop" if "uvloop" in loops else loops[0]
        self.subject = "everloop" if "everloop" in loops else loops[-1]
        order = [name for name in reversed(loops) if name not in LIMITS] + [name for name in loops if name in LIMITS]
        self.others = [name for name in order if name != self.reference]
        self.cells: dict[Cell, dict[str, Slices]] = {}

    def print_head(self, rounds: int, seconds: float) -> None:
        print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}.")
        print(f"Medians of {rounds} slices of {seconds:g} s. Throughput: more is better; CPU time: less is better.")
        print(f"busy: the part of the time that the server of {self.subject} had something to do.\n")
        absolute = f"{self.subject}'s own"
        width = 9 * len(self.others)
        relative = f"{'throughput / ' + self.reference:>{width}}   {'CPU time / ' + self.reference:>{width}}"
        print(f"{'':<25}{absolute:>27}   {relative}")
        heads = "".join(f"{name:>9}" for name in self.others)
        print(f"{'cell':<25}{'msg/s':>9}{'CPU us':>10}{'busy':>8}   {heads}   {heads}")

    def add(self, cell: Cell, results: dict[str, Slices]) -> None:
        self.cells[cell] = results
        own = "".join(f"{'-':>9}" for _ in range(3))
        if mine := results.get(self.subject):
            own = f"{mine.rate:>9.0f}{1e6 * mine.cost:>10.1f}{mine.busy:>8.0%}"
        rates = "".join(f"{shown(self.throughput(results, name)):>9}" for name in self.others)
        costs = "".join(f"{shown(self.cpu_time(results, name)):>9}" for name in self.others)
        print(f"{cell!s:<25}{own}   {rates}   {costs}", flush=True)

    def throughput(self, results: dict[str, Slices], name: str) -> float | None:
        mine, base = results.get(name), results.get(self.reference)
        return mine.rate / base.rate if mine and base else None

    def cpu_time(self, results: dict[str, Slices], name: str) -> float | None:
        mine, base = results.get(name), results.get(self.reference)
        return mine.cost / base.cost if mine and base else None

    def print_summary(self) -> None:
        rates = {cell: self.throughput(results, self.subject) for cell, results in self.cells.items()}
        costs = {cell: self.cpu_time(results, self.subject) for cell, results in self.cells.items()}
        short = [str(cell) for cell, rate in rates.items() if rate is None or rate < GOAL]
        dear = [str(cell) for cell, cost in costs.items() if cost is None or cost > 1 / GOAL]
        slices = [each for results in self.cells.values() for slices in results.values() for each in slices]
        disturbed = sum(each.waited >= DISTURBED for each in slices)
        print(f"\n{disturbed} of {len(slices)} slices were disturbed by other programs.")
        print(f"{self.subject} has less than {GOAL} times {self.reference}'s throughput in {listed(short, rates)}")
        print(f"{self.subject} takes more than 1/{GOAL} of {self.reference}'s CPU time in {listed(dear, costs)}")


def shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def listed(named: list[str], every: dict[Cell, float | None]) -> str:
    """How many of the cells, and which, unless the table is easier to read."""
    return f"{len(named)} of {len(every)} cells" + (f": {', '.join(named)}" if 0 < len(named) <= 12 else "")


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
