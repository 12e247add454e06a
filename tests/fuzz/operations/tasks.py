"""Tasks: made, waited for, gathered, grouped."""

import asyncio
import contextvars
import fcntl
import io
import os
import sys
import threading
import weakref

from ..witness import PATH
from . import Expected, operation


@operation(weight=6)
async def sleep(step):
    return await asyncio.sleep(step.delay, step.count)


@operation(weight=3)
async def yields(step):
    for _ in range(step.count):
        await asyncio.sleep(0)
        step.check()


@operation(weight=14)
async def block(step):
    return step.block()


@operation(weight=3)
async def block_below_awaits(step):
    async def inner(depth):
        if depth:
            return await inner(depth - 1)
        result = step.block(0.5)
        await asyncio.sleep(0)
        step.block(0.5)
        return result

    return await inner(step.count)


@operation(weight=4, bodies=1)
async def call(step):
    return await step.body()


@operation(weight=4, bodies=1)
async def task(step):
    task = asyncio.create_task(step.body(), name=f"task of {step}")
    return await task, task.get_name(), task.done(), task.cancelled()


@operation(weight=3, bodies=1)
async def failing_task(step):
    task = asyncio.create_task(step.body(fails=True))
    try:
        await task
    except Expected as error:
        step.block()
        step.check()
        return str(error), task.exception() is error


@operation(weight=6, bodies=4)
async def gather(step):
    return await asyncio.gather(*(step.body(number) for number in range(step.bodies)))


@operation(weight=2, bodies=3)
async def gather_with_exceptions(step):
    outcomes = await asyncio.gather(
        *(step.body(number, fails=number == 0) for number in range(step.bodies)), return_exceptions=True
    )
    step.block()
    return [str(outcome) for outcome in outcomes]


@operation(weight=5, bodies=4)
async def group(step):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step.body(number)) for number in range(step.bodies)]
        step.block()
        step.check()
    return [task.result() for task in tasks]


@operation(weight=3, bodies=1)
async def failing_group(step):
    cleaned = []

    async def wait_for_the_end(number):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            step.block(1 / step.count)
            step.alone()
            cleaned.append(number)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(step.count):
                group.create_task(wait_for_the_end(number))
            await asyncio.sleep(0.001)  # all of them wait
            group.create_task(step.body(fails=True))
    except* Expected as caught:
        errors = [str(error) for error in caught.exceptions]
    return sorted(cleaned), errors, asyncio.current_task().cancelling()


@operation()
async def wait(step):
    async def one(number):
        await asyncio.sleep(0.001 * number)
        step.block(0.5)
        return number

    done, pending = await asyncio.wait([asyncio.create_task(one(number)) for number in range(step.count)])
    return sorted(task.result() for task in done), len(pending)


@operation()
async def wait_for_the_first(step):
    asked = asyncio.Event()

    async def forever():
        try:
            await asyncio.sleep(60)
        finally:
            step.block(0.5)

    async def first():
        await asked.wait()
        step.block(0.5)
        return "first"

    tasks = [asyncio.create_task(forever()), asyncio.create_task(first())]
    asked.set()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for other in pending:
        other.cancel()
    await asyncio.wait(pending)
    return [task.result() for task in done], [task.cancelled() for task in pending]


@operation()
async def as_completed(step):
    async def one(number):
        await asyncio.sleep(step.delay / (number + 1))
        step.block(0.3)
        return number

    results = []
    for following in asyncio.as_completed([one(number) for number in range(step.count)]):
        results.append(await following)
        step.check()
    return sorted(results)


@operation()
async def eager_task(step):
    current = []

    async def first_step_at_once():
        step.block(0.5)
        current.append(asyncio.current_task())
        await asyncio.sleep(0)
        step.block(0.5)
        current.append(asyncio.current_task())
        return step.count

    if sys.version_info >= (3, 14):
        task = asyncio.Task(first_step_at_once(), loop=step.loop, eager_start=True)
    else:
        task = asyncio.eager_task_factory(step.loop, first_step_at_once())
    step.check()
    return await task, [who is task for who in current]


@operation()
async def task_with_a_context(step):
    context = contextvars.copy_context()
    context.run(PATH.set, "given")

    async def inside():
        seen = [PATH.get()]
        step.block()
        await asyncio.sleep(0)
        seen.append(PATH.get())
        PATH.set("changed")
        return seen

    task = step.loop.create_task(inside(), context=context)
    return await task, context[PATH], PATH.get() == step.path


@operation()
async def variable_that_changes(step):
    token = PATH.set("changed")
    step.block(0.5)
    await asyncio.sleep(step.delay / 2)
    seen = PATH.get()
    PATH.reset(token)
    return seen


@operation()
async def done_callbacks(step):
    order = []
    task = asyncio.create_task(asyncio.sleep(0, "slept"))

    def done(number, task):
        order.append((number, task.result()))  # before it blocks: others may pass it
        if number == 0:
            step.block()
        step.alone()

    for number in range(step.count):
        task.add_done_callback(lambda task, number=number: done(number, task))
    task.add_done_callback(never := lambda task: order.append("removed"))
    removed = task.remove_done_callback(never)
    await task
    while len(order) < step.count:
        await asyncio.sleep(0.001)
    return order, removed


@operation()
async def dropped_task(step):
    class Result:
        pass

    result = Result()
    reference = weakref.ref(result)

    async def hold(result):
        await asyncio.sleep(0)
        return result

    await asyncio.create_task(hold(result))
    step.block()
    del result
    return reference() is None


@operation()
async def local_that_blocks_at_the_end_of_its_task(step):
    class Local:
        def __del__(self):
            step.block(0.5)
            ended.append(True)

    ended = []

    async def one():
        local = Local()
        await asyncio.sleep(0)
        return local is None

    results = await asyncio.gather(*(asyncio.create_task(one()) for _ in range(step.count)))
    step.check()
    return results, len(ended)


@operation(weight=1)
async def buffer_that_blocks_at_the_end_of_its_task(step):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)

    async def one():
        # no name but this one: its destructor, in C, is the last thing of the task
        buffer = io.BufferedWriter(io.FileIO(writer, "wb", closefd=False), 20_000)
        buffer.write(bytes(6000))
        await asyncio.sleep(0)

    timer = threading.Timer(step.delay, os.read, (reader, 6000))
    timer.start()
    await asyncio.create_task(one())
    step.check()
    await asyncio.sleep(0)
    timer.join()
    os.close(reader)
    os.close(writer)
    return step.task.done()


@operation(weight=1)
async def looks_around(step):
    step.block()
    stack = step.task.get_stack()
    return (
        step.task in asyncio.all_tasks(),
        asyncio.get_running_loop() is step.loop,
        asyncio.get_event_loop() is step.loop,
        len(stack) > 0,
        step.loop.is_running(),
        step.loop.is_closed(),
    )
