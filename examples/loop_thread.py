"""`everloop.LoopThread`: a loop beside a synchronous program, for many calls, background tasks and notebooks.

Prints that a task of the loop goes on between two calls, and that a time-out cancels a coroutine and waits for it.
"""

import asyncio

import everloop

beats = asyncio.Queue[str]()


async def heart() -> None:
    while True:
        await beats.put("beat")
        await asyncio.sleep(0.01)


async def slow() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        print("slow: cleaned up")


with everloop.LoopThread() as portal:
    portal.submit(heart())  # does not wait
    print("heard:", [portal.run(beats.get()) for _ in range(3)])
    try:
        portal.run(slow(), timeout=0.05)
    except TimeoutError:
        print("slow: took too long")
# left: what still ran was cancelled, and the thread has ended
