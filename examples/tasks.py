"""Three ways to make a task of a coroutine, and two to get at its result.

Prints that a task has no result before it has run, then the results: by `await`, and by a callback.
"""

import asyncio

from loops import chosen_library


async def do_work() -> int:
    return 222


async def main() -> None:
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(do_work()), asyncio.ensure_future(do_work()), loop.create_task(do_work())]

    # a task is scheduled, not run: that happens when this coroutine awaits
    try:
        tasks[0].result()
    except asyncio.InvalidStateError as error:
        print("InvalidStateError:", error)

    # where nothing can be awaited, a callback is told
    tasks[2].add_done_callback(lambda task: print("by a callback:", task.result()))

    print("by await:", await tasks[0], await tasks[1])
    await tasks[2]


if __name__ == "__main__":
    chosen_library().run(main())
