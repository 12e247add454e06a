"""What it costs to call a function on a thread from a coroutine, and a coroutine from a thread.

    python benches/bridge.py [--rounds 9] [--loops asyncio uvloop everloop]

The function and the coroutine do nothing. everloop is measured with `everloop.to_thread` and with anyio's calls on its
threads; the other loops with `asyncio.to_thread` and anyio's own threads. `asgiref` and `ThreadPoolExecutor.submit`
are the same code on each loop.
"""

import asyncio
import concurrent.futures
import importlib
import time
from collections.abc import Awaitable, Callable

import anyio.to_thread
import measure
from asgiref.sync import sync_to_async

TRIPS = 500
AT_ONCE = 200
BURSTS = 10
RUNS = 100

Call = Callable[[Callable[[], object]], Awaitable[object]]


def nothing() -> None:
    pass


async def coroutine() -> None:
    pass


def figures(name: str) -> measure.Figures:
    import everloop

    ours = name == "everloop"
    if ours:
        everloop.replace_anyio_pool()
    to_thread: Call = everloop.to_thread if ours else asyncio.to_thread
    every = {
        "to_thread": lambda: one_by_one(to_thread),
        "to_thread, 200 at once": lambda: at_once(to_thread),
        "asyncio.to_thread": lambda: one_by_one(asyncio.to_thread),
        "anyio.to_thread": lambda: one_by_one(anyio.to_thread.run_sync),
        "anyio.to_thread, 200 at once": lambda: at_once(anyio.to_thread.run_sync),
        "asgiref.sync_to_async": lambda: one_by_one(lambda call: sync_to_async(call, thread_sensitive=False)()),
        "ThreadPoolExecutor": executor,
        "run_coroutine_threadsafe": from_thread,
    }
    chosen = {title: lambda runner, figure=figure: runner.run(figure()) for title, figure in every.items()}
    chosen["run"] = lambda _: run(name)
    if ours:
        chosen["block_on, in a step"] = lambda runner: runner.run(block_on_in_step())
    return chosen


async def one_by_one(call: Call) -> measure.Times:
    async def trip() -> float:
        begin = time.perf_counter()
        await call(nothing)
        return time.perf_counter() - begin

    return await measure.typical(trip, TRIPS)


async def at_once(call: Call) -> measure.Times:
    async def burst() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(call(nothing) for _ in range(AT_ONCE)))
        return (time.perf_counter() - begin) / AT_ONCE

    await burst()
    wall, cpu = await measure.typical(burst, BURSTS)
    return wall, cpu / AT_ONCE


async def executor() -> measure.Times:
    """Without a loop: what the threads of the standard library cost."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        async def trip() -> float:
            begin = time.perf_counter()
            pool.submit(nothing).result()
            return time.perf_counter() - begin

        return await measure.typical(trip, TRIPS)


async def from_thread() -> measure.Times:
    loop = asyncio.get_running_loop()

    def ask() -> float:
        begin = time.perf_counter()
        for _ in range(TRIPS):
            asyncio.run_coroutine_threadsafe(coroutine(), loop).result()
        return (time.perf_counter() - begin) / TRIPS

    cpu = time.process_time()
    return await asyncio.to_thread(ask), (time.process_time() - cpu) / TRIPS


async def block_on_in_step() -> measure.Times:
    import everloop

    async def trip() -> float:
        begin = time.perf_counter()
        everloop.block_on(asyncio.sleep(0))
        return time.perf_counter() - begin

    return await measure.typical(trip, TRIPS)


def run(name: str) -> measure.Times:
    """A loop for one trivial coroutine: `asyncio.run` and its like."""
    run = importlib.import_module(measure.module(name)).run

    def once() -> float:
        begin = time.perf_counter()
        run(coroutine())
        return time.perf_counter() - begin

    cpu = time.process_time()
    seconds = sorted(once() for _ in range(RUNS))
    return seconds[RUNS // 2], (time.process_time() - cpu) / RUNS


if __name__ == "__main__":
    measure.main(__file__, __doc__, figures, loops=("asyncio", "uvloop", "everloop"), rounds=9)
