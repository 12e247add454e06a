"""`everloop.block_on()`: wait for a coroutine from any synchronous function, wherever that was called.

The same plain function is called with no loop at all, inside a coroutine of a running loop, and on a worker thread of
that loop. Prints 6 each time, and that a coroutine which takes too long is cancelled.
"""

import asyncio

import everloop


async def price(name: str) -> int:
    await asyncio.sleep(0.01)
    return {"apple": 1, "pear": 2, "plum": 3}[name]


def total(*names: str) -> int:
    """Synchronous code that needs an asynchronous library."""
    return sum(everloop.block_on(price(name)) for name in names)


async def main() -> None:
    print("inside a coroutine:", total("apple", "pear", "plum"))
    print("on a worker thread:", await everloop.to_thread(total, "apple", "pear", "plum"))

    try:
        everloop.block_on(asyncio.sleep(3600), timeout=0.05)
    except TimeoutError:
        print("too slow: cancelled")


if __name__ == "__main__":
    print("with no loop at all:", total("apple", "pear", "plum"))
    everloop.run(main())
