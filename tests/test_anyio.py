"""anyio on everloop: its worker threads are used again."""

import asyncio
import threading

import anyio
import anyio.to_thread
import pytest

import everloop
from support import wait_until


def worker_threads():
    return [thread for thread in threading.enumerate() if "AnyIO" in thread.name]


@pytest.mark.parametrize("rescue", [False, True])
def test_two_hundred_calls_one_after_the_other_take_one_thread(rescue):
    """anyio keeps its idle workers at the root task, which it knows by a done-callback of `run_until_complete`.

    A loop on which it does not find that task has a thread started for each request to a `def` endpoint.
    """
    seen = set()

    async def request():
        seen.add(await anyio.to_thread.run_sync(threading.get_ident))

    async def main():
        for _ in range(200):
            await asyncio.create_task(request())  # as a server does
        return len(worker_threads())

    assert everloop.run(main(), rescue=rescue) == 1
    assert len(seen) == 1
    wait_until(lambda: not worker_threads(), "the end of the workers")


def test_calls_at_once_take_no_more_threads_than_calls():
    async def main():
        at_once = threading.Barrier(5)
        for _ in range(20):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(anyio.to_thread.run_sync, at_once.wait)
        return len(worker_threads())

    assert everloop.run(main()) == 5
    wait_until(lambda: not worker_threads(), "the end of the workers")
