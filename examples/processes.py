"""`everloop.to_process` and `everloop.to_interpreter`: what computes in Python, beside the loop.

Prints what was computed, what becomes of a process that dies, and of an argument that cannot be sent there.
"""

import math
import os
import sys

import everloop


def count_primes(limit: int) -> int:
    return sum(all(number % factor for factor in range(2, math.isqrt(number) + 1)) for number in range(2, limit))


async def main() -> None:
    print("primes below 20000:", await everloop.to_process(count_primes, 20_000))

    try:
        await everloop.to_process(os._exit, 3)
    except everloop.WorkerDiedError:
        print("that process is gone; the next call has a new one:", await everloop.to_process(math.factorial, 5))

    try:
        await everloop.to_process(len, lambda: None)
    except everloop.TransferError:
        print("a lambda cannot be sent to another process")

    if sys.version_info >= (3, 14):  # in this process, with a GIL of its own
        assert await everloop.to_interpreter(math.factorial, 5) == 120


if __name__ == "__main__":  # the other process imports this file, and must not run it
    everloop.run(main())
