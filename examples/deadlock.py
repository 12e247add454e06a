"""`everloop.DeadlockError`: tasks that wait for each other in a circle are told of, where other loops hang.

Prints who waits for whom.
"""

import asyncio

import everloop


async def wait_for(name: str, tasks: dict[str, asyncio.Task]) -> None:
    await asyncio.sleep(0)  # by then both are there
    everloop.block_on(tasks[name])


async def main() -> None:
    tasks: dict[str, asyncio.Task] = {}
    tasks["left"] = asyncio.create_task(wait_for("right", tasks), name="left")
    tasks["right"] = asyncio.create_task(wait_for("left", tasks), name="right")
    ended = await asyncio.gather(*tasks.values(), return_exceptions=True)
    print("a deadlock?", any(isinstance(error, everloop.DeadlockError) for error in ended))


everloop.run(main())
