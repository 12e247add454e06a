"""The other face of functions, iterators and classes: `syncify`, `asyncify`, `iterate`, `aiterate`.

Prints the same numbers from synchronous code over asynchronous things, and the other way round.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import everloop


async def double(number: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * number


async def ticks() -> AsyncIterator[int]:
    for number in range(3):
        yield await double(number)


def rows() -> Iterator[int]:
    for number in range(3):
        time.sleep(0.01)  # a driver that blocks
        yield 2 * number


class Store:
    """A class that blocks."""

    def get(self, number: int) -> int:
        time.sleep(0.01)
        return 2 * number


async def main() -> None:
    print("asynchronous code:", [row async for row in everloop.aiterate(rows)])
    store = await everloop.asyncify(Store)()
    print("asynchronous code:", await store.get(21))


print("synchronous code:", list(everloop.iterate(ticks())))
print("synchronous code:", everloop.syncify(double)(21))
everloop.run(main())
