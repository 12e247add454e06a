"""Asynchronous generators, iterators and context managers; generators that a task holds over its awaits."""

import asyncio
import contextlib
import types

from ..witness import PATH
from . import Expected, operation


@operation(weight=3)
async def async_generator(step):
    async def numbers():
        try:
            for number in range(step.count):
                if number % 2:
                    step.block(0.5)
                else:
                    await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            step.block(0.5)
            step.check()

    return [number async for number in numbers()]


@operation()
async def async_generator_left(step):
    """The loop closes it, in a task of its own, with the context in which it was left."""
    ended = []

    async def endless():
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            step.block()
            await asyncio.sleep(0)
            ended.append(PATH.get())

    async for _ in endless():
        break
    while not ended:
        await asyncio.sleep(0.001)
    return ended


@operation()
async def async_generator_closed(step):
    ended = []

    async def endless():
        try:
            while True:
                yield len(ended)
        except GeneratorExit:
            step.block()
            await asyncio.sleep(0)
            ended.append("closed")
            raise

    numbers = endless()
    first = await anext(numbers)
    await numbers.aclose()
    return first, ended


@operation()
async def async_generator_thrown_into(step):
    async def stubborn():
        while True:
            try:
                received = yield "ready"
            except Expected:
                step.block()
                await asyncio.sleep(0)
                received = "error"
            if (yield received) is None:
                return

    numbers = stubborn()
    results = [await numbers.asend(None), await numbers.athrow(Expected)]
    return [*results, await anext(numbers, "over")]


@operation()
async def async_comprehension(step):
    class Countdown:
        left = step.count

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            await asyncio.sleep(0)
            step.block(0.2)
            self.left -= 1
            return self.left

    return {number: await asyncio.sleep(0, -number) async for number in Countdown() if number % 2 == 0}


@operation()
async def async_context_manager(step):
    @contextlib.asynccontextmanager
    async def forgiving():
        step.block(0.5)
        await asyncio.sleep(0)
        try:
            yield 3
        except Expected:
            await asyncio.sleep(0)
            step.block(0.5)

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0)
        async with forgiving() as number:
            step.block(0.3)
            raise Expected("inside")
    return number


@operation(weight=1)
async def generator_over_awaits(step):
    def numbers():
        for number in range(step.count):
            step.block(0.3)
            yield number

    got = []
    for number in numbers():
        await asyncio.sleep(0)
        step.check()
        got.append(number)
    return got


@operation(weight=1)
async def awaitable_in_python(step):
    class Awaitable:
        def __await__(self):
            step.block(0.5)
            result = yield from asyncio.sleep(0, "slept").__await__()
            step.block(0.5)
            return result

    @types.coroutine
    def old_style():
        step.block(0.3)
        yield  # a task that yields nothing goes on in the next turn
        step.block(0.3)
        return "old style"

    return await Awaitable(), await old_style()


@operation(weight=1)
async def finally_in_tasks(step):
    order = []

    async def one():
        try:
            await asyncio.sleep(0)
            raise Expected("once")
        except Expected:
            step.block(0.3)
            order.append("except")
            await asyncio.sleep(0)
            raise
        finally:
            step.block(0.3)
            order.append("finally")
            await asyncio.sleep(0)

    try:
        await asyncio.create_task(one())
    except Expected as error:
        order.append(str(error))
    return order
