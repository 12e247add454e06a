"""What everloop costs beside other fast loops, in 13 cells: CPU time of the process.

    python benches/peers.py [--rounds 9] [--loops uvloop rloop blazio everloop] [--cells 'call_*']

Printed is how many times everloop's time another loop takes: under 1, that loop is faster. An echo has both of its ends
on the loop that is measured. Loops that are not installed are left out with a line. What some of them leave out for
their speed is in benches/README.md.
"""

import argparse
import asyncio
import fnmatch
import math
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from statistics import median

import measure
import micro
from echo_server import Echo

LOOPS = ("uvloop", "rloop", "blazio", "everloop")
COUNT = 20_000
TRIPS = 2_000
CROSSINGS = 400
MESSAGE = bytes(1024)


def figures(name: str) -> measure.Figures:
    return {title: figure(name, cell, operations) for title, (cell, operations) in CELLS.items()}


def figure(name: str, cell: Callable[[str, int], Awaitable[None]], operations: int):
    return lambda runner: measure.fastest(lambda: runner.run(cell(name, operations)), operations)


async def future(count: int) -> None:
    """A future that the next turn makes ready."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        waited = loop.create_future()
        loop.call_soon(waited.set_result, None)
        await waited


# -- echoes ---------------------------------------------------------------------------------------------------------


class Asker(Echo):
    """Sends a message, then another one for each answer, until it has had enough."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.received = 0
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.received < len(MESSAGE):
            return
        self.received = 0
        self.answers -= 1
        if self.answers:
            self.transport.write(MESSAGE)
        else:
            self.done.set_result(None)


async def echo(trips: int, connections: int) -> None:
    loop = asyncio.get_running_loop()
    listener = listen()
    address = listener.getsockname()
    server = await loop.create_server(Echo, sock=listener)
    pairs = [await loop.create_connection(lambda: Asker(trips // connections), *address) for _ in range(connections)]
    for transport, _ in pairs:
        transport.write(MESSAGE)
    for _, asker in pairs:
        await asker.done
    for transport, _ in pairs:
        transport.close()
    server.close()
    await asyncio.sleep(0.01)  # both ends have gone


async def streams(trips: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    listener = listen()
    address = listener.getsockname()
    server = await asyncio.start_server(serve, sock=listener)
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(trips):
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
    writer.close()
    server.close()
    await asyncio.sleep(0.01)


def listen() -> socket.socket:
    # the protocol by its number: asyncio sets TCP_NODELAY on no other socket
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


# -- threads --------------------------------------------------------------------------------------------------------


async def to_thread(name: str, count: int) -> None:
    """By the call that a user of this loop makes."""
    if name == "everloop":
        from everloop import to_thread as call
    else:
        from asyncio import to_thread as call
    for _ in range(count):
        await call(micro.nothing)


async def run_in_executor(count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.run_in_executor(None, micro.nothing)


async def run_coroutine_threadsafe(count: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    async def coroutine() -> None:
        pass

    def ask() -> None:
        for _ in range(count):
            asyncio.run_coroutine_threadsafe(coroutine(), loop).result()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=ask)
    thread.start()
    await done
    thread.join()


def on_any(cell: Callable[..., Awaitable[None]], *arguments: int) -> Callable[[str, int], Awaitable[None]]:
    return lambda _name, count: cell(count, *arguments)


CELLS = {
    "call_soon, bursts of 1,000": (on_any(micro.call_soon_burst), COUNT),
    "call_soon, a chain": (on_any(micro.call_soon_chain), COUNT),
    "call_soon_threadsafe": (on_any(micro.threadsafe_burst), COUNT),
    "call_later and cancel": (on_any(micro.call_later_cancel), COUNT),
    "sleep(0)": (on_any(micro.switch_one), COUNT),
    "create_task and await": (on_any(micro.task), COUNT),
    "a future": (on_any(future), COUNT),
    "echo 1 KiB, 1 connection": (on_any(echo, 1), TRIPS),
    "echo 1 KiB, 32 connections": (on_any(echo, 32), TRIPS),
    "streams 1 KiB": (on_any(streams), TRIPS),
    "to_thread": (to_thread, CROSSINGS),
    "run_in_executor": (on_any(run_in_executor), CROSSINGS),
    "run_coroutine_threadsafe": (on_any(run_coroutine_threadsafe), CROSSINGS),
}


# -- the table ------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--loops", nargs="+", choices=measure.LOOPS, default=LOOPS, help="(%(default)s)")
    parser.add_argument("--cells", default="*", help="a pattern (all)")
    parser.add_argument("--child", choices=measure.LOOPS, help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.child:
        measure.answer(options.child, figures(options.child))
        return

    cells = [title for title in CELLS if fnmatch.fnmatchcase(title, options.cells)]
    loops = measure.installed(dict.fromkeys([*options.loops, "everloop"]))
    results: measure.Results = {name: {title: [] for title in cells} for name in loops}
    for number in range(options.rounds):
        measure.play_round(__file__, number, results)
    print_table(results, cells, options.rounds)


def print_table(results: measure.Results, cells: list[str], rounds: int) -> None:
    peers = [name for name in results if name != "everloop"]
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}, median of {rounds} rounds.")
    print(f"\n{'':<30}{'everloop':>12}" + "".join(f"{name + ' /':>12}" for name in peers))
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for cell in cells:
        mine = [cpu for _, cpu in results["everloop"][cell]]
        line = f"{cell:<30}{measure.duration(mine):>12}"
        for name in peers:
            theirs = [cpu for _, cpu in results[name][cell]]
            ratios[name].append(median(a / b for a, b in zip(theirs, mine, strict=False)))
            line += f"{ratios[name][-1]:>12.2f}"
        print(line)
    means = "".join(f"{math.exp(sum(map(math.log, each)) / len(each)):>12.2f}" for each in ratios.values())
    print(f"{'geometric mean':<30}{'':>12}{means}")


if __name__ == "__main__":
    main()
