"""A million steps and ten thousand hand-offs leave memory, threads and descriptors where they were."""

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time

import pytest

import everloop
from support import open_descriptors

pytestmark = pytest.mark.patience(120)


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads():
    """All but the one that writes reports: it comes where a turn lasts on a slow machine, and goes by itself."""
    return {thread for thread in threading.enumerate() if thread.name != "everloop-report"}


class Footprint:
    """What the process holds; `grew` says by how much since."""

    def __init__(self):
        gc.collect()
        self.blocks = sys.getallocatedblocks()
        self.bytes = resident_bytes()
        self.threads = threads()
        self.descriptors = len(open_descriptors())

    def assert_unchanged(self, since):
        assert self.threads <= since.threads  # one that was there before may have ended
        assert self.descriptors == since.descriptors
        assert self.blocks - since.blocks < 2000
        assert self.bytes - since.bytes < 8 << 20


def assert_no_growth(use, attempts=4):
    """Run it once to warm up, and then measure around the next time.

    A leak grows each time. An allocator that keeps a few pages more grows now and then: it gets further attempts.
    """
    use()
    for attempt in range(attempts):
        before = Footprint()
        use()
        try:
            return Footprint().assert_unchanged(before)
        except AssertionError:
            if attempt == attempts - 1:
                raise


def test_a_million_call_soon_steps_leave_nothing():
    loop = everloop.EventLoop()

    def use():
        left = 500_000

        def step(argument):
            nonlocal left
            left -= 1
            if left:
                loop.call_soon(step, argument)
            else:
                loop.stop()

        loop.call_soon(step, object())
        loop.run_forever()

    assert_no_growth(use)
    assert loop.statistics()["steps"] >= 1_000_000
    loop.close()


def test_a_burst_of_callbacks_and_timers_is_given_back():
    loop = everloop.EventLoop()

    def use():
        for number in range(100_000):
            loop.call_soon(int, number)
            loop.call_later(0, int, number)
            loop.call_later(3600, int, number).cancel()
        loop.run_until_complete(asyncio.sleep(0.001))

    assert_no_growth(use)
    loop.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
@pytest.mark.parametrize("how", ["blocking", "block_on", "slow blocking"])
def test_ten_thousand_hand_offs_leave_nothing(how, one_look):
    loop = everloop.EventLoop(rescue=False)

    async def hand_off():
        for _ in range(100):
            match how:
                case "blocking":
                    with everloop.blocking():
                        pass
                case "block_on":
                    everloop.block_on(asyncio.sleep(0))
                case "slow blocking":
                    with everloop.blocking():
                        time.sleep(0.0001)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(hand_off() for _ in range(50)))

    def use():
        loop.run_until_complete(main())

    before = threads()
    assert_no_growth(use)
    assert loop.statistics()["releases"] == 10_000
    assert loop.statistics()["aside"] == 0
    loop.close()
    assert threads() <= before


def test_a_thousand_rescues_and_learned_hand_offs_leave_nothing():
    loop = everloop.EventLoop(rescue=True, rescue_after=0.0005)

    async def block():
        for _ in range(10):
            time.sleep(0.002)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(block() for _ in range(50)))

    assert_no_growth(lambda: loop.run_until_complete(main()))
    loop.close()


def test_references_of_exceptions_and_results_are_given_back():
    loop = everloop.EventLoop(rescue=False)

    class Result:
        alive = 0

        def __init__(self):
            Result.alive += 1

        def __del__(self):
            Result.alive -= 1

    async def give():
        return Result()

    async def fail():
        raise KeyError(Result())

    async def main():
        for _ in range(100):
            everloop.block_on(give())
            with contextlib.suppress(KeyError):
                everloop.block_on(fail())
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert Result.alive == 0
