"""LoopThread: a loop on its own thread, and the futures by which other threads wait for its coroutines."""

import asyncio
import concurrent.futures
import contextvars
import os
import signal
import threading

import pytest

import everloop
from support import PATIENCE, run_script, wait_until
from test_fork import in_child


@pytest.fixture
def portal(_no_leftovers):
    with everloop.LoopThread() as portal:
        yield portal


async def answer(value=42):
    await asyncio.sleep(0)
    return value


async def where():
    return threading.current_thread(), asyncio.get_running_loop()


class Endless:
    """A coroutine that runs until it is cancelled, and takes a while to clean up."""

    def __init__(self):
        self.started = threading.Event()
        self.cleaned_up = False

    async def __call__(self):
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.002)
            self.cleaned_up = True


# ---- running


def test_coroutines_run_on_one_loop_on_one_thread(portal):
    thread, loop = portal.run(where())
    assert (thread, loop) == portal.run(where()) == portal.submit(where()).result()
    assert thread is not threading.current_thread()
    assert loop is portal.loop
    assert isinstance(loop, everloop.EventLoop)


def test_it_starts_when_it_is_needed():
    portal = everloop.LoopThread(name="everloop-of-this-test", debug=True)
    assert "not started" in repr(portal)
    assert portal.run(answer()) == 42
    assert portal.loop.get_debug()
    assert "everloop-of-this-test" in [thread.name for thread in threading.enumerate()]
    portal.close()
    assert "closed" in repr(portal)


def test_the_exception_is_the_same_object(portal):
    error = KeyError("the very same object")

    async def fail():
        raise error

    with pytest.raises(KeyError) as caught:
        portal.run(fail())
    assert caught.value is error


def test_context_variables_of_the_submitter_go_along(portal):
    variable = contextvars.ContextVar("variable")
    variable.set("of the submitter")

    async def look():
        seen = variable.get()
        variable.set("changed inside")
        return seen

    assert portal.run(look()) == "of the submitter"
    assert variable.get() == "of the submitter"


def test_threads_that_a_coroutine_starts_wait_on_its_own_loop(loop, portal):
    """Not on the loop from which it was submitted."""

    async def deep():
        return (await asyncio.to_thread(lambda: everloop.block_on(where())))[1]

    async def main():
        return portal.run(deep())

    assert loop.run_until_complete(main()) is portal.loop


@pytest.mark.parametrize("thing", [42, None, answer, "text"])
def test_what_is_not_awaitable_is_a_type_error(portal, thing):
    with pytest.raises(TypeError):
        portal.submit(thing)


def test_a_future_of_another_loop_is_an_error_of_the_result(loop, portal):
    with pytest.raises(RuntimeError, match="loop"):
        portal.run(loop.create_future())


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
def test_an_exit_reaches_who_asked_and_nobody_else(portal, exit_):
    async def leave():
        raise exit_("of the coroutine")

    other = Endless()
    kept = portal.submit(other())
    other.started.wait()
    with pytest.raises(exit_, match="of the coroutine"):
        portal.run(leave())
    assert portal.run(answer()) == 42
    assert not kept.done()


# ---- waiting in a step


def test_a_step_of_its_own_loop_waits_as_block_on_does(portal):
    async def outer():
        return portal.run(answer()), portal.submit(answer(43)).result()

    assert portal.run(outer(), timeout=20) == (42, 43)


def test_a_step_of_another_everloop_goes_aside_meanwhile(loop, portal):
    """The loop of the step goes on: it is who lets the coroutine end."""
    opened = threading.Event()

    async def patient():
        while not opened.is_set():
            await asyncio.sleep(0)
        return "opened"

    async def main():
        loop.call_soon(opened.set)
        return portal.run(patient())

    assert loop.run_until_complete(main()) == "opened"


def test_a_step_of_asyncio_s_own_loop_waits_standing(portal):
    """A cell of a notebook."""

    async def main():
        return portal.run(answer())

    assert asyncio.run(main()) == 42


def test_cancelling_a_task_that_waits_cancels_the_coroutine(loop, portal):
    endless = Endless()

    async def waiting():
        portal.run(endless())

    async def main():
        task = asyncio.create_task(waiting())
        while not endless.started.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())
    assert endless.cleaned_up


# ---- time-outs, cancelling, interrupts


def wait_in_step(portal, coroutine):
    async def step():
        portal.run(coroutine, timeout=0.002)

    everloop.run(step())


def wait_inside_blocking(portal, coroutine):
    async def step():
        with everloop.blocking():
            portal.run(coroutine, timeout=0.002)

    everloop.run(step())


@pytest.mark.parametrize(
    "wait",
    [
        lambda portal, coroutine: portal.run(coroutine, timeout=0.002),
        lambda portal, coroutine: portal.submit(coroutine).result(0.002),
        lambda portal, coroutine: portal.submit(coroutine).exception(timeout=0.002),
        wait_in_step,
        wait_inside_blocking,
    ],
    ids=["run", "result", "exception", "in a step", "inside blocking"],
)
def test_a_timeout_cancels_the_coroutine_and_waits_for_its_clean_up(portal, wait):
    endless = Endless()
    with pytest.raises(TimeoutError):
        wait(portal, endless())
    # on a busy machine the time may be up before it has begun
    assert endless.cleaned_up == endless.started.is_set()


def test_a_coroutine_that_ends_all_the_same_gives_its_result(portal):
    started = threading.Event()

    async def stubborn():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "a result"

    future = portal.submit(stubborn())
    assert started.wait(PATIENCE)
    assert future.result(timeout=0.002) == "a result"


def test_a_timeout_error_of_the_coroutine_is_its_own(portal):
    async def fail():
        raise TimeoutError("of the coroutine")

    with pytest.raises(TimeoutError, match="of the coroutine"):
        portal.run(fail(), timeout=20)


def test_a_cancelled_future_is_done_once_the_coroutine_is(portal):
    endless = Endless()
    future = portal.submit(endless())
    endless.started.wait()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert endless.cleaned_up
    assert future.cancelled()
    assert future.cancel()
    assert not portal.submit(answer()).exception()


def test_cancelling_before_it_began_warns_of_nothing(portal):
    held, begun = threading.Event(), threading.Event()
    portal.loop.call_soon_threadsafe(lambda: (begun.set(), held.wait()))
    begun.wait()
    future = portal.submit(answer())
    future.cancel()
    held.set()
    assert concurrent.futures.wait([future], 20).done == {future}
    assert future.cancelled()


def test_a_finished_future_cannot_be_cancelled(portal):
    future = portal.submit(answer())
    assert future.result() == 42
    assert not future.cancel()


def test_an_interrupt_cancels_and_waits_for_the_clean_up(portal):
    endless = Endless()
    future = portal.submit(endless())
    endless.started.wait()
    portal.loop.call_soon_threadsafe(signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        future.result()
    assert endless.cleaned_up
    assert portal.run(answer()) == 42


def test_its_futures_are_those_of_the_standard_library(loop, portal):
    futures = [portal.submit(answer(number)) for number in range(3)]
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == {0, 1, 2}

    async def main():
        return await asyncio.wrap_future(portal.submit(answer()))

    assert loop.run_until_complete(main()) == 42


# ---- its end


def test_closing_cancels_what_runs_and_waits_for_its_clean_up():
    endless = Endless()
    closed = []

    async def generator():
        try:
            yield 1
        finally:
            closed.append("generator")

    async def use():
        await anext(kept)
        await asyncio.to_thread(lambda: None)

    kept = generator()
    with everloop.LoopThread() as portal:
        portal.run(use())
        loop = portal.loop
        future = portal.submit(endless())
        endless.started.wait()
    assert endless.cleaned_up
    assert future.cancelled()
    assert closed == ["generator"]
    assert loop.is_closed()
    portal.close()


def test_used_after_its_end_it_names_the_way_out():
    portal = everloop.LoopThread()
    portal.close()
    for use in (portal.submit, portal.run):
        with pytest.raises(RuntimeError, match="make another LoopThread"):
            use(answer())
    with pytest.raises(RuntimeError, match="make another LoopThread"):
        portal.start()


def test_a_coroutine_of_its_own_cannot_close_it(portal):
    async def close():
        with pytest.raises(everloop.DeadlockError, match="another thread"):
            portal.close()
        return "told"

    assert portal.run(close()) == "told"


@pytest.mark.parametrize("call", [everloop.to_thread, asyncio.to_thread])
def test_a_function_that_its_loop_waits_for_cannot_close_it_either(portal, call):
    async def close():
        with pytest.raises(everloop.DeadlockError, match="close_nowait"):
            await call(portal.close)
        return "told"

    assert portal.run(close()) == "told"


def test_a_step_of_another_loop_closes_it_while_others_go_on(loop):
    ticked = threading.Event()

    async def last_words():
        try:
            await asyncio.Event().wait()
        finally:
            while not ticked.is_set():
                await asyncio.sleep(0)

    async def main():
        portal = everloop.LoopThread()
        future = portal.submit(last_words())
        loop.call_soon(ticked.set)
        portal.close()
        return future.cancelled()

    assert loop.run_until_complete(main())


def test_many_threads_submit_while_it_ends():
    """Each submission is refused, or its future is done: none is left hanging."""
    portal = everloop.LoopThread()
    portal.start()
    outcomes = []

    def use():
        try:
            while True:
                outcomes.append(portal.submit(asyncio.sleep(0.001)))
        except RuntimeError:
            pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) > 20)
    portal.close()
    for thread in threads:
        thread.join()
    assert [future for future in outcomes if not future.done()] == []


def test_who_stops_the_loop_itself_ends_the_waits(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    portal = everloop.LoopThread().start()
    endless = Endless()
    future = portal.submit(endless())
    endless.started.wait()
    portal.loop.call_soon_threadsafe(portal.loop.stop)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    portal.close()


def test_left_open_the_interpreter_ends_quietly():
    ran = run_script("""
        import asyncio, everloop

        async def endless():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                print("cleaned up", flush=True)

        portal = everloop.LoopThread()
        print(portal.run(asyncio.sleep(0, "ran")))
        portal.submit(endless())
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ran\ncleaned up\n", "")


def test_left_open_and_stuck_the_interpreter_ends_all_the_same():
    ran = run_script("""
        import time, everloop
        from everloop.bridge.loops import loop_thread

        loop_thread.EXIT_PATIENCE = 0.05
        portal = everloop.LoopThread()
        portal.loop.slow_callback_duration = 3600
        portal.loop.call_soon_threadsafe(time.sleep, 3600)
        print("over")
    """)
    assert (ran.returncode, ran.stdout) == (0, "over\n"), ran.stderr


# ---- fork


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_a_thread_of_its_own(portal):
    future = portal.submit(Endless()())

    def child():
        with pytest.raises(RuntimeError, match="belongs to the parent process"):
            future.result()
        seen = portal.run(answer())
        portal.close()
        return seen, os.getpid() != parent

    parent = os.getpid()
    assert in_child(child) == repr((42, True))
    assert portal.run(answer()) == 42


def test_a_forked_child_ends_quietly_and_so_does_its_parent():
    ran = run_script("""
        import asyncio, os, sys, warnings, everloop
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        faulthandler.cancel_dump_traceback_later()  # its thread would be missed in the child

        portal = everloop.LoopThread()
        portal.run(asyncio.sleep(0))
        if os.fork() == 0:
            print("child", portal.run(asyncio.sleep(0, 1)), flush=True)
        else:
            os.wait()
            print("parent", portal.run(asyncio.sleep(0, 2)), flush=True)
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "child 1\nparent 2\n", "")
