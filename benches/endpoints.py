"""What a request to a FastAPI endpoint costs the server, on uvicorn with uvloop and with everloop.

    python benches/endpoints.py [--rounds 7] [--connections 16]

Each loop has a server process on the first processor; one client on the last asks them by turns, in slices of a
second. The figure is CPU time of the server per request, its threads included, and everloop's ratio to uvloop's.
Loop iterations and calls on threads are counted in a run of their own, on asyncio's loop and on everloop.
"""

import argparse
import asyncio
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

SLICE = 1.0
ENDPOINTS = "/async", "/def", "/def-model", "/def-model-yield"
SERVERS = "uvloop", "everloop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--serve", choices=[*SERVERS, "asyncio"], help=argparse.SUPPRESS)
    parser.add_argument("--count", choices=["asyncio", "everloop"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.count:
        print(json.dumps(count(options.count)))
    else:
        compare(options.rounds, options.connections)


def compare(rounds: int, connections: int) -> None:
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    seconds: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(server(name)) for name in SERVERS}
        for number in range(rounds):
            for path in ENDPOINTS:
                for name in SERVERS if number % 2 else SERVERS[::-1]:
                    port = servers[name]
                    before = cpu_time(port)
                    requests = load(port, path, connections)
                    seconds.setdefault((path, name), []).append((cpu_time(port) - before) / requests)

    counts = {name: counted(name) for name in ("asyncio", "everloop")}
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}, median of {rounds} rounds.\n")
    heads = ("uvloop", "everloop", "ratio", "hops", "iterations", "on everloop")
    print(f"{'CPU time of a request':<24}" + "".join(f"{head:>12}" for head in heads))
    for path in ENDPOINTS:
        other, ours = seconds[path, "uvloop"], seconds[path, "everloop"]
        ratio = median(a / b for a, b in zip(ours, other, strict=True))
        hops, iterations = counts["asyncio"][path]
        print(
            f"{path:<24}{1e6 * median(other):>9.0f} us{1e6 * median(ours):>9.0f} us{ratio:>12.2f}"
            f"{hops:>12.1f}{iterations:>12.1f}{counts['everloop'][path][1]:>12.1f}"
        )


# -- the client -----------------------------------------------------------------------------------------------------


def load(port: int, path: str, connections: int) -> int:
    """Keeps the server busy for a slice, and returns how many requests it has answered."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    size = len(exchange(port, path))
    poll = select.epoll()
    socks = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sock.sendall(request)
    missing = dict.fromkeys(socks, size)
    answered = 0
    end = time.perf_counter() + SLICE
    while time.perf_counter() < end:
        for number, _ in poll.poll(0):
            missing[number] -= len(socks[number].recv(65536))
            if not missing[number]:
                missing[number] = size
                answered += 1
                socks[number].sendall(request)
    poll.close()
    for number, sock in socks.items():  # what is on its way is the server's work too
        while missing[number] > 0:
            missing[number] -= len(sock.recv(65536))
        answered += 1
        sock.close()
    return answered


def exchange(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += sock.recv(65536)
        return head + b"\r\n\r\n" + body


def cpu_time(port: int) -> float:
    return float(exchange(port, "/cpu").rpartition(b"\r\n")[2])


# -- the server -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(name: str) -> Iterator[int]:
    command = [sys.executable, __file__, "--serve", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())
        process.terminate()


def make_app() -> Any:
    import fastapi
    import pydantic

    class Item(pydantic.BaseModel):
        name: str
        price: float

    def session() -> Iterator[str]:
        yield "session"

    app = fastapi.FastAPI()
    depends = fastapi.Depends(session)

    @app.get("/async")
    async def asynchronous() -> Any:
        return {"name": "thing", "price": 1.5}

    @app.get("/def")
    def plain():
        return {"name": "thing", "price": 1.5}

    @app.get("/def-model")
    def model() -> Item:
        return Item(name="thing", price=1.5)

    @app.get("/def-model-yield")
    def with_session(_: str = depends) -> Item:
        return Item(name="thing", price=1.5)

    @app.get("/cpu")
    async def cpu() -> Any:
        return fastapi.Response(repr(time.process_time()))

    return app


def serve(name: str) -> None:
    import uvicorn

    os.sched_setaffinity(0, {0})
    loop = {"uvloop": "uvloop", "everloop": "everloop:new_event_loop", "asyncio": "asyncio"}[name]
    if name == "everloop":
        import everloop

        everloop.replace_anyio_pool()
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(make_app(), loop=loop, http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[sock])


# -- hops and iterations --------------------------------------------------------------------------------------------


def counted(name: str) -> dict[str, tuple[float, float]]:
    command = [sys.executable, __file__, "--count", name]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def count(name: str) -> dict[str, tuple[float, float]]:
    """Calls on threads, and iterations of the loop, per request. The client is on the same loop: 4 are its own."""
    import uvicorn
    from anyio._backends._asyncio import AsyncIOBackend

    import everloop

    if name == "everloop":
        everloop.replace_anyio_pool()
    hops = 0
    original = AsyncIOBackend.run_sync_in_worker_thread

    async def counting(cls: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal hops
        hops += 1
        return await original(*args, **kwargs)

    AsyncIOBackend.run_sync_in_worker_thread = classmethod(counting)
    requests = 50

    async def measured() -> dict[str, tuple[float, float]]:
        nonlocal hops
        loop = asyncio.get_running_loop()
        sock = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(make_app(), http="httptools", log_level="warning", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        results = {}
        for path in ENDPOINTS:
            hops, before = 0, iterations(loop)
            for _ in range(requests):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await reader.readuntil(b"}")
            results[path] = hops / requests, (iterations(loop) - before) / requests
        writer.close()
        server.should_exit = True
        await serving
        return results

    class Counting(asyncio.SelectorEventLoop):
        turns = 0

        def _run_once(self) -> None:
            self.turns += 1
            super()._run_once()

    def iterations(loop: Any) -> int:
        return loop.turns if isinstance(loop, Counting) else loop.statistics()["turns"]

    factory = everloop.new_event_loop if name == "everloop" else Counting
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measured())


if __name__ == "__main__":
    main()
