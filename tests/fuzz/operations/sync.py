"""Locks, events, queues and futures of asyncio, shared by several tasks."""

import asyncio

from . import Expected, operation


@operation()
async def lock(step):
    lock, total = asyncio.Lock(), 0

    async def add(number):
        nonlocal total
        async with lock:
            before = total
            step.block(0.3)
            await asyncio.sleep(0)
            total = before + number

    await asyncio.gather(*(add(number) for number in range(step.count)))
    return total, lock.locked()


@operation()
async def semaphore(step):
    semaphore = asyncio.BoundedSemaphore(2)
    inside = 0

    async def use(number):
        nonlocal inside
        async with semaphore:
            inside += 1
            if inside > 2:
                step.fault(f"{inside} are inside a semaphore for 2")
            step.block(0.3)
            await asyncio.sleep(0.0005)
            inside -= 1
        return number

    return await asyncio.gather(*(use(number) for number in range(step.count + 2)))


@operation()
async def event(step):
    event = asyncio.Event()

    async def wait():
        await event.wait()
        step.alone()
        return event.is_set()

    tasks = [asyncio.create_task(wait()) for _ in range(step.count)]
    await asyncio.sleep(0)
    step.block()
    event.set()
    return await asyncio.gather(*tasks)


@operation()
async def condition(step):
    condition, items, taken = asyncio.Condition(), [], []

    async def take():
        async with condition:
            await condition.wait_for(lambda: items)
            step.block(0.3)
            taken.append(items.pop())

    tasks = [asyncio.create_task(take()) for _ in range(step.count)]
    for number in range(step.count):
        async with condition:
            items.append(number)
            condition.notify()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return sorted(taken), items


@operation()
async def barrier(step):
    barrier = asyncio.Barrier(step.count)

    async def meet():
        step.block(0.3)
        async with barrier as position:
            return position

    return sorted(await asyncio.gather(*(meet() for _ in range(step.count)))), barrier.broken


@operation()
async def queue(step):
    queue, got = asyncio.Queue(2), []

    async def produce():
        for number in range(step.count * 2):
            await queue.put(number)
            if number % 3 == 0:
                step.block(0.3)
        await queue.put(None)

    async def consume():
        while (item := await queue.get()) is not None:
            got.append(item)
            if item % 4 == 0:
                step.block(0.3)

    await asyncio.gather(produce(), consume())
    return got


@operation()
async def priority_queue(step):
    queue, got = asyncio.PriorityQueue(), []

    async def work():
        while True:
            number = await queue.get()
            step.block(0.3)
            got.append(number)
            queue.task_done()

    for number in range(step.count, 0, -1):
        queue.put_nowait(number)
    worker = asyncio.create_task(work())
    await queue.join()
    worker.cancel()
    await asyncio.wait([worker])
    return got


@operation()
async def future(step):
    future, order = step.loop.create_future(), []

    async def wait(number):
        try:
            return await future
        finally:
            order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(step.count)]
    await asyncio.sleep(0.001)
    step.block(0.5)
    step.loop.call_soon(future.set_result, "set")
    step.block(0.5)
    return await asyncio.gather(*tasks), order


@operation()
async def future_that_fails(step):
    future = step.loop.create_future()
    step.loop.call_later(0.001, future.set_exception, Expected("later"))
    try:
        await future
    except Expected as error:
        step.block()
        return str(error), future.exception() is error


@operation()
async def future_that_is_cancelled(step):
    future = step.loop.create_future()

    async def wait():
        try:
            await future
        finally:
            step.block()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    future.cancel()
    await asyncio.wait([task])
    return task.cancelled(), future.cancelled()
