"""`everloop.to_executor` with a cluster: a coroutine has work done on other machines, and the loop goes on meanwhile.

Dask's own `DASK_SCHEDULER_ADDRESS=tcp://host:8786` says where the cluster is; without it two workers are started here.
Prints what the workers have counted, and what the loop did meanwhile. Needs `pip install distributed`.
"""

import asyncio
import contextlib
import math
import os

from distributed import Client, LocalCluster
from loops import chosen_library

import everloop

STEP = 25_000


def count_primes(start: int, stop: int) -> tuple[int, int]:
    count = sum(all(number % divisor for divisor in range(2, math.isqrt(number) + 1)) for number in range(start, stop))
    return count, os.getpid()


async def main(client: Client) -> None:
    # pure=False: two calls with the same arguments are two calls, and one can be cancelled without the other
    executor = client.get_executor(pure=False)

    # eight pieces of work, on whichever workers are free
    async with asyncio.TaskGroup() as group:
        pieces = [
            group.create_task(everloop.to_executor(executor, count_primes, max(start, 2), start + STEP))
            for start in range(0, 8 * STEP, STEP)
        ]
        turns = 0
        while not all(piece.done() for piece in pieces):
            await asyncio.sleep(0.001)
            turns += 1

    print("primes below 200000:", sum(piece.result()[0] for piece in pieces))
    print("counted in other processes?", os.getpid() not in {piece.result()[1] for piece in pieces})
    print("the loop went on meanwhile?", turns > 1)


if __name__ == "__main__":  # a worker imports this file, and must not run it
    with contextlib.ExitStack() as stack:
        cluster = os.environ.get("DASK_SCHEDULER_ADDRESS")
        if cluster is None:
            cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))

        # outside the coroutine, because connecting and closing block
        client = stack.enter_context(Client(cluster))
        chosen_library().run(main(client))
