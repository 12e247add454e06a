"""A panic in the machinery ends the loop, and says so; what the loop's threads held is let go of."""

import asyncio
import contextlib
import os
import threading
from asyncio import events

import pytest

import everloop
from everloop import _native
from support import everloop_threads, local_events, run_against, wait_aside, wait_until


def panic_exception():
    """The class by which PyO3 takes a panic through Python code. Where Rust looks at it, it goes on as a panic."""
    loop = everloop.new_event_loop()
    with contextlib.closing(loop), contextlib.suppress(ValueError):
        loop.add_reader("no file", print)  # makes the class, as any error does
    return next(cls for cls in BaseException.__subclasses__() if cls.__name__ == "PanicException")


class Loop(everloop.EventLoop):
    """Panics between two steps, when it is told to: where it calls Python code of its own."""

    panics = False

    def _log_slow_callback(self, handle, seconds):
        if self.panics:
            raise panic_exception()("made up for this test")

    def panic(self):
        self.panics = True


@pytest.fixture
def loop():
    loop = Loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    yield loop
    loop.close()


DIED = "everloop has panicked, by an error of its own, and this loop cannot go on: made up for this test"


def test_the_run_says_so_and_the_loop_can_be_closed(loop, capfd):
    loop.call_soon(loop.panic)
    with pytest.raises(RuntimeError, match=DIED):
        loop.run_forever()
    assert "made up for this test" in capfd.readouterr().err
    assert not loop.is_running()
    assert events._get_running_loop() is None
    loop.close()
    assert loop.is_closed()


def test_the_loop_says_so_when_it_is_to_run_again(loop):
    loop.call_soon(loop.panic)
    with pytest.raises(RuntimeError):
        loop.run_forever()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"has panicked in this loop .* close the loop, and make another one"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_other_loops_go_on_and_nothing_watches_this_one(loop):
    loop.call_soon(loop.panic)
    with pytest.raises(RuntimeError):
        loop.run_forever()
    assert everloop.run(asyncio.sleep(0, "done")) == "done"
    wait_until(lambda: "everloop-watch" not in everloop_threads().values(), "the end of the watchdog")


def test_a_panic_on_a_relief_thread_comes_out_at_home(loop, gate):
    threads = []

    def block():
        loop.call_soon(panic)
        with everloop.blocking():
            gate.wait()
        loop.call_soon(threads.append, "goes on")

    def panic():
        threads.append(threading.current_thread())
        loop.panic()
        gate.open()

    loop.call_soon(block)
    with pytest.raises(RuntimeError, match=DIED):
        loop.run_forever()
    assert len(threads) == 1
    assert threads != [threading.main_thread()]
    assert not loop.is_running()


def test_a_panic_that_comes_out_of_a_callback_is_an_error_of_that_callback(capfd):
    """As one of another extension module is; the loop goes on."""
    told = []

    def fail():
        raise panic_exception()("made up for this test")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
        loop.call_soon(fail)
        await asyncio.sleep(0)
        return await asyncio.sleep(0, "goes on")

    assert everloop.run(main()) == "goes on"
    assert [str(error) for error in told] == [
        "everloop panicked, by an error of its own: please report what stderr says"
    ]
    assert "made up for this test" in capfd.readouterr().err


class LoopThatCannotHearSignals(everloop.EventLoop):
    """Panics in the middle of a hand-off, when it is told to: once the gates are open, and before the step is aside."""

    panics = False

    def _hear_signals(self):
        if self.panics:
            raise panic_exception()("made up for this test")
        super()._hear_signals()


@pytest.fixture
def deaf_loop():
    loop = LoopThatCannotHearSignals(rescue=True, rescue_after=0.005)
    yield loop
    loop.close()


def test_what_a_hand_off_has_opened_is_closed_where_that_panics(deaf_loop, gate, witness, capfd):
    def wait():
        return os.read(gate.reader, 1)

    async def main():
        with pytest.raises(panic_exception()):
            wait()

    run_against(deaf_loop, witness, wait, gate.open)
    assert local_events(wait) != [0], "the call is a learned site"
    deaf_loop.panics = True
    deaf_loop.run_until_complete(main())
    _native.forget_sites()
    assert local_events(wait) == [0], "no step is away there"
    assert "made up for this test" in capfd.readouterr().err


def test_a_step_that_is_aside_still_passes_its_gates_after_such_a_panic(deaf_loop, gate, witness):
    def wait():
        return os.read(gate.reader, 1)

    async def main():
        with pytest.raises(panic_exception()):
            wait()
        task = asyncio.create_task(step())
        await asyncio.sleep(0)
        await wait_aside(deaf_loop)
        witness.open_and_linger(gate.open)
        return await task

    async def step():
        read = wait()
        with witness:
            return read

    run_against(deaf_loop, witness, wait, gate.open)
    deaf_loop.panics = True
    assert deaf_loop.run_until_complete(main()) == b"o"
