"""Timers: never early, first in first out on ties, cancelled ones gone."""

import asyncio
import time
import weakref

import pytest


def test_timers_run_in_the_order_of_their_times(loop):
    order = []
    start = loop.time()
    for delay in (5, 1, 4, 2, 3):
        loop.call_at(start + delay / 1000, order.append, delay)
    loop.call_at(start + 0.006, loop.stop)
    loop.run_forever()
    assert order == [1, 2, 3, 4, 5]


def test_timers_of_the_same_time_run_in_the_order_of_their_calls(loop):
    order = []
    when = loop.time() + 0.005
    for number in range(500):
        loop.call_at(when, order.append, number)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert order == list(range(500))


def test_what_is_due_runs_in_the_next_turn_however_busy_the_loop_is(loop):
    async def main():
        seen = []
        for turn in range(10):
            loop.call_later(0, seen.append, turn)
            await asyncio.sleep(0)  # goes on in the next turn, before the timer
            await asyncio.sleep(0)
            assert seen == list(range(turn + 1))
        loop.call_later(0.001, seen.append, "late")
        time.sleep(0.002)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen[-1] == "late"

    loop.run_until_complete(main())


@pytest.mark.parametrize("delay", [0, 0.00001, 0.0004, 0.001, 0.0033, 0.01])
def test_a_timer_is_never_early(loop, delay):
    seen = []
    for _ in range(20):
        when = loop.time() + delay
        loop.call_at(when, lambda when=when: seen.append(loop.time() - when))
    loop.call_later(delay + 0.001, loop.stop)
    loop.run_forever()
    assert len(seen) == 20
    assert min(seen) >= 0


def test_a_time_in_the_past_runs_in_the_next_turn(loop):
    order = []
    loop.call_later(-10, order.append, "past")
    loop.call_at(0, order.append, "long past")
    loop.call_later(0, order.append, "now")
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert order == ["long past", "past", "now"]


def test_sleep_returns_its_result_and_is_never_early(loop):
    async def main():
        start = loop.time()
        assert await asyncio.sleep(0.003, "rested") == "rested"
        return loop.time() - start

    assert loop.run_until_complete(main()) >= 0.003


def test_a_cancelled_timer_does_not_run(loop):
    order = []
    loop.call_later(0.001, order.append, "cancelled").cancel()
    loop.call_later(0.002, order.append, "ran")
    loop.call_later(0.003, loop.stop)
    loop.run_forever()
    assert order == ["ran"]


def test_a_timer_can_cancel_another_of_the_same_turn(loop):
    order = []
    when = loop.time()
    loop.call_at(when, lambda: doomed.cancel())
    doomed = loop.call_at(when, order.append, "cancelled")
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert order == []


def test_ten_thousand_cancelled_timers_are_given_back(loop):
    """Far-away timeouts that are cancelled, as every wait_for makes them, must not pile up."""
    survivor = loop.call_later(3600, print)
    handles = [loop.call_later(3600, print) for _ in range(10_000)]
    references = [weakref.ref(handle) for handle in handles]
    for handle in handles:
        handle.cancel()
    del handle, handles
    loop.run_until_complete(asyncio.sleep(0))
    alive = sum(reference() is not None for reference in references)
    assert alive <= 200
    assert not survivor.cancelled()


def test_a_far_timer_does_not_wake_the_loop(loop):
    """A timeout beyond what the system call takes is waited for in parts, and overflows nowhere."""
    loop.call_later(10 * 365 * 86400, pytest.fail)
    loop.call_later(1e12, pytest.fail)
    loop.run_until_complete(asyncio.sleep(0.005))


@pytest.mark.parametrize("delay", [None, "soon"])
def test_a_delay_that_is_no_number_is_refused(loop, delay):
    with pytest.raises(TypeError):
        loop.call_later(delay, print)
    with pytest.raises(TypeError):
        loop.call_at(None, print)


def test_timeouts_of_asyncio_work(loop):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.002)
        return await asyncio.wait_for(asyncio.sleep(0, "in time"), 20)

    assert loop.run_until_complete(main()) == "in time"


def test_a_timer_set_by_another_thread_counts(loop):
    """In asyncio it is only noticed at the next wake-up."""

    async def main():
        arrived = asyncio.Event()
        await asyncio.to_thread(lambda: loop.call_later(0.001, arrived.set))
        await arrived.wait()

    loop.set_debug(False)
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
