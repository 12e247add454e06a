"""What do the watchdog and looking in cost a loop that nobody blocks?

    python benches/watch.py [--quick] [--tables instructions own idle wakes live]

Each figure is taken with the watchdog and without it (`EVERLOOP_WATCHDOG=0`); what a loop counts for its metrics is
always on, and in both. Instructions are those of the loop's thread, as valgrind counts them, where it is installed:
the difference of a long run and a short one. Elsewhere it is the CPU time of that thread. What the watchdog's own
thread takes is told apart.
"""

import argparse
import asyncio
import contextlib
import glob
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

SIZES = 1000, 6000
WAKES = 20
ASKS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, number = options.child
        json.dump(play(name, float(number)), sys.stdout)
        return
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}.")
    for name in options.tables:
        print()
        TABLES[name](options.quick)


def child(name: str, number: float, watched: bool, *before: str) -> Any:
    """What a process answers that plays a scene."""
    environment = os.environ | {"EVERLOOP_WATCHDOG": str(int(watched)), "PYTHONHASHSEED": "0"}
    command = [*before, sys.executable, __file__, "--child", name, str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr}")
    return json.loads(done.stdout)


# -- instructions ---------------------------------------------------------------------------------------------------


def instructions(quick: bool) -> None:
    counted = shutil.which("valgrind") is not None and can_count()
    unit, cost = ("instructions", instructions_of) if counted else ("ns of CPU time", time_of)
    print(f"{unit + ' for each':<28}{'watched':>12}{'unwatched':>12}{'more':>9}    goal: at most 1 %")
    for name in LOADS:
        rounds = 1 if counted else 5 if quick else 15
        pairs = [(cost(name, True), cost(name, False)) for _ in range(rounds)]
        watched, unwatched = (statistics.median(costs) for costs in zip(*pairs, strict=True))
        more = statistics.median(on / off for on, off in pairs) - 1
        print(f"{name:<28}{watched:>12.0f}{unwatched:>12.0f}{more:>9.2%}", flush=True)


def can_count() -> bool:
    """False if valgrind cannot run this: it hides the vDSO, which system calls without libc look for.

    A build with `RUSTFLAGS=--cfg=rustix_use_libc` can be counted. It makes its system calls through the C library,
    which does more for each as soon as a process has a second thread: 290 instructions for an echo, which are no cost
    of the watchdog, and which the usual build does not pay.
    """
    try:
        count("sleep(0)", 1, True)
    except RuntimeError:
        print("valgrind cannot run this build, but one with RUSTFLAGS=--cfg=rustix_use_libc: CPU time instead")
        return False
    return True


def instructions_of(name: str, watched: bool) -> float:
    short, long = (count(name, size, watched) for size in SIZES)
    return (long - short) / (SIZES[1] - SIZES[0])


def count(name: str, size: int, watched: bool) -> int:
    """The instructions of the first thread."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"--callgrind-out-file={folder}/out"
        child(name, size, watched, "valgrind", "-q", "--tool=callgrind", "--separate-threads=yes", file)
        [first] = glob.glob(f"{folder}/out-01")
        lines = pathlib.Path(first).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(("totals:", "summary:")))


def time_of(name: str, watched: bool) -> float:
    size = 100_000
    return float(child(name, size, watched)) / size * 1e9


async def call_soon(count: int) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    left = count

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            done.set()

    loop.call_soon(again)
    await done.wait()


async def sleep(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def echo(count: int) -> None:
    """A server and its client on one loop."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Client(Server):
        left = count

        def data_received(self, data: bytes) -> None:
            self.left -= 1
            if self.left > 0:
                self.transport.write(data)
            elif not done.done():
                done.set_result(None)

    loop = asyncio.get_running_loop()
    done = loop.create_future()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(Client, *server.sockets[0].getsockname())
    transport.write(b"x" * 1024)
    await done
    transport.close()
    server.close()


LOADS: dict[str, Callable[[int], Awaitable[None]]] = {"call_soon": call_soon, "sleep(0)": sleep, "echo": echo}


async def load(name: str, number: float) -> float:
    begin = time.thread_time()
    await LOADS[name](int(number))
    return time.thread_time() - begin


# -- the watchdog's own thread, and who is woken --------------------------------------------------------------------


def own(quick: bool) -> None:
    seconds = 2 if quick else 5
    share = child("busy", seconds, True)
    print(f"{'own threads beside a busy loop':<40}{share:>8.2%} of a processor")


async def busy(seconds: float) -> float:
    """The CPU time of everloop's threads, while steps follow each other."""
    await asyncio.sleep(0.2)
    before, end = own_cpu(), time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0)
    return (own_cpu() - before) / seconds


def own_threads() -> list[pathlib.Path]:
    tasks = [pathlib.Path(task) for task in glob.glob("/proc/self/task/*")]
    return [task for task in tasks if (task / "comm").read_text().startswith("everloop")]


def own_cpu() -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in own_threads()) / 1e9


def idle(quick: bool) -> None:
    seconds = 2 if quick else 10
    for watched in (True, False):
        with started("idle", EVERLOOP_WATCHDOG=str(int(watched))) as process:
            time.sleep(1.5)  # start-up has settled
            before = switches(process.pid)
            time.sleep(seconds)
            woken = switches(process.pid) - before
        print(f"{'wake-ups of an idle loop, ' + KIND[watched]:<40}{woken:>8} in {seconds} s    goal: 0")


KIND = {True: "watched", False: "unwatched"}


def switches(process: int) -> int:
    """How often any thread of a process has gone to sleep so far."""
    total = 0
    for task in glob.glob(f"/proc/{process}/task/*"):
        lines = pathlib.Path(task, "status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


async def asleep(_: float) -> None:
    print("sleeps", flush=True)
    await asyncio.sleep(600)


@contextlib.contextmanager
def started(name: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process that plays a scene without an end, once it has said that it does."""
    command = [sys.executable, __file__, "--child", name, "0"]
    process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def wakes(quick: bool) -> None:
    seconds, rounds = (2, 3) if quick else (5, 7)
    pairs = [(child("wakes", seconds, True), child("wakes", seconds, False)) for _ in range(rounds)]
    watched, unwatched = (1e3 * statistics.median(cpu) for cpu in zip(*pairs, strict=True))
    more = 1e3 * statistics.median(on - off for on, off in pairs)
    print(
        f"{f'CPU time at {WAKES} wake-ups a second':<40}{watched:>8.2f} ms/s watched, {unwatched:.2f} unwatched: ",
        end="",
    )
    print(f"{more:+.2f} ms/s    goal: at most 2")


async def woken(seconds: float) -> float:
    """CPU time of the process for each second in which a timer wakes the loop now and then."""
    await asyncio.sleep(0.3)
    begin = time.process_time()
    for _ in range(int(seconds * WAKES)):
        await asyncio.sleep(1 / WAKES)
    return (time.process_time() - begin) / seconds


# -- looking in -----------------------------------------------------------------------------------------------------


def live(quick: bool) -> None:
    """`/live`, asked while C code holds the GIL."""
    from everloop.top import client

    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/live.sock"
        with started("holds", EVERLOOP_LISTEN=address, EVERLOOP_REPORT="off"):
            while client.ask(address, "/live?limit=0.05")[0] != 503:
                time.sleep(0.01)
            times = []
            for _ in range(ASKS // 5 if quick else ASKS):
                begin = time.perf_counter()
                status, _ = client.ask(address, "/live?limit=0.05")
                times.append(1e3 * (time.perf_counter() - begin))
                assert status == 503
                time.sleep(0.01)
    middle, worst = statistics.median(times), max(times)
    print(f"{'/live while the GIL is held':<40}{middle:>8.2f} ms, at worst {worst:.2f} of {len(times)}    goal: 10")


async def holds(_: float) -> None:
    import ctypes

    print("holds", flush=True)
    ctypes.PyDLL(None).sleep(600)


SCENES: dict[str, Callable[[float], Awaitable[Any]]] = {"busy": busy, "idle": asleep, "wakes": woken, "holds": holds}
TABLES = {"instructions": instructions, "own": own, "idle": idle, "wakes": wakes, "live": live}


def play(name: str, number: float) -> Any:
    import everloop

    return everloop.run(SCENES[name](number) if name in SCENES else load(name, number))


if __name__ == "__main__":
    main()
