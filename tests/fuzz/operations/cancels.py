"""Cancelled tasks, time-outs and shields."""

import asyncio

from . import Expected, operation


@operation(weight=3)
async def cancel(step):
    states = []

    async def victim():
        states.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            states.append("cancelled")
            step.block()
            step.alone()
            await asyncio.sleep(0)
            states.append("cleaned")
            raise

    task = asyncio.create_task(victim())
    for _ in range(step.count):
        await asyncio.sleep(0)
    while not states:
        await asyncio.sleep(0)
    task.cancel("enough")
    try:
        await task
    except asyncio.CancelledError as error:
        return states, task.cancelled(), step.task.cancelling(), error.args


@operation()
async def cancel_before_the_first_step(step):
    if step.loop.get_task_factory() is asyncio.eager_task_factory:
        return None, True  # its first step has been taken

    begun = []

    async def victim():
        begun.append(True)

    task = asyncio.create_task(victim())
    task.cancel()
    step.block()
    await asyncio.wait([task])
    return begun, task.cancelled()


@operation()
async def cancel_that_is_caught(step):
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            step.block()
            left = asyncio.current_task().uncancel()
        await asyncio.sleep(0)
        return left

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0.001)
    task.cancel()
    return await task, task.cancelled(), task.cancelling()


@operation()
async def cancel_twice(step):
    states = []

    async def victim():
        for number in range(2):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                step.block(0.5)
                states.append(number)
        return asyncio.current_task().cancelling()

    task = asyncio.create_task(victim())
    await asyncio.sleep(0.001)
    task.cancel()
    while not states:
        await asyncio.sleep(0.001)
    task.cancel()
    return await task, states


@operation()
async def cancel_itself(step):
    async def suicidal():
        asyncio.current_task().cancel()
        step.block()  # goes on until it waits
        await asyncio.sleep(60)

    task = asyncio.create_task(suicidal())
    await asyncio.wait([task])
    return task.cancelled()


@operation(weight=1)
async def cancel_of_a_gather(step):
    ended = []

    async def one(number):
        try:
            await asyncio.sleep(60)
        finally:
            step.block(1 / step.count)
            ended.append(number)

    gathered = asyncio.gather(*(one(number) for number in range(step.count)))
    await asyncio.sleep(0.001)
    gathered.cancel()
    try:
        await gathered
    except asyncio.CancelledError:
        while len(ended) < step.count:
            await asyncio.sleep(0.001)
        return sorted(ended)


@operation()
async def timeout_that_expires(step):
    try:
        async with asyncio.timeout(0.002 + step.delay) as timeout:
            try:
                await asyncio.sleep(60)
            finally:
                step.block()
                step.check()
    except TimeoutError:
        return step.task.cancelling(), timeout.expired()


@operation(weight=2, bodies=1)
async def timeout_that_does_not_expire(step):
    async with asyncio.timeout(600) as timeout:
        result = await step.body()
        timeout.reschedule(step.loop.time() + 900)
    return result, timeout.expired()


@operation()
async def nested_timeouts(step):
    caught = []
    try:
        async with asyncio.timeout(0.002):
            try:
                async with asyncio.timeout(600):
                    await asyncio.sleep(60)
            except TimeoutError:
                caught.append("inner")
            finally:
                step.block()
    except TimeoutError:
        caught.append("outer")
    return caught, step.task.cancelling()


@operation(weight=2, bodies=1)
async def wait_for(step):
    return await asyncio.wait_for(step.body(), 600)


@operation()
async def wait_for_in_vain(step):
    ended = []

    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            step.block()
            ended.append(True)

    try:
        await asyncio.wait_for(slow(), 0.002)
    except TimeoutError:
        step.check()
        return ended


@operation()
async def wait_for_something_that_fails(step):
    async def fails():
        step.block()
        raise Expected("inside")

    try:
        await asyncio.wait_for(fails(), 600)
    except Expected as error:
        return str(error)


@operation(weight=2, bodies=1)
async def shield(step):
    return await asyncio.shield(step.body())


@operation()
async def shield_that_is_cancelled(step):
    async def protected():
        await asyncio.sleep(0.002)
        step.block()
        return "done all the same"

    inner = asyncio.create_task(protected())

    async def outer():
        await asyncio.shield(inner)

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled(), await inner


@operation(weight=1)
async def cancel_in_a_group(step):
    async def member():
        try:
            await asyncio.sleep(60)
        finally:
            step.block(0.3)

    async def owner():
        async with asyncio.TaskGroup() as group:
            for _ in range(step.count):
                group.create_task(member())

    task = asyncio.create_task(owner())
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()
