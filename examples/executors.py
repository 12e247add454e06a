"""`run_in_executor` with the loop's default pool, a thread pool and a process pool.

Threads suit calls that wait, processes suit calls that compute. Prints for each pool where the work was done.
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import threading
import time

from loops import chosen_library


def wait_for_something() -> str:
    time.sleep(0.1)
    return threading.current_thread().name


def compute_something() -> tuple[int, int]:
    return sum(number * number for number in range(100_000)), os.getpid()


async def main(threads: concurrent.futures.Executor, processes: concurrent.futures.Executor) -> None:
    loop = asyncio.get_running_loop()

    # the default pool, made when it is first used
    name = await loop.run_in_executor(None, wait_for_something)
    print("default pool: another thread?", name != threading.current_thread().name)

    # pools of your own
    name = await loop.run_in_executor(threads, wait_for_something)
    print("thread pool: done on", name)

    total, process = await loop.run_in_executor(processes, compute_something)
    print("process pool:", total, "another process?", process != os.getpid())


if __name__ == "__main__":  # a process of the pool imports this file, and must not run it
    # "spawn", because a process that has threads should not be forked
    spawn = multiprocessing.get_context("spawn")

    # leaving the `with` waits for the pools to end: outside the coroutine, where nobody else waits with it
    with (
        concurrent.futures.ThreadPoolExecutor(thread_name_prefix="mine") as threads,
        concurrent.futures.ProcessPoolExecutor(max_workers=1, mp_context=spawn) as processes,
    ):
        chosen_library().run(main(threads, processes))
