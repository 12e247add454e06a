"""What rescue gives and what it costs: `/health` beside whatever blocks, what others pay, many blocked steps, CPU time.

    python benches/rescue.py [--tables health others many cpu] [--loops asyncio uvloop everloop] [--rounds 3] [--quick]

The application is blocking_app.py. `BENCH_POSTGRES=postgresql+psycopg://...` names a server for SQLAlchemy. What is not
installed is skipped with a line.
"""

import argparse
import asyncio
import contextlib
import ctypes
import http.server
import importlib.util
import json
import logging
import os
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import blocking_app
import compare
import endpoints
import measure

LOOPS = ("asyncio", "uvloop", "everloop")
APP = Path(__file__).parent, "blocking_app:app"
# steps that block at once, max_relief_threads, and seconds: the last ones long enough for all to have a thread
MANY = ((2, 128, 1), (20, 128, 1), (200, 128, 1), (2000, 128, 1), (200, 200, 1), (2000, 2000, 5))
CLIENTS = 16
GOAL = 1.15  # times the CPU time of the same request with to_thread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), help="(all)")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS, help="(all)")
    parser.add_argument("--rounds", type=int, help="(3, quick 1)")
    parser.add_argument("--quick", action="store_true", help="shorter, and one round")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *arguments = options.child
        logging.getLogger("everloop").disabled = True  # it is known what blocks
        print(json.dumps(CHILDREN[name](*arguments)))
        return
    compare.allow_many_connections()
    rounds = options.rounds or (1 if options.quick else 3)
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}, {os.cpu_count()} CPUs, {rounds} rounds.")
    for name in options.tables:
        print(flush=True)
        TABLES[name](list(measure.installed(options.loops)), rounds, options.quick)


def child(*arguments: object) -> Any:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


# -- /health --------------------------------------------------------------------------------------------------------


def health(loops: list[str], rounds: int, quick: bool) -> None:
    """Of each loop a server, which plays each kind of block in turn; everloop plays it once more before, and learns."""
    seconds = 0.5 if quick else 1.0
    print(f"/health every 20 ms beside requests that block for {seconds:g} s: p50, p99, worst, in milliseconds.")
    print("everloop has learned each place in a round before these.\n")
    print(f"{'':<22}{'at once':>8}" + "".join(f"{loop:>27}" for loop in loops))
    with contextlib.ExitStack() as stack:
        variables = {"BENCH_SECONDS": str(seconds), "BENCH_SLOW": stack.enter_context(slow_server(seconds))}
        ports = {loop: stack.enter_context(compare.serving(loop, *APP, **variables)) for loop in loops}
        for number, (title, kind) in enumerate(blocking_app.KINDS.items()):
            if missing := kind.missing():
                print(f"{title:<22}{'':>8}  skipped: {missing}")
                continue
            played = play(ports, number, kind.at_once, rounds)
            print(f"{title:<22}{kind.at_once:>8}" + "".join(f"{shown(latencies):>27}" for latencies in played.values()))
        if "everloop" in loops:
            port = stack.enter_context(compare.serving("everloop", *APP, **variables, EVERLOOP_RESCUE="all"))
            [latencies] = play({"everloop": port}, number, kind.at_once, rounds).values()
            cells = "".join(f"{shown(latencies) if loop == 'everloop' else '-':>27}" for loop in loops)
            print(f"{'  the same, divided':<22}{kind.at_once:>8}{cells}   rescue='all'")


def play(ports: dict[str, int], number: int, at_once: int, rounds: int) -> dict[str, list[float]]:
    """The latencies of all rounds of each loop."""
    found: dict[str, list[float]] = {loop: [] for loop in ports}
    for port in ports.values():
        endpoints.exchange(port, f"/prepare/{number}")
    if "everloop" in ports:
        asyncio.run(compare.play_round(ports["everloop"], at_once, f"/kind/{number}"))
    for turn in range(number, number + rounds):
        names = list(ports)
        for loop in names[turn % len(names) :] + names[: turn % len(names)]:
            found[loop] += asyncio.run(compare.play_round(ports[loop], at_once, f"/kind/{number}")).latencies
    return found


def shown(latencies: list[float]) -> str:
    played = compare.Round(sorted(latencies), 0)
    return " ".join(f"{1000 * seconds:>8.1f}" for seconds in (played.quantile(0.5), played.p99, played.worst))


@contextlib.contextmanager
def slow_server(seconds: float) -> Iterator[str]:
    """The address of an HTTP server whose answers take so long."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(seconds)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


# -- what others pay ------------------------------------------------------------------------------------------------


def others(_: list[str], rounds: int, quick: bool) -> None:
    print("What Python code pays elsewhere while a step is aside: its time with one aside / without, median.")
    print('"known": in a C function of which everloop knows that it calls no Python (time.sleep is one); "unknown": in')
    print("any other. Calls of Python functions that do nothing are the worst case.\n")
    print(f"{'':<22}{'known':>12}{'unknown':>12}")
    known, unknown = (child("others", name, 5 if quick else 15 * rounds) for name in ("known", "unknown"))
    for title in known:
        print(f"{title:<22}{known[title]:>12.3f}{unknown[title]:>12.3f}")


class Thing:
    def __init__(self) -> None:
        self.a = 1


def nothing() -> None:
    pass


def snippets() -> dict[str, Callable[[], object]]:
    """What is timed, each some tens of microseconds."""
    document = {"name": "thing", "numbers": list(range(20)), "inner": {"a": [1.5, None, True], "b": "text" * 5}}
    text, thing, template = json.dumps(document), Thing(), string.Template("$a and $b, " * 5)

    def calls() -> None:
        for _ in range(500):
            nothing()

    def attributes() -> None:
        for _ in range(500):
            thing.a  # noqa: B018

    def objects() -> None:
        for _ in range(200):
            Thing()

    found: dict[str, Callable[[], object]] = {
        "calls of a function": calls,
        "attributes": attributes,
        "objects": objects,
        "json": lambda: json.loads(text) and json.dumps(document),
        "string.Template": lambda: template.substitute(a=1, b=2),
    }
    if importlib.util.find_spec("jinja2"):
        import jinja2

        rows = jinja2.Template("{% for row in rows %}<td>{{ row.name }}: {{ row.price|round(2) }}</td>{% endfor %}")
        found["a template of jinja2"] = lambda: rows.render(rows=[{"name": "thing", "price": 1.234}] * 10)
    return found


def measure_others(name: str, pairs: str) -> dict[str, float]:
    """The ratios of one kind of function. With and without a step aside take turns, some milliseconds each."""
    import everloop

    reader, writer = os.pipe()
    libc = ctypes.CDLL(None)

    def block() -> None:
        if name == "known":
            os.read(reader, 1)
        else:
            libc.read(reader, ctypes.create_string_buffer(1), 1)

    async def step() -> None:
        block()

    async def scene() -> dict[str, float]:
        loop = asyncio.get_running_loop()
        timed_ones = snippets()
        times: dict[str, list[tuple[float, float]]] = {title: [] for title in timed_ones}
        for _ in range(int(pairs)):
            for title, snippet in timed_ones.items():
                await settled()
                alone = timed(snippet)
                blocked = asyncio.create_task(step())
                await asyncio.sleep(0)
                while not loop.statistics()["aside"]:
                    await asyncio.sleep(0)
                beside = timed(snippet)
                os.write(writer, b"o")
                await blocked
                times[title].append((alone, beside))
        return {title: median(b / a for a, b in found) for title, found in times.items()}

    with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=True)) as runner:
        return runner.run(scene())


async def settled() -> None:
    """everloop takes back what it has asked of all code a moment after the last step that needed it is back."""
    monitoring = sys.monitoring
    while any(monitoring.get_events(tool) for tool in range(6) if monitoring.get_tool(tool) == "everloop"):
        await asyncio.sleep(0.001)


def timed(snippet: Callable[[], object]) -> float:
    """The fastest of some runs."""
    best = float("inf")
    end = time.perf_counter() + 0.003
    while (begin := time.perf_counter()) < end:
        snippet()
        best = min(best, time.perf_counter() - begin)
    return best


# -- many blocked steps ---------------------------------------------------------------------------------------------


def many(_: list[str], rounds: int, quick: bool) -> None:
    print("Steps that block at the same time, at a place that is learned. Memory: the highest, less that before them.")
    print("Virtual memory is mostly stacks, which threads reserve and do not touch.\n")
    heads = ("all done", "threads", "RSS", "a thread", "virtual")
    print(f"{'steps':<8}{'each':>6}{'max_relief_threads':>20}" + "".join(f"{head:>12}" for head in heads))
    for count, bound, each in MANY:
        if quick and count > 1000:
            continue
        played = [child("many", count, bound, each) for _ in range(1 if count > 1000 else rounds)]
        seconds, threads, resident, virtual = (median(column) for column in zip(*played, strict=True))
        print(
            f"{count:<8}{each:>4} s{bound:>20}{seconds:>10.2f} s{threads:>12.0f}{resident / 1024:>8.1f} MiB"
            f"{resident / threads:>8.1f} KiB{virtual / 1024:>8.0f} MiB"
        )


def measure_many(count: str, bound: str, each: str) -> tuple[float, int, int, int]:
    import everloop

    async def step(seconds: float) -> None:
        time.sleep(seconds)

    async def scene() -> tuple[float, int, int, int]:
        await asyncio.gather(step(0.1), step(0.1))
        tasks = [asyncio.ensure_future(step(float(each))) for _ in range(int(count))]
        before = memory()
        begin = time.perf_counter()
        await asyncio.gather(*tasks)
        seconds = time.perf_counter() - begin
        after = memory()
        most = asyncio.get_running_loop().statistics()["most_relief_threads"]
        return seconds, most, after["VmHWM"] - before["VmRSS"], after["VmPeak"] - before["VmSize"]

    loop_factory = lambda: everloop.EventLoop(rescue=True, max_relief_threads=int(bound))  # noqa: E731
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(scene())


def memory() -> dict[str, int]:
    """KiB, by the kernel's names."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines) if key[:2] == "Vm"}


# -- CPU time -------------------------------------------------------------------------------------------------------


def cpu(loops: list[str], rounds: int, quick: bool) -> None:
    """One server of each loop is asked for all that it can do, in turns of a second or two."""
    print(f"CPU time of the server for a request that blocks for {1000 * blocking_app.SHORT:g} ms, {CLIENTS} clients:")
    print(
        f"on a thread ({blocking_app.TO_THREAD}), and on the loop, rescued at a learned place ({blocking_app.BLOCK}).\n"
    )
    endpoints.SLICE = 1.0 if quick else 2.0
    paths = {name: [blocking_app.TO_THREAD] for name in loops if name != "asyncio"}
    if "everloop" in paths:
        paths["everloop"].append(blocking_app.BLOCK)
    found: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(compare.serving(name, *APP)) for name in paths}
        if "everloop" in ports:
            endpoints.load(ports["everloop"], blocking_app.BLOCK, CLIENTS)  # it learns
        for number in range(2 * rounds + 1):
            cells = [(name, path) for name in paths for path in paths[name]]
            for name, path in cells[:: -1 if number % 2 else 1]:
                before = endpoints.cpu_time(ports[name])
                requests = endpoints.load(ports[name], path, CLIENTS)
                spent = endpoints.cpu_time(ports[name]) - before
                found.setdefault((name, path), []).append(spent / requests)
    for (name, path), seconds in found.items():
        print(f"{name + ' ' + path:<24}{1e6 * median(seconds):>9.0f} us")
    if ours := found.get(("everloop", blocking_app.BLOCK)):
        ratio = median(a / b for a, b in zip(ours, found["everloop", blocking_app.TO_THREAD], strict=True))
        print(f"{'ratio':<24}{ratio:>9.2f}    (goal: {GOAL} at most)")


TABLES = {"health": health, "others": others, "many": many, "cpu": cpu}
CHILDREN: dict[str, Callable[..., Any]] = {"others": measure_others, "many": measure_many}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
