"""`loop.run_until_complete`: run a loop of your own until one coroutine is done. A loop that runs already refuses.

Prints 1, then the error, then 1 again: awaited.
"""

import asyncio

from loops import chosen_library


async def do_work() -> int:
    return 1


async def run_the_running_loop() -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(do_work())
    try:
        loop.run_until_complete(task)
    except RuntimeError as error:
        print("RuntimeError:", error)

    # the loop runs already, so wait for the task as a coroutine does
    print(await task)  # 1


if __name__ == "__main__":
    loop = chosen_library().new_event_loop()
    print(loop.run_until_complete(do_work()))  # 1
    loop.run_until_complete(run_the_running_loop())
    loop.close()
