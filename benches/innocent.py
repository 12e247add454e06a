"""Is a healthy FastAPI app on uvicorn and everloop left alone, whatever the host does to it?

    python benches/innocent.py [--quick] [--seconds 60] [--conditions nothing hogs] [--rescue off on all]

Nothing in the app blocks its loop, but for one line: "/guilty" sleeps for 0.3 s, once in a while. Under each condition
the app is kept busy by a client, and the reports are counted: those that name the guilty line, those that name another
line (there must be none), and those that blame nobody. What names the holder of the GIL is no false alarm where a
`def` endpoint keeps it in C code.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

HOST = "127.0.0.1"
QUICK, LONG = 10.0, 60.0
RESCUE = {"off": "0", "on": "1", "all": "all"}
GUILTY, HOLDER = "guilty", "sort"
GUILTY_EVERY = 2.5
STOP_EVERY = 2.0
PERIOD = 100_000  # of a control group, in microseconds


class Condition(NamedTuple):
    """What happens to the app."""

    hogs: int = 0
    nice: int = 0
    processors: float = 0.0
    """The share of one processor that its control group gets; 0: it is in none."""
    stops: bool = False
    clients: tuple[str, ...] = ("/quick", "/quick", "/compute", "/background")
    holders: tuple[str, ...] = ()
    """The functions beside the guilty one that are to blame."""


CONDITIONS = {
    "nothing": Condition(),
    "hogs": Condition(hogs=os.cpu_count() or 1),
    "nice 19": Condition(hogs=3, nice=19),
    "10 %": Condition(processors=0.1),
    "50 %": Condition(processors=0.5),
    "stopped": Condition(stops=True),
    "many": Condition(clients=("/quick", "/quick", *["/compute"] * 10)),
    "many, hogs": Condition(hogs=os.cpu_count() or 1, clients=("/quick", "/quick", *["/compute"] * 10)),
    "GIL": Condition(clients=("/quick", "/quick", "/compute", "/sort"), holders=(HOLDER,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help=f"of each condition ({LONG:g}; with --quick {QUICK:g})")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME")
    parser.add_argument("--rescue", nargs="+", choices=RESCUE, default=list(RESCUE))
    parser.add_argument("--show", action="store_true", help="print each report that is wrong")
    parser.add_argument("--serve", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return

    seconds = options.seconds or (QUICK if options.quick else LONG)
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}, {seconds:g} s each.\n")
    heads = ("requests", "guilty", "told", "innocent", "holder", "no line", "host", "stderr")
    print(f"{'condition':<14}{'rescue':>8}" + "".join(f"{head:>10}" for head in heads), flush=True)
    for name in options.conditions:
        for rescue in options.rescue:
            play(name, rescue, seconds, options.show)


def play(name: str, rescue: str, seconds: float, show: bool) -> None:
    condition = CONDITIONS[name]
    if condition.processors and not (group_root() and os.access(group_root() or "", os.W_OK)):
        print(f"{name:<14}{rescue:>8}  skipped: no control group can be made here")
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        records, errors = pathlib.Path(folder, "records"), pathlib.Path(folder, "errors")
        process, port = stack.enter_context(server(records, errors, rescue))
        asyncio.run(answered(port, "/quick"))
        asyncio.run(answered(port, "/compute"))
        records.write_text("")  # what was told of the start is another matter
        errors.write_text("")
        stack.enter_context(disturbed(process.pid, condition))
        requests, guilty = asyncio.run(load(port, condition, seconds))
        stack.close()
        seen = [json.loads(line) for line in records.read_text().splitlines()]
        print_row(name, rescue, condition, requests, guilty, seen, errors.read_text(), show)


def print_row(
    name: str, rescue: str, condition: Condition, requests: int, guilty: int, seen: list[Any], errors: str, show: bool
) -> None:
    # A record for each step: what was known of it in the end.
    last = {record["number"] or f"unseen {at}": record for at, record in enumerate(seen)}
    counts: collections.Counter[str] = collections.Counter()
    for record in last.values():
        named = record["function"] if record["file"] else ""
        counts[kind := classify(record, named, condition)] += 1
        if show and kind == "innocent":
            print(record["text"])
    # What was said while it lasted counts too, though it was taken back later.
    for record in seen:
        ended = last.get(record["number"] or "")
        named = record["function"] if record["file"] else ""
        if record["state"] != "ended" and ended is not record and classify(record, named, condition) == "innocent":
            counts["innocent"] += classify(ended, ended["function"], condition) != "innocent"
            if show:
                print("(was)", record["text"])
    told = errors.count("warning[blocked]")
    wrong = sum(
        line.lstrip().startswith("-->") and not line.rstrip().endswith((GUILTY, *condition.holders))
        for line in errors.splitlines()
    )
    if show and errors:
        print(errors)
    figures = (requests, guilty, counts["guilty"], counts["innocent"], counts["holder"], counts["no line"])
    print(
        f"{name:<14}{rescue:>8}"
        + "".join(f"{figure:>10}" for figure in (*figures, counts["host"], f"{told} ({wrong})")),
        flush=True,
    )


def classify(record: Any, named: str | None, condition: Condition) -> str:
    if named and named.rpartition(".")[2] == GUILTY:
        return "guilty" if record["level"] == "warning" else "host"
    if record["level"] == "debug":
        return "host"
    if not named:
        return "no line"
    return "holder" if named in condition.holders else "innocent"


# -- what is done to the app ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def disturbed(process: int, condition: Condition) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(condition.hogs):
            hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(hog.wait)
            stack.callback(hog.kill)
        if condition.nice:
            for thread in os.listdir(f"/proc/{process}/task"):
                os.setpriority(os.PRIO_PROCESS, int(thread), condition.nice)
        if condition.processors:
            stack.enter_context(limited(process, condition.processors))
        if condition.stops:
            stop = f"kill -STOP {process}; sleep 0.5; kill -CONT {process}"
            stopper = subprocess.Popen(["sh", "-c", f"while sleep {STOP_EVERY - 0.5}; do {stop}; done"])
            stack.callback(os.kill, process, signal.SIGCONT)
            stack.callback(stopper.wait)
            stack.callback(stopper.kill)
        yield


def group_root() -> str | None:
    """The directory in which a control group for processors can be made."""
    for root, file in (("/sys/fs/cgroup", "cpu.max"), ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us")):
        with contextlib.suppress(OSError):
            if file.startswith("cpu.cfs") and os.path.exists(f"{root}/{file}"):
                return root
            if "cpu" in pathlib.Path(f"{root}/cgroup.subtree_control").read_text().split():
                return root
    return None


@contextlib.contextmanager
def limited(process: int, processors: float) -> Iterator[None]:
    root = group_root()
    group = pathlib.Path(f"{root}/everloop-innocent-{process}")
    group.mkdir()
    try:
        quota = int(processors * PERIOD)
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(f"{PERIOD}")
            (group / "cpu.cfs_quota_us").write_text(f"{quota}")
        (group / "cgroup.procs").write_text(f"{process}")
        yield
        pathlib.Path(f"{root}/cgroup.procs").write_text(f"{process}")
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


# -- the client -----------------------------------------------------------------------------------------------------


async def load(port: int, condition: Condition, seconds: float) -> tuple[int, int]:
    """Returns the number of requests that were answered, and of those to the guilty endpoint."""
    end = time.monotonic() + seconds
    counts: collections.Counter[str] = collections.Counter()

    async def client(path: str, pause: float) -> None:
        await asyncio.sleep(pause)
        while time.monotonic() < end:
            await answered(port, path)
            counts[path] += 1
            await asyncio.sleep(pause)

    pauses = {"/quick": 0.02, "/compute": 0.02, "/background": 0.1, "/sort": 0.5}
    async with asyncio.TaskGroup() as group:
        for path in condition.clients:
            group.create_task(client(path, pauses[path]))
        group.create_task(client("/guilty", GUILTY_EVERY))
    return counts.total(), counts["/guilty"]


async def answered(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readline()
    await reader.read()
    writer.close()
    if b" 200 " not in head:
        raise ConnectionError(f"{path}: {head!r}")


# -- the server -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(records: pathlib.Path, errors: pathlib.Path, rescue: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, __file__, "--serve", str(records)]
    environment = os.environ | {"EVERLOOP_RESCUE": RESCUE[rescue]}
    with errors.open("a") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def serve(records: str) -> None:
    import logging
    import socket

    import uvicorn

    import everloop

    file = open(records, "a", buffering=1)  # noqa: SIM115
    # All of them: what the log rate-limits is told here.
    everloop.on_block(lambda record: print(json.dumps(record, default=repr), file=file))
    # The standard error is left to what is written natively.
    logging.getLogger("everloop").addHandler(logging.NullHandler())
    logging.getLogger("everloop").propagate = False
    listener = socket.create_server((HOST, 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(make_app(), loop="none", log_level="error")
    everloop.run(uvicorn.Server(config).serve(sockets=[listener]))


def make_app() -> Any:
    import fastapi

    work = worker()
    app = fastapi.FastAPI()
    numbers = [(number * 7919) % 1_000_003 for number in range(2_500_000)]

    @app.get("/quick")
    async def quick() -> Any:
        work(0.002)
        await asyncio.sleep(0.001)
        work(0.001)
        return {"name": "thing"}

    @app.get("/compute")
    def compute() -> Any:
        work(0.02)
        return {"name": "thing"}

    def in_thread() -> None:
        work(0.01)

    async def on_loop() -> None:
        work(0.002)

    @app.get("/background")
    async def background(tasks: fastapi.BackgroundTasks) -> Any:
        tasks.add_task(in_thread)
        tasks.add_task(on_loop)
        return {"name": "thing"}

    @app.get("/guilty")
    async def guilty() -> Any:
        time.sleep(0.3)
        return {"name": "thing"}

    @app.get("/sort")
    def sort() -> Any:
        sorted(numbers)
        return {"name": "thing"}

    return app


def worker() -> Callable[[float], None]:
    """A function that computes in Python for so many seconds of CPU time, as of now."""

    def run(rounds: int) -> int:
        total = 0
        for number in range(rounds):
            total += number
        return total

    def measured() -> float:
        start = time.thread_time()
        run(100_000)
        return time.thread_time() - start

    second = int(100_000 / min(measured() for _ in range(20)))
    return lambda seconds: run(int(seconds * second)) and None


if __name__ == "__main__":
    main()
