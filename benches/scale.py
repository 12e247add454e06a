"""What a connection and a timer cost, and how that grows: 10, 1,000 and 10,000 of them.

    python benches/scale.py [--loops asyncio uvloop rloop everloop] [--counts 10 1000 10000] [--rounds 3]

Connections: an echo server of echo_server.py over a Unix socket. "open" is its CPU time for a connection with its first
message; "message" that for each later one, with one under way on each connection; "memory" how much larger the process
is for each. Timers: "add", "cancel" and "fire" are CPU time, "memory" is that of a timer that waits. Each loop has a
process of its own for each number and each round, and the medians of the rounds are printed.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import resource
import subprocess
import sys
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from statistics import median

import load
import measure

SERVER = Path(__file__).with_name("echo_server.py")
LOOPS = ("asyncio", "uvloop", "rloop", "everloop")
COUNTS = (10, 1000, 10_000)
PAGE = os.sysconf("SC_PAGE_SIZE")
SLICE = 0.3  # seconds of messages

Costs = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", nargs="+", choices=measure.LOOPS, default=LOOPS, help="(all)")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="(10 1000 10000)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, count = options.child
        with measure.runner(name) as runner:
            print(json.dumps(timers(runner.get_loop(), int(count))))
        return

    loops = list(measure.installed(options.loops))
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}, median of {options.rounds} rounds.")
    for title, costs_of in (("a connection", connections), ("a timer", timers_apart)):
        for count in options.counts:
            found: dict[str, list[Costs]] = {name: [] for name in loops}
            for number in range(options.rounds):
                # another loop begins each time
                start = number % len(loops)
                for name in loops[start:] + loops[:start]:
                    try:
                        found[name].append(costs_of(name, count))
                    except (OSError, subprocess.SubprocessError, ValueError) as error:
                        print(f"{name}: failed at {count}: {error!r}", file=sys.stderr)
            print_table(f"{title}, of {count:,}", found)


def print_table(title: str, found: dict[str, list[Costs]]) -> None:
    names = [name for name, rounds in found.items() if rounds]
    others = [name for name in names if name != "everloop"] if "everloop" in names else []
    print(f"\n{title:<26}" + "".join(f"{head:>12}" for head in [*names, *(f"/ {name}" for name in others)]))
    for cost in found[names[0]][0] if names else ():
        middle = {name: median(each[cost] for each in found[name]) for name in names}
        cells = [shown(cost, middle[name]) for name in names]
        cells += [f"{middle['everloop'] / middle[name]:.2f}" if middle[name] else "-" for name in others]
        print(f"  {cost:<24}" + "".join(f"{cell:>12}" for cell in cells))


def shown(cost: str, value: float) -> str:
    return f"{value:,.0f} B" if cost == "memory" else f"{1e6 * value:.2f} us"


# -- connections ----------------------------------------------------------------------------------------------------


def connections(name: str, count: int) -> Costs:
    command = [sys.executable, str(SERVER), name, "unix", "protocol", "any"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | measure.LOOPS[name], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            address = json.loads(process.stdout.readline())
            load.Echoes("unix", address, 1024, 1).close()  # what a first connection loads is not its own cost
            clock = (~process.pid << 3) | 2  # as clock_getcpuclockid(3) has it
            cpu, memory = time.clock_gettime(clock), resident(process.pid)
            client = load.Echoes("unix", address, 1024, count)
            opened = time.clock_gettime(clock)
            grown = resident(process.pid) - memory
            messages = client.run(SLICE)
            per_message = (time.clock_gettime(clock) - opened) / max(messages, 1)
            client.close()
        finally:
            process.kill()
    return {"open": (opened - cpu) / count, "message": per_message, "memory": grown / count}


def resident(process: int | str = "self") -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


# -- timers ---------------------------------------------------------------------------------------------------------


def timers_apart(name: str, count: int) -> Costs:
    command = [sys.executable, __file__, "--child", name, str(count)]
    done = subprocess.run(command, env=os.environ | measure.LOOPS[name], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def timers(loop: AbstractEventLoop, count: int) -> Costs:
    gc.disable()
    delays = [3600 + random.Random(at).random() for at in range(count)]
    warm = [loop.call_later(3600, nothing) for _ in range(10)]
    for handle in warm:
        handle.cancel()
    run_once(loop)

    memory = resident()
    handles: list[object] = [None] * count
    add = cpu_of(lambda: add_all(loop, delays, handles)) / count
    grown = (resident() - memory) / count
    cancel = cpu_of(lambda: (cancel_all(handles), run_once(loop))) / count
    handles.clear()

    for _ in range(count):
        loop.call_later(0.0001, nothing)
    time.sleep(0.001)
    fire = cpu_of(lambda: run_once(loop)) / count
    return {"add": add, "cancel": cancel, "fire": fire, "memory": grown}


def add_all(loop: AbstractEventLoop, delays: list[float], handles: list[object]) -> None:
    for at, delay in enumerate(delays):
        handles[at] = loop.call_later(delay, nothing)


def cancel_all(handles: list[object]) -> None:
    for handle in handles:
        handle.cancel()


def run_once(loop: AbstractEventLoop) -> None:
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()


def cpu_of(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def nothing() -> None:
    pass


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(KeyboardInterrupt):
        main()
