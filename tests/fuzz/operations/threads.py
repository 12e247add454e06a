"""Calls on threads, calls from threads, and everloop's own bridge."""

import asyncio
import concurrent.futures
import functools
import operator
import time

import everloop

from ..witness import PATH
from . import Expected, operation


@operation(weight=3)
async def to_thread(step):
    def work(number):
        time.sleep(step.delay)
        seen = PATH.get()
        PATH.set("on the thread")
        return seen == step.path, number

    results = await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(step.count)))
    try:
        await asyncio.to_thread(operator.truediv, 1, 0)
    except ZeroDivisionError as error:
        step.block()
        return results, str(error)


@operation()
async def run_in_executor(step):
    calls = [step.loop.run_in_executor(None, time.sleep, step.delay / 2) for _ in range(step.count)]
    step.block()
    return await asyncio.gather(*calls)


@operation(weight=1)
async def executor_of_its_own(step):
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        calls = [step.loop.run_in_executor(executor, divmod, number, 2) for number in range(step.count)]
        step.block()
        return await asyncio.gather(*calls)


@operation()
async def call_on_a_thread_cancelled(step):
    call = asyncio.create_task(asyncio.to_thread(time.sleep, step.delay))
    await asyncio.sleep(0)
    call.cancel()
    step.block()
    await asyncio.wait([call])
    return call.done()


@operation(weight=3, bodies=1)
async def coroutine_from_a_thread(step):
    loop = step.loop

    def call():
        return asyncio.run_coroutine_threadsafe(step.body(), loop).result()

    return await asyncio.to_thread(call)


@operation()
async def failure_from_a_thread(step):
    loop = step.loop

    async def fails():
        step.block()
        raise Expected("across")

    def call():
        future = asyncio.run_coroutine_threadsafe(fails(), loop)
        return str(future.exception())

    return await asyncio.to_thread(call)


@operation(weight=1)
async def coroutine_from_a_thread_cancelled(step):
    loop, begun, ended = step.loop, asyncio.Event(), asyncio.Event()

    async def victim():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            step.block()
            ended.set()

    future = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(victim(), loop))
    await begun.wait()
    cancelled = future.cancel()
    await ended.wait()
    return cancelled, future.cancelled()


@operation(weight=1)
async def wrap_future(step):
    future = concurrent.futures.Future()
    step.loop.call_later(0.001, future.set_result, "wrapped")
    step.block()
    return await asyncio.wrap_future(future)


# ---- asyncio has none of these: there a task does the same


@operation(weight=4, bodies=1)
async def block_on(step):
    if not step.run.is_everloop:
        return await asyncio.create_task(step.body())
    result = everloop.block_on(step.body())
    step.check()
    return result


@operation(weight=2, bodies=1)
async def block_on_from_a_thread(step):
    if not step.run.is_everloop:
        return await asyncio.create_task(step.body())
    return await asyncio.to_thread(lambda: everloop.block_on(step.body()))


@operation()
async def block_on_something_that_fails(step):
    async def fails():
        await asyncio.sleep(0.001)
        step.block()
        raise Expected("from below")

    try:
        everloop.block_on(fails()) if step.run.is_everloop else await asyncio.create_task(fails())
    except Expected as error:
        step.check()
        return str(error)


@operation(weight=2, bodies=3)
async def iterate(step):
    async def results():
        for number in range(step.bodies):
            yield await asyncio.create_task(step.body(number))
            step.block(0.2)

    async def collect():
        return [result async for result in results()]

    if not step.run.is_everloop:
        return await asyncio.create_task(collect())
    collected = list(everloop.iterate(results()))
    step.check()
    return collected


@operation(weight=1)
async def blocking_section(step):
    with everloop.blocking():
        time.sleep(step.delay)
    step.check()
    return functools.reduce(operator.add, range(step.count))
