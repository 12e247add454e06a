"""Whether long use leaves anything behind: memory, threads and file descriptors after many steps and hand-offs.

    python benches/soak.py [--passes 3] [--steps 1000000] [--handoffs 10000]

The passes do all the same. The first fills caches and starts threads; after it nothing may grow.
"""

import argparse
import asyncio
import gc
import os
import sys
import time

import everloop

TASKS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each pass (%(default)s)")
    parser.add_argument("--handoffs", type=int, default=10_000, help="of each pass (%(default)s)")
    options = parser.parse_args()
    everloop.run(soak(options.passes, options.steps, options.handoffs), rescue=True)


async def soak(passes: int, steps: int, handoffs: int) -> None:
    print(f"{__doc__.splitlines()[0]} CPython {sys.version.split()[0]}.\n")
    titles = ("", "memory", "threads", "files", "steps", "releases", "rescues", "learned", "time")
    print(f"{titles[0]:<8}" + "".join(f"{title:>12}" for title in titles[1:]))
    report("start", 0.0)
    for number in range(passes):
        start = time.perf_counter()
        await asyncio.gather(*(take_steps(steps // TASKS) for _ in range(TASKS)))
        await asyncio.gather(*(hand_off(handoffs // TASKS) for _ in range(TASKS)))
        report(f"pass {number + 1}", time.perf_counter() - start)


async def take_steps(count: int) -> None:
    """Four steps a round: a timer that is cancelled costs none."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 4):
        loop.call_later(60, print).cancel()
        loop.call_soon(int)
        await asyncio.create_task(asyncio.sleep(0))


async def hand_off(count: int) -> None:
    """Half of them asked for and short, a quarter waiting for a coroutine, a quarter rescued."""
    for number in range(count):
        if number % 4 < 2:
            with everloop.blocking():
                time.sleep(0.001)
        elif number % 4 == 2:
            everloop.block_on(asyncio.sleep(0.001))
        else:
            time.sleep(0.03)
        await asyncio.sleep(0)


def report(title: str, seconds: float) -> None:
    gc.collect()
    with open("/proc/self/statm") as statm:
        memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    counts = asyncio.get_running_loop().statistics()
    row = (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), counts["steps"])
    row += (counts["releases"], counts["rescues"], counts["learned"])
    print(f"{title:<8}{memory:>8.1f} MiB" + "".join(f"{number:>12}" for number in row) + f"{seconds:>10.1f} s")


if __name__ == "__main__":
    main()
