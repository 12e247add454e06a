"""How `/health` fares while endpoints block: one scene on asyncio, uvloop and everloop, printed as a table.

The application is examples/blocked_endpoint.py, served by uvicorn in a process of its own; everloop has rescue on. A
round sends some requests to the blocking endpoint at once and probes `/health` until all of them are answered. Each
server plays two rounds, since everloop learns in the first where the application blocks.

Probes are due at fixed times, whether or not the earlier ones were answered, and their latency counts from the time
they were due: a frozen server cannot hide how long it was frozen by slowing the client down.

    python benches/compare.py [--seconds 3] [--clients 8] [--loops asyncio uvloop everloop]
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
LOOPS = ("asyncio", "uvloop", "everloop")
PROBE_INTERVAL = 0.02
START_TIMEOUT = 60
STOP_TIMEOUT = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="how long the endpoint blocks (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="requests to it at once (%(default)s)")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS, help="what to compare (all)")
    options = parser.parse_args()

    # SIGTERM leaves as Ctrl-C does, through the `finally` clauses, so that no server outlives this process
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    allow_many_connections()

    scenes: dict[str, list[Round]] = {}
    for loop in options.loops:
        if importlib.util.find_spec(loop) is None:
            print(f"{loop}: not installed, skipped", file=sys.stderr)
            continue
        with serving(loop, EXAMPLES, "blocked_endpoint:app", EXAMPLE_SECONDS=str(options.seconds)) as port:
            print(f"{loop}: two rounds of {options.clients} x {options.seconds:g} s ...", file=sys.stderr)
            scenes[loop] = asyncio.run(play_scene(port, options.clients, options.seconds))

    print_table(scenes, options.clients, options.seconds)
    print_ratios(scenes)


def allow_many_connections() -> None:
    """A server that is frozen for 24 s has 1200 probes waiting, each on a connection; servers inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# the server


@contextlib.contextmanager
def serving(loop: str, directory: Path, app: str, **variables: str) -> Iterator[int]:
    """The application on `loop`, on a port that the server chose; gone when the block is left, however it is left."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(directory), "--loop", f"{loop}:new_event_loop"]
    command += ["--port", "0", "--no-access-log", app]
    environment = {**os.environ, "EVERLOOP_RESCUE": "1", **variables}

    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield wait_for_port(server)
    finally:
        # it is asked first; a blocked server, or a second Ctrl-C here, ends it the hard way
        server.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(STOP_TIMEOUT)
        finally:
            server.kill()
            server.wait()


def wait_for_port(server: subprocess.Popen[str]) -> int:
    """Read what the server logs until it names its port; from then on a thread reads, lest the pipe fill up."""
    assert server.stderr is not None
    watch = threading.Timer(START_TIMEOUT, server.kill)
    watch.start()
    log = ""
    for line in server.stderr:
        log += line
        if found := re.search(r"running on http://[\d.]+:(\d+)", line):
            watch.cancel()
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return int(found[1])
    watch.cancel()
    sys.exit(f"the server did not start:\n{log}")


# the scene


@dataclass
class Round:
    latencies: list[float]
    """Seconds from the time a probe was due to its answer, sorted."""
    total: float
    """Seconds until the last of the blocking requests was answered."""

    @property
    def worst(self) -> float:
        return self.latencies[-1]

    @property
    def p99(self) -> float:
        return self.quantile(0.99)

    def quantile(self, part: float) -> float:
        return self.latencies[math.ceil(part * len(self.latencies)) - 1]


async def play_scene(port: int, clients: int, seconds: float) -> list[Round]:
    # the first request pays for the server's lazy imports, and is nobody's business
    await get(port, "/health")

    async with asyncio.timeout(2 * (clients * seconds + 60)):
        return [await play_round(port, clients) for _ in range(2)]


async def play_round(port: int, clients: int, path: str = "/") -> Round:
    begun = time.perf_counter()

    async def probe(due: float) -> float:
        await get(port, "/health")
        return time.perf_counter() - due

    async with asyncio.TaskGroup() as group:
        blocking = {group.create_task(get(port, path)) for _ in range(clients)}

        # probe on schedule, and catch up at once when this client was late
        probes: list[asyncio.Task[float]] = []
        while blocking:
            due = begun + (len(probes) + 1) * PROBE_INTERVAL
            _, blocking = await asyncio.wait(blocking, timeout=max(0, due - time.perf_counter()))
            if blocking:
                probes.append(group.create_task(probe(due)))
        total = time.perf_counter() - begun

    # the group has waited for the probes that were still under way: they count as much as the others
    return Round(sorted(probe.result() for probe in probes), total)


async def get(port: int, path: str) -> None:
    """One request on a connection of its own, with as little client as possible."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"GET {path} was answered {answer[:80]!r}")


# the result


def print_table(scenes: dict[str, list[Round]], clients: int, seconds: float) -> None:
    print(f"{clients} concurrent requests to `time.sleep({seconds:g})`, `/health` probed every 20 ms, two rounds.")
    uvicorn = importlib.metadata.version("uvicorn")
    print(f"CPython {platform.python_version()}, uvicorn {uvicorn}, {os.cpu_count()} CPUs.")
    print()
    print(f"| loop | round | worst `/health` | p99 `/health` | all {clients} answered after |")
    print("|---|---|---:|---:|---:|")
    for loop, rounds in scenes.items():
        for number, played in enumerate(rounds, 1):
            print(f"| {loop} | {number} | {shown(played.worst)} | {shown(played.p99)} | {played.total:.2f} s |")


def print_ratios(scenes: dict[str, list[Round]]) -> None:
    if "everloop" not in scenes or len(scenes) == 1:
        return

    print()
    for loop, rounds in scenes.items():
        if loop == "everloop":
            continue
        for number, (other, ours) in enumerate(zip(rounds, scenes["everloop"], strict=True), 1):
            worst, p99, total = other.worst / ours.worst, other.p99 / ours.p99, other.total / ours.total
            print(f"{loop} : everloop, round {number}: worst {worst:.1f}, p99 {p99:.1f}, all answered {total:.1f}")


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
