"""Nothing stays of a call through the bridge: as many objects after many calls as before."""

import asyncio
import concurrent.futures
import contextlib
import gc

import anyio.to_thread
import pytest

import everloop

CALLS = 40

LIMITER = everloop.Limiter(2)


async def answer():
    return 42


async def three():
    for number in range(3):
        yield number


def fail():
    raise LookupError


async def in_a_step():
    everloop.block_on(answer())
    asyncio.run_coroutine_threadsafe(answer(), asyncio.get_running_loop()).result()


async def on_threads():
    await asyncio.gather(*(everloop.to_thread(int, limiter=LIMITER) for _ in range(5)))
    await everloop.to_thread(lambda: everloop.block_on(answer()))
    await anyio.to_thread.run_sync(int)
    with contextlib.suppress(LookupError):
        await everloop.to_thread(fail)


async def on_executors():
    with concurrent.futures.ThreadPoolExecutor(1) as own:
        await everloop.to_executor(own, int)
        for executor in (own, None):
            await asyncio.get_running_loop().run_in_executor(executor, int)


async def left_half_way():
    async for _ in everloop.aiterate(iter(range(3))):
        break


async def deadlock():
    this = asyncio.current_task()

    async def ask():
        await this

    with pytest.raises(everloop.DeadlockError):
        everloop.block_on(ask())


def from_this_thread(portal):
    portal.submit(answer()).result()
    asyncio.run_coroutine_threadsafe(answer(), portal.loop).result()
    everloop.syncify(answer)()
    next(everloop.iterate(three()))


def given_up(portal):
    future = asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), portal.loop)
    with pytest.raises(TimeoutError):
        future.result(0.002)
    future.cancel()
    with pytest.raises(TimeoutError):
        portal.submit(asyncio.Event().wait()).result(0.002)


def of_a_coroutine(function):
    return lambda portal: portal.run(function())


BRIDGE_CALLS = {
    **{each.__name__: of_a_coroutine(each) for each in (in_a_step, on_threads, on_executors, left_half_way, deadlock)},
    "from_this_thread": from_this_thread,
    "given_up": given_up,
    "run": lambda _: everloop.run(everloop.to_thread(int)),
}


@pytest.mark.parametrize("name", BRIDGE_CALLS)
def test_nothing_stays_of(name):
    call = BRIDGE_CALLS[name]
    everloop.replace_anyio_pool()
    try:
        with everloop.LoopThread() as portal:
            for _ in range(CALLS // 2):
                call(portal)
            before = objects()
            for _ in range(CALLS):
                call(portal)
            assert objects() - before < CALLS
    finally:
        everloop.restore_anyio_pool()


def objects():
    for _ in range(2):
        gc.collect()
    return len(gc.get_objects())
