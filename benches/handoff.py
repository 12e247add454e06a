"""What a hand-off costs: a blocking call that stops nobody, waiting for a coroutine, a rescue.

    python benches/handoff.py [--rounds 5] [--loops asyncio uvloop everloop]

asyncio and uvloop have `run_in_executor` for a blocking call, and `run_coroutine_threadsafe` from another thread for
waiting: they are measured with that, everloop with `blocking()` and `block_on()`.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from statistics import median

import measure

TRIPS = 100
LONG = 0.002
RESCUED = 0.03  # longer than rescue_after

Call = Callable[[], object]


def figures(name: str) -> measure.Figures:
    aside = blocking if name == "everloop" else executor
    wait = wait_here if name == "everloop" else wait_from_thread
    every = {
        "an empty call": lambda: beyond(aside, nothing),
        "os.stat, beyond the call": lambda: beyond(aside, stat),
        "2 ms, beyond the call": lambda: beyond(aside, long_call),
        "the same, the loop busy": lambda: busy(lambda: beyond(aside, long_call)),
        "the same, in an executor": lambda: busy(lambda: beyond(executor, long_call)),
        "wait for a coroutine": lambda: measure.typical(wait, TRIPS),
        "wake-up by another thread": wake,
        "(a lock wakes a thread)": bare_wake,
    }
    if name == "everloop":
        every |= {"rescue, beyond rescue_after": rescue, "hand-off at a learned site": learned}
    return {title: lambda runner, figure=figure: runner.run(figure()) for title, figure in every.items()}


# -- a blocking call that stops nobody ------------------------------------------------------------------------------


def nothing() -> None:
    pass


def stat() -> None:
    os.stat("/")  # gives the GIL up, for a microsecond or two


def long_call() -> None:
    time.sleep(LONG)


async def blocking(call: Call) -> None:
    import everloop

    with everloop.blocking():
        call()


async def executor(call: Call) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)


async def beyond(aside: Callable[[Call], Awaitable[None]], call: Call) -> measure.Times:
    """What the detour adds to the call: it and the bare call take turns."""
    bare = []

    async def trip() -> float:
        start = time.perf_counter()
        call()
        middle = time.perf_counter()
        await aside(call)
        bare.append(middle - start)
        return time.perf_counter() - middle

    both, cpu = await measure.typical(trip, TRIPS)
    return both - median(bare), cpu


async def busy(figure: Callable[[], Awaitable[measure.Times]]) -> measure.Times:
    """The same while another task always has something to run."""
    async with background():
        return await figure()


@contextlib.asynccontextmanager
async def background() -> AsyncIterator[None]:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    yield
    task.cancel()


# -- waiting --------------------------------------------------------------------------------------------------------


async def suspends_once() -> None:
    await asyncio.sleep(0)


async def wait_here() -> float:
    import everloop

    start = time.perf_counter()
    everloop.block_on(suspends_once())
    return time.perf_counter() - start


async def wait_from_thread() -> float:
    loop = asyncio.get_running_loop()

    def wait() -> float:
        start = time.perf_counter()
        asyncio.run_coroutine_threadsafe(suspends_once(), loop).result()
        return time.perf_counter() - start

    return await loop.run_in_executor(None, wait)


async def wake() -> measure.Times:
    """From `call_soon_threadsafe` in another thread until a sleeping loop has run it and that thread knows."""
    loop = asyncio.get_running_loop()

    def knock() -> float:
        time.sleep(0.001)  # the loop has gone to sleep by then
        seen = threading.Event()
        start = time.perf_counter()
        loop.call_soon_threadsafe(seen.set)
        seen.wait()
        return time.perf_counter() - start

    return await measure.typical(lambda: loop.run_in_executor(None, knock), TRIPS)


async def bare_wake() -> measure.Times:
    """From the release of a lock until the thread that waited for it runs: what no hand-off can be faster than."""
    knock, seen = threading.Lock(), threading.Lock()
    knock.acquire()
    seen.acquire()
    woken = 0.0

    def sleeper() -> None:
        nonlocal woken
        for _ in range(TRIPS):
            knock.acquire()
            woken = time.perf_counter()
            seen.release()

    async def trip() -> float:
        time.sleep(0.001)  # it has gone to sleep by then
        start = time.perf_counter()
        knock.release()
        seen.acquire()
        return woken - start

    thread = threading.Thread(target=sleeper)
    thread.start()
    times = await measure.typical(trip, TRIPS)
    thread.join()
    return times


# -- rescue ---------------------------------------------------------------------------------------------------------


async def rescue() -> measure.Times:
    loop = asyncio.get_running_loop()
    loop.rescue = True
    late, cpu = await measure.typical(lambda: first_other_step(site_of_its_own()), TRIPS // 5)
    return late - loop.rescue_after, cpu


async def learned() -> measure.Times:
    loop = asyncio.get_running_loop()
    loop.rescue = True
    site = site_of_its_own()
    for _ in range(5):
        await first_other_step(site)
    return await measure.typical(lambda: first_other_step(site), TRIPS // 5)


async def first_other_step(block: Callable[[float], None]) -> float:
    """From the start of a blocking call until another step runs, which was ready all along."""
    ran = asyncio.get_running_loop().create_future()
    await asyncio.sleep(0)
    ran.get_loop().call_soon(lambda: ran.set_result(time.perf_counter()))
    start = time.perf_counter()
    block(RESCUED)
    return await ran - start


def site_of_its_own() -> Callable[[float], None]:
    """Sites are learned by code object, so every one of these is new to the loop."""
    scope = {"sleep": time.sleep}
    exec("def block(seconds):\n    sleep(seconds)", scope)
    return scope["block"]


if __name__ == "__main__":
    measure.main(__file__, __doc__, figures, loops=("asyncio", "uvloop", "everloop"), rounds=5)
