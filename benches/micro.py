"""What one operation of a loop costs: callbacks, timers, switching, tasks, calls from another thread.

    python benches/micro.py [--rounds 9] [--loops asyncio uvloop rloop everloop unwatched]

"unwatched" is everloop with its watchdog switched out: the ratio to it is what the watchdog costs.
"""

import asyncio
import threading

import measure

COUNT = 20_000


def figures(_name: str) -> measure.Figures:
    return {
        title: lambda runner, figure=figure: measure.fastest(lambda: runner.run(figure(COUNT)), COUNT)
        for title, figure in FIGURES.items()
    }


def nothing() -> None:
    pass


async def call_soon_burst(count: int, burst: int = 1_000) -> None:
    """A thousand callbacks from one step, which all run in the next turn."""
    loop = asyncio.get_running_loop()
    for _ in range(count // burst):
        for _ in range(burst):
            loop.call_soon(nothing)
        await asyncio.sleep(0)


async def call_soon_chain(count: int) -> None:
    """Each callback schedules the next: one step a turn."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    step(count)
    await done


async def call_later_cancel(count: int, burst: int = 1_000) -> None:
    """A timeout that is not needed: set, and cancelled before it is due."""
    loop = asyncio.get_running_loop()
    for _ in range(count // burst):
        for _ in range(burst):
            loop.call_later(10, nothing).cancel()
        await asyncio.sleep(0)


async def call_later_fire(count: int) -> None:
    """Timers that fall due in a few milliseconds, in no order; most of the time is spent on them, not asleep."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for number in range(count):
        loop.call_later(0.001 * (1 + number * 7919 % 5), fire)
    await done


async def switch_one(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def switch_many(count: int, tasks: int = 100) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(switch_one(count // tasks))


async def task(count: int) -> None:
    async def child() -> None:
        pass

    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_task(child())


async def threadsafe_burst(count: int) -> None:
    """Another thread schedules as fast as it can, while the loop runs what it has."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def schedule() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=schedule)
    thread.start()
    await done
    thread.join()


FIGURES = {
    "call_soon, bursts of 1,000": call_soon_burst,
    "call_soon, a chain": call_soon_chain,
    "call_later and cancel": call_later_cancel,
    "call_later, fired": call_later_fire,
    "sleep(0), one task": switch_one,
    "sleep(0), 100 tasks": switch_many,
    "create_task and await": task,
    "call_soon_threadsafe": threadsafe_burst,
}

if __name__ == "__main__":
    measure.main(__file__, __doc__, figures, loops=tuple(measure.LOOPS), rounds=9)
