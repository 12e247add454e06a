"""A loop whose `time` a program replaces goes by that: its timers, `call_later`, time-outs, the log of slow callbacks.

Tests that move the clock do so, and tools that fast-forward time. All of it as on asyncio's own loop.
"""

import asyncio
import contextlib
import decimal
import fractions
import gc
import unittest.mock
import weakref

import pytest

import everloop


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self, now=100.0):
        self.now = now

    def __call__(self, *_loop):
        return self.now


@contextlib.contextmanager
def assigned(loop, clock):
    before = loop.time
    loop.time = clock
    yield
    loop.time = before  # of no effect to anybody who looks


@contextlib.contextmanager
def assigned_and_deleted(loop, clock):
    loop.time = clock
    yield
    del loop.time


def mocked(loop, clock):
    return unittest.mock.patch.object(loop, "time", side_effect=clock)


def mocked_with_its_signature(loop, clock):
    return unittest.mock.patch.object(loop, "time", autospec=True, side_effect=clock)


def mocked_in_the_class(loop, clock):
    return unittest.mock.patch.object(type(loop), "time", clock)


@contextlib.contextmanager
def of_another_class(loop, clock):
    before = loop.__class__
    loop.__class__ = type("Clocked", (before,), {"time": lambda self: clock.now})
    yield
    loop.__class__ = before


WAYS = [
    assigned,
    assigned_and_deleted,
    mocked,
    mocked_with_its_signature,
    mocked_in_the_class,
    of_another_class,
]
every_way = pytest.mark.parametrize("replaced", WAYS, ids=lambda way: way.__name__)


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


@every_way
def test_timers_go_by_a_clock_that_is_put_in_while_the_loop_runs(run, replaced):
    async def main():
        loop, clock, ran = asyncio.get_running_loop(), Clock(), []
        with replaced(loop, clock):
            timer = loop.call_later(5, ran.append, "after five")
            loop.call_at(102, ran.append, "at 102")
            assert timer.when() == 105
            await turns()
            assert ran == []
            clock.now = 104.9
            await turns()
            assert ran == ["at 102"]
            clock.now = 105
            await turns()
            assert ran == ["at 102", "after five"]
        assert abs(loop.time() - asyncio.SelectorEventLoop.time(loop)) < 60  # the monotonic clock again
        await asyncio.sleep(0.001)

    run(main())


def test_what_was_set_before_counts_by_the_new_clock(run):
    async def main():
        loop, ran = asyncio.get_running_loop(), []
        loop.call_later(3600, ran.append, "in an hour")
        clock = Clock(loop.time() + 3601)
        with assigned(loop, clock):
            await turns()
            assert ran == ["in an hour"]

    run(main())


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_a_subclass_has_a_clock_of_its_own(base):
    class Loop(base):
        now = 0

        def time(self):
            return self.now

    async def main():
        loop = asyncio.get_running_loop()
        sleeper = asyncio.create_task(asyncio.sleep(1000, "slept"))
        await turns()
        assert not sleeper.done()
        loop.now += 1000
        return await sleeper

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == "slept"


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_a_subclass_may_ask_the_clock_that_it_replaces(base):
    class Loop(base):
        def time(self):
            return super().time() * 1000  # a second is a millisecond

    with asyncio.Runner(loop_factory=Loop) as runner:

        async def main():
            assert runner.get_loop().call_later(1, print).when() > runner.get_loop().time()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 20)

        runner.run(main())


def test_time_outs_go_by_the_replaced_clock(run):
    async def main():
        loop, clock = asyncio.get_running_loop(), Clock()
        with assigned(loop, clock):
            waiter = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 60))
            await turns()
            clock.now += 60
            with pytest.raises(TimeoutError):
                await waiter

    run(main())


@pytest.mark.parametrize("start", [-1e6, 0.0, 1.7e9, 1.7e18])
def test_any_clock_will_do(run, start):
    """One below zero, one that tells the date, one in other units than seconds."""

    async def main():
        loop, clock, ran = asyncio.get_running_loop(), Clock(start), []
        with assigned(loop, clock):
            for minutes in (2, 1):
                loop.call_later(minutes * 1e6, ran.append, minutes)
            await turns()
            assert ran == []
            clock.now += 1.001e6  # asyncio before 3.15 wants more than the very time of a clock of that size
            await turns()
            assert ran == [1]
            clock.now += 1.1e6
            await turns()
            assert ran == [1, 2]

    run(main())


def test_a_clock_moved_by_tenths_arrives(run):
    """0.3 is less than 0.1 + 0.2; asyncio takes what is nearer than the clock's resolution to be due."""

    async def main():
        loop, clock, ran = asyncio.get_running_loop(), Clock(0), []
        with assigned(loop, clock):
            loop.call_at(0.1 + 0.2, ran.append, "arrived")
            clock.now = 0.3
            await turns()
            assert ran == ["arrived"]

    run(main())


def test_the_loop_sleeps_as_long_as_the_clock_says_and_looks_again(run):
    """A clock that moves only while the loop sleeps: no turn is wanted in between."""

    async def main():
        loop = asyncio.get_running_loop()
        clock, asked = Clock(), []

        def time():
            asked.append(clock.now)
            clock.now += 0.0005  # each time that it is asked
            return clock.now

        with assigned(loop, time):
            await asyncio.sleep(0.01)
        assert 2 <= len(asked) <= 60  # it does not spin

    run(main())


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_an_error_of_the_clock_comes_out_of_the_run(base):
    class Lost(Exception):
        pass

    def lost():
        raise Lost

    loop, ran = base(), []
    timer = loop.call_later(60, ran.append, "late")
    loop.time = lost
    with pytest.raises(Lost):
        loop.call_later(1, print)
    with pytest.raises(Lost):
        loop.run_forever()
    del loop.time
    timer.cancel()
    loop.call_soon(ran.append, "goes on")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == ["goes on"]
    loop.close()


def test_debug_mode_finds_slow_what_is_slow_by_the_replaced_clock(run, caplog):
    async def main():
        loop, clock = asyncio.get_running_loop(), Clock()

        def slow_callback():
            clock.now += 7

        with assigned(loop, clock):
            loop.call_soon(slow_callback)
            await turns()

    run(main(), debug=True)
    [told] = [record.getMessage() for record in caplog.records if "slow_callback" in record.getMessage()]
    assert told.endswith("took 7.000 seconds")


# ---- what when() gives


class Hours(float):
    """A float of a kind."""


class Counter:
    """Stands for a scalar of numpy: adds to a float from the right, and is one on demand."""

    def __init__(self, value):
        self.value = value

    def __radd__(self, other):
        return Counter(other + self.value)

    def __float__(self):
        return float(self.value)

    def _compare(method):
        return lambda self, other: getattr(float(self), method)(float(other))

    __lt__, __gt__, __ge__, __le__ = map(_compare, ("__lt__", "__gt__", "__ge__", "__le__"))

    def __sub__(self, other):
        return self.value - other


NUMBERS = [1, True, 1.5, Hours(2.5), fractions.Fraction(7, 2), decimal.Decimal("4.5"), Counter(3)]
every_number = pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)


@every_number
@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_when_is_the_very_object_that_was_given(base, number):
    loop = base()
    timer = loop.call_at(number, print)
    assert timer.when() is number
    assert timer._when is number
    assert repr(timer).startswith(f"<TimerHandle when={number} print() at ") or f"when={number} " in repr(timer)
    assert hash(timer) == hash(number)
    loop.close()


@every_number
@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_after_a_delay_it_is_the_sum_that_python_makes(base, number):
    loop = base()
    loop.time = lambda: 100
    if isinstance(number, decimal.Decimal):
        assert loop.call_later(number, print).when() == 104.5
        loop.time = lambda: 100.0
        with pytest.raises(TypeError, match="unsupported operand type"):
            loop.call_later(number, print)
    elif not isinstance(number, Counter):
        timer = loop.call_later(number, print)
        assert timer.when() == 100 + number
        assert type(timer.when()) is type(100 + number)
    else:
        assert loop.call_later(number, print).when().value == 103
    del loop.time
    if not isinstance(number, decimal.Decimal):
        timer = loop.call_later(number, print)
        assert type(timer.when()) is type(1.0 + number)
        assert timer.when() is timer.when()
    loop.close()


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_timers_are_equal_if_all_of_them_is(base):
    loop = base()
    timer = loop.call_at(1, print, "a")
    assert timer == loop.call_at(1.0, print, "a")
    assert timer != loop.call_at(2, print, "a")
    assert timer != loop.call_at(1, repr, "a")
    assert timer != loop.call_at(1, print, "b")
    cancelled = loop.call_at(1, print, "a")
    cancelled.cancel()
    assert timer != cancelled
    assert timer <= loop.call_at(1.0, print, "a") <= loop.call_at(2, print)
    loop.close()


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, everloop.EventLoop])
def test_what_is_no_time_is_refused_in_asyncio_s_words(base):
    loop = base()
    with pytest.raises(TypeError, match=r"^delay must not be None$"):
        loop.call_later(None, print)
    with pytest.raises(TypeError, match=r"^when cannot be None$"):
        loop.call_at(None, print)
    with pytest.raises(TypeError, match=r"^unsupported operand type\(s\) for \+: 'float' and 'str'$"):
        loop.call_later("soon", print)
    loop.close()


def test_the_collector_finds_a_cycle_through_the_time_of_a_timer(loop):
    when = Hours(1)
    when.timer = loop.call_at(when, print)
    when.timer.cancel()
    reference = weakref.ref(when)
    loop.run_until_complete(asyncio.sleep(0))
    del when
    gc.collect()
    assert reference() is None


def test_a_clock_that_is_replaced_goes_with_its_loop():
    def make():
        loop = everloop.EventLoop()
        loop.time = lambda: loop and 1.0
        loop.close()
        return weakref.ref(loop)

    reference = make()
    gc.collect()
    assert reference() is None
