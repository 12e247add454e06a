"""`everloop.to_thread`: only so many calls at once, a call that is told to stop, and a look at what runs.

Prints the most calls that were on threads at once, how often a stopped call was asked for, and what is on a thread.
"""

import asyncio
import threading

import everloop

connections = everloop.Limiter(2)
here = set()
most = []


def query(number: int) -> int:
    here.add(number)
    most.append(len(here))
    here.discard(number)
    return number * 2


def search(found: threading.Event) -> None:
    while True:
        everloop.check_cancelled()  # raises once nobody waits for this any more
        found.wait(0.001)


async def main() -> None:
    answers = await asyncio.gather(*(everloop.to_thread(query, number, limiter=connections) for number in range(20)))
    print("answers:", sum(answers), "never more than two at once?", max(most) <= 2)

    try:
        async with asyncio.timeout(0.05):
            await everloop.to_thread(search, threading.Event())
    except TimeoutError:
        print("the search has ended: nobody wanted it any more")

    opened = threading.Event()
    call = asyncio.create_task(everloop.to_thread(opened.wait))
    while not (running := everloop.statistics()["loops"][0]["pool"]["calls"]):
        await asyncio.sleep(0)
    print("on a thread:", running[0]["function"].partition(" ")[0])
    opened.set()
    await call


everloop.run(main())
