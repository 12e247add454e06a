"""`loop.statistics()` tells of the threads that stand in, and of who has waited: for a thread, and for the baton.

No duration is asserted, but that the longest wait is one of those in the sum.
"""

import asyncio
import contextlib
import threading

import pytest

import everloop
from support import gates, rescuing_loop, wait_aside

WAITS = [
    ("standstills", "standstill_seconds", "longest_standstill"),
    ("baton_waits", "baton_wait_seconds", "longest_baton_wait"),
]


def check(loop):
    """What always holds of these numbers. Returns them all."""
    statistics = loop.statistics()
    assert 0 <= statistics["relief_threads_in_use"] <= statistics["relief_threads"] <= statistics["most_relief_threads"]
    for count, seconds, longest in WAITS:
        if statistics[count] < 2:
            assert statistics[longest] == statistics[seconds]
        assert (statistics[count] > 0) == (statistics[longest] > 0)
        assert statistics[longest] <= statistics[seconds]
    return statistics


@contextlib.asynccontextmanager
async def blocked(loop, count):
    """So many steps are in blocking calls."""

    async def block(gate):
        with everloop.blocking():
            gate.wait()

    with gates(count) as all_gates:
        async with asyncio.TaskGroup() as group:
            for gate in all_gates:
                group.create_task(block(gate))
            await wait_aside(loop, count)
            try:
                yield
            finally:
                for gate in all_gates:
                    gate.open()


def test_a_loop_on_which_nothing_blocks_has_no_thread_and_no_wait(loop):
    loop.run_until_complete(asyncio.sleep(0))
    statistics = check(loop)
    assert statistics["most_relief_threads"] == statistics["standstills"] == statistics["baton_waits"] == 0


def test_threads_are_in_use_while_steps_block_and_idle_after_that(loop):
    async def main():
        async with blocked(loop, 3):
            assert check(loop)["relief_threads_in_use"] == 3  # home is blocked, two others are, and one goes on
        while check(loop)["relief_threads_in_use"]:
            await asyncio.sleep(0)
        assert check(loop)["relief_threads"] == 3
        async with blocked(loop, 1):
            assert check(loop)["relief_threads_in_use"] == 1

    loop.run_until_complete(main())
    statistics = check(loop)
    assert (statistics["relief_threads"], statistics["most_relief_threads"]) == (0, 3)


@pytest.mark.parametrize("bound", [0, 1, 128])
def test_each_thread_that_a_step_had_to_wait_for_is_a_standstill(bound):
    loop = everloop.EventLoop(rescue=False, max_relief_threads=bound)

    async def main():
        async with blocked(loop, 3):
            assert check(loop)["standstills"] == 3

    loop.run_until_complete(main())
    loop.close()


def test_where_no_thread_comes_the_standstill_ends_with_the_blocking_call(monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if "relief" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    loop = everloop.EventLoop(rescue=False)

    async def main():
        for number in range(3):
            with everloop.blocking():
                pass
            assert check(loop)["standstills"] == number + 1

    loop.run_until_complete(main())
    assert check(loop)["most_relief_threads"] == 0
    loop.close()


def test_a_rescued_step_that_no_thread_was_there_for_is_counted_too():
    loop = rescuing_loop()

    async def main():
        with gates(1) as [gate]:
            asyncio.get_running_loop().call_soon(gate.wait)
            await asyncio.sleep(0)
            assert check(loop)["standstills"] == 1
            gate.open()

    loop.run_until_complete(main())
    loop.close()


def test_a_block_on_that_is_done_waits_for_the_step_that_has_ended_it(loop):
    async def main():
        for number in range(3):
            everloop.block_on(asyncio.sleep(0))
            assert check(loop)["baton_waits"] == number + 1

    loop.run_until_complete(main())


def test_a_step_whose_call_is_over_waits_for_the_one_that_runs(loop):
    async def block(gate, over):
        with everloop.blocking():
            gate.wait()
            over.set()

    async def main():
        while not check(loop)["baton_waits"]:  # the other step may end before this one's thread gets that far
            over = threading.Event()
            with gates(1) as [gate]:
                step = asyncio.create_task(block(gate, over))
                await wait_aside(loop)
                gate.open()
                over.wait()
                await step

    loop.run_until_complete(main())
    assert check(loop)["baton_waits"] >= 1


def test_what_steps_of_one_loop_wait_for_is_not_another_one_s(loop):
    other = everloop.EventLoop(rescue=False)

    async def main():
        everloop.block_on(asyncio.sleep(0))

    other.run_until_complete(main())
    assert check(other)["standstills"] == check(other)["baton_waits"] == 1
    assert check(loop)["standstills"] == check(loop)["baton_waits"] == check(loop)["most_relief_threads"] == 0
    other.close()
