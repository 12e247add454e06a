"""Circles of waits that somebody opens are none: each kind of timer. Those that nobody opens any more are told."""

import asyncio
import contextlib
import threading

import anyio
import pytest

import everloop
from everloop.bridge.deadlocks import openers

SOON = 0.1  # seconds until a timer is due: longer than the first look at a circle takes to come


class Circle:
    """Task A waits in block_on for task B, which awaits A.

    Args:
        around: What B awaits A in.
        timeout: Of A's wait.
    """

    def __init__(self, around=contextlib.nullcontext, timeout=None):
        self._around = around
        self._timeout = timeout
        self.a = asyncio.create_task(self._run_a(), name="A")
        self.b = asyncio.create_task(self._run_b(), name="B")

    async def _run_a(self):
        await asyncio.sleep(0)  # B awaits this by then
        try:
            return everloop.block_on(self.b, self._timeout)
        except TimeoutError:
            return "the time-out of A"
        except asyncio.CancelledError:
            return "B was cancelled"

    async def _run_b(self):
        try:
            async with self._around():
                await asyncio.shield(self.a)
        except TimeoutError:
            return "the time-out of B"
        return "B went on"


class OwnTimeout(asyncio.Timeout):
    """Programs derive their own."""


def own_timeout():
    return OwnTimeout(asyncio.get_running_loop().time() + SOON)


@contextlib.asynccontextmanager
async def timeout_of_an_older_library():
    """A timer with a bound method of an object that keeps the task; the cancel is never taken back."""

    class Guard:
        def __init__(self):
            self.task, self.is_expired = asyncio.current_task(), False

        def expire(self):
            self.is_expired = True
            self.task.cancel()

    guard = Guard()
    timer = asyncio.get_running_loop().call_later(SOON, guard.expire)
    try:
        yield
    except asyncio.CancelledError:
        if guard.is_expired:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


@contextlib.asynccontextmanager
async def anyio_fail_after():
    with anyio.fail_after(SOON):
        yield


@contextlib.asynccontextmanager
async def anyio_move_on_after():
    with anyio.move_on_after(SOON):
        yield


@contextlib.asynccontextmanager
async def anyio_scopes_within():
    with anyio.fail_after(SOON), anyio.CancelScope():
        yield


@pytest.mark.parametrize(
    ("around", "outcome"),
    [
        (lambda: asyncio.timeout(SOON), "the time-out of B"),
        (own_timeout, "the time-out of B"),
        (timeout_of_an_older_library, "the time-out of B"),
        (anyio_fail_after, "the time-out of B"),
        (anyio_move_on_after, "B went on"),
        (anyio_scopes_within, "the time-out of B"),
    ],
    ids=["timeout", "own class", "older library", "fail_after", "move_on_after", "scopes within"],
)
def test_a_time_out_of_a_member_opens_it(loop, around, outcome):
    async def main():
        return await Circle(around).a

    assert loop.run_until_complete(main()) == outcome


def test_the_time_out_of_the_wait_itself_opens_it(loop):
    async def main():
        return await Circle(timeout=SOON).a

    assert loop.run_until_complete(main()) == "the time-out of A"


def test_the_time_out_of_a_result_opens_it(loop):
    """Of asyncio's own call, on a thread that a member waits for."""

    async def main():
        async def b():
            return await asyncio.shield(a)

        def on_thread():
            with pytest.raises(TimeoutError):
                asyncio.run_coroutine_threadsafe(b(), loop).result(SOON)
            return "the time-out of result()"

        a = asyncio.ensure_future(asyncio.to_thread(on_thread))
        outcome = await a
        await loop.shutdown_default_executor()
        return outcome

    assert loop.run_until_complete(main()) == "the time-out of result()"


# ---- what others do


async def a_timer_cancels(circle):
    asyncio.get_running_loop().call_later(SOON, circle.b.cancel)


async def a_timer_that_calls_a_closure(circle):
    def end():
        circle.b.cancel()

    asyncio.get_running_loop().call_later(SOON, end)


async def a_callback_that_is_ready(circle):
    while everloop.bridge.deadlocks.waiting.current_waits() == []:
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(circle.b.cancel)


async def a_timer_of_threading(circle):
    loop = asyncio.get_running_loop()
    threading.Timer(SOON, lambda: loop.call_soon_threadsafe(circle.b.cancel)).start()


async def a_supervisor_that_sleeps(circle):
    await asyncio.sleep(SOON)
    circle.b.cancel()


async def a_supervisor_that_looks_now_and_then(circle):
    for _ in range(10):
        await asyncio.sleep(SOON / 5)
    circle.b.cancel()


async def a_wait_that_gives_up(circle):
    _, pending = await asyncio.wait([circle.a], timeout=SOON)
    assert pending == {circle.a}
    circle.b.cancel()


async def a_time_out_of_who_waits_for_a_member(circle):
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(circle.b, SOON)


async def a_time_out_around_a_gather(circle):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SOON):
            await asyncio.gather(circle.b)


@pytest.mark.parametrize(
    "opener",
    [
        a_timer_cancels,
        a_timer_that_calls_a_closure,
        a_callback_that_is_ready,
        a_timer_of_threading,
        a_supervisor_that_sleeps,
        a_supervisor_that_looks_now_and_then,
        a_wait_that_gives_up,
        a_time_out_of_who_waits_for_a_member,
        a_time_out_around_a_gather,
    ],
    ids=lambda opener: opener.__name__,
)
def test_others_open_it(loop, opener):
    async def main():
        circle = Circle()
        beside = asyncio.create_task(opener(circle))
        outcome = await circle.a
        await beside
        return outcome

    assert loop.run_until_complete(main()) == "B was cancelled"


def test_a_timer_sets_a_future_that_a_member_awaits_through_others(loop):
    async def main():
        future = loop.create_future()
        loop.call_later(SOON, future.set_result, "opened")

        async def b():
            done, _ = await asyncio.wait([a, asyncio.gather(future)], return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()[0]

        async def wait():
            await asyncio.sleep(0)
            return everloop.block_on(task)

        a = asyncio.create_task(wait())
        task = asyncio.create_task(b())
        return await a

    assert loop.run_until_complete(main()) == "opened"


def test_a_time_out_on_a_loop_of_asyncio_s_opens_it(loop):
    """Through another thread's loop, which does not stand still."""
    other = asyncio.SelectorEventLoop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    async def main():
        async def b():
            try:
                async with asyncio.timeout(SOON):
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(back(), loop))
            except TimeoutError:
                return "the time-out of B"

        async def back():
            return await asyncio.shield(a)

        async def wait():
            return everloop.block_on(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(b(), other)))

        a = asyncio.create_task(wait())
        return await a

    try:
        assert loop.run_until_complete(main()) == "the time-out of B"
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()


# ---- what opens nothing


@contextlib.asynccontextmanager
async def a_time_out_that_has_fired():
    async with asyncio.timeout(0):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            yield


@contextlib.asynccontextmanager
async def a_time_out_without_time():
    async with asyncio.timeout(None):
        yield


@contextlib.asynccontextmanager
async def a_time_out_that_was_taken_back():
    async with asyncio.timeout(60) as timeout:
        timeout.reschedule(None)
        yield


@contextlib.asynccontextmanager
async def a_time_out_of_others():
    asyncio.get_running_loop().call_later(60, int)
    async with asyncio.timeout(None):
        yield


@pytest.mark.parametrize(
    "around",
    [a_time_out_that_has_fired, a_time_out_without_time, a_time_out_that_was_taken_back, a_time_out_of_others],
    ids=lambda around: around.__name__,
)
def test_a_time_out_that_ends_nothing_any_more_does_not_count(loop, around):
    async def main():
        circle = Circle(around)
        with pytest.raises(everloop.DeadlockError, match="'B'"):
            await circle.a

    loop.run_until_complete(main())


def test_a_circle_that_its_time_out_has_not_opened_is_told_after_that(loop):
    """The member catches the cancel, and goes on waiting."""

    @contextlib.asynccontextmanager
    async def deaf():
        async with asyncio.timeout(SOON):
            try:
                yield
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
                await asyncio.shield(circle.a)

    async def main():
        nonlocal circle
        circle = Circle(deaf)
        with pytest.raises(everloop.DeadlockError, match="'B'"):
            await circle.a

    circle = None
    loop.run_until_complete(main())


def test_tasks_beside_a_circle_that_know_it_and_do_nothing_do_not_hide_it_for_ever(loop, monkeypatch):
    monkeypatch.setattr(openers, "PATIENCE", 0.05)

    async def tick():
        while circle is not None:
            await asyncio.sleep(0.01)

    async def main():
        nonlocal circle
        circle = Circle()
        ticker = asyncio.create_task(tick())
        with pytest.raises(everloop.DeadlockError, match="'B'"):
            await circle.a
        circle = None
        await ticker

    circle = None
    loop.run_until_complete(main())
