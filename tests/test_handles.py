"""Handle and TimerHandle: what call_soon and call_later give back."""

import asyncio
import contextvars
import functools
import gc
import operator
import sys
import threading
import time
import weakref

import pytest

import everloop


def callback(*arguments):
    pass


def test_handles_are_asyncio_s(loop):
    assert isinstance(loop.call_soon(callback), asyncio.Handle)
    timer = loop.call_later(60, callback)
    assert isinstance(timer, asyncio.TimerHandle)
    assert isinstance(timer, asyncio.Handle)
    assert isinstance(loop.call_soon_threadsafe(callback), asyncio.Handle)
    assert not isinstance(loop.call_soon(callback), asyncio.TimerHandle)


def test_cancelled_tells(loop):
    for handle in (loop.call_soon(callback), loop.call_later(60, callback)):
        assert handle.cancelled() is False
        handle.cancel()
        handle.cancel()
        assert handle.cancelled() is True


def test_cancelling_after_the_run_is_harmless(loop):
    handle = loop.call_soon(callback)
    timer = loop.call_later(0, callback)
    loop.run_until_complete(asyncio.sleep(0.001))
    handle.cancel()
    timer.cancel()
    assert handle.cancelled()
    assert timer.cancelled()


def test_when_is_the_time_of_the_timer(loop):
    assert loop.call_at(1234.5, callback).when() == 1234.5
    before = loop.time()
    timer = loop.call_later(60, callback)
    assert before + 60 <= timer.when() <= loop.time() + 60


def test_a_handle_shows_its_callback(loop):
    """Its arguments only in debug mode, as they may be secret, and as asyncio does from 3.13 on."""
    handle = loop.call_soon(callback, 1, "two")
    assert repr(handle).startswith("<Handle callback(")
    assert "test_handles.py" in repr(handle)
    loop.set_debug(True)
    assert repr(handle).startswith("<Handle callback(1, 'two') at ")
    handle.cancel()
    assert repr(handle).startswith("<Handle cancelled")


def test_a_timer_shows_its_time(loop):
    timer = loop.call_at(1234.5, callback)
    assert repr(timer).startswith("<TimerHandle when=1234.5 callback() at ")
    timer.cancel()
    assert repr(timer) == "<TimerHandle cancelled when=1234.5>"


def test_debug_mode_shows_where_a_handle_was_created(loop):
    loop.set_debug(True)
    assert "created at " in repr(loop.call_soon(callback))
    assert "test_handles.py" in repr(loop.call_later(60, functools.partial(callback, 1))).split("created at ")[1]


def test_handles_are_weakly_referenceable_and_go(loop):
    handle, timer = loop.call_soon(callback), loop.call_later(0, callback)
    references = weakref.ref(handle), weakref.ref(timer)
    assert references[0]() is handle
    assert references[1]() is timer
    del handle, timer
    loop.run_until_complete(asyncio.sleep(0.001))
    assert [reference() for reference in references] == [None, None]


def test_a_cancelled_handle_lets_its_arguments_go(loop):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    handles = loop.call_soon(callback, argument), loop.call_later(60, callback, argument)
    del argument
    for handle in handles:
        handle.cancel()
    assert reference() is None


def test_the_collector_finds_a_cycle_through_a_handle(loop):
    class Owner:
        pass

    owner = Owner()
    owner.handle = loop.call_soon(callback, owner)
    owner.timer = loop.call_later(0, callback, owner)
    reference = weakref.ref(owner)
    loop.run_until_complete(asyncio.sleep(0.001))
    del owner
    gc.collect()
    assert reference() is None


def test_the_collector_finds_a_cycle_through_the_ready_queue():
    """A loop that is never run again, held only by what waits in its own queue."""
    loop = everloop.EventLoop()

    class Owner:
        pass

    owner = Owner()
    owner.loop = loop
    loop.call_soon(callback, owner)
    reference = weakref.ref(owner)
    loop.close()
    del owner, loop
    gc.collect()
    assert reference() is None


def test_timers_compare_by_time(loop):
    early, late = loop.call_at(1, callback), loop.call_at(2, callback)
    assert early < late
    assert late > early
    assert early <= early
    assert early == early
    assert early != late
    assert isinstance(hash(early), int)
    with pytest.raises(TypeError):
        operator.lt(early, 1)


def test_a_handle_tells_its_context(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context
    assert loop.call_later(1, callback, context=context).get_context() is context
    assert isinstance(loop.call_soon(callback).get_context(), contextvars.Context)


def test_a_name_made_while_the_program_runs_is_a_name_like_any_other(loop):
    context = contextvars.copy_context()
    for _ in range(3):
        name = "".join(["con", "text"])  # not the object that is in the code
        assert loop.call_soon(callback, **{name: context}).get_context() is context
        with pytest.raises(TypeError, match="unexpected keyword argument 'contexts'"):
            loop.call_soon(callback, **{name + "s": context})


def test_an_odd_callback_is_called_like_any_other(loop):
    seen = []

    class Callable:
        def __call__(self, *arguments):
            seen.append(arguments)

    loop.call_soon(Callable(), 1)
    loop.call_soon(functools.partial(seen.append, 2))
    loop.call_soon(seen.extend, [3, 4])
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [(1,), 2, 3, 4]


# ---- from CPython 3.14 on a thread that cancels a handle of call_soon_threadsafe waits while that runs

thread_safe = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio's handles are not safe of threads there")


@thread_safe
def test_handles_of_call_soon_threadsafe_are_asyncio_s(loop):
    handle = loop.call_soon_threadsafe(callback)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)
    assert repr(handle).startswith("<_ThreadSafeHandle callback(")
    assert not isinstance(loop.call_soon(callback), asyncio.events._ThreadSafeHandle)


@thread_safe
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_another_thread_waits_for_the_callback(loop, method):
    begun, seen = threading.Event(), []

    def run():
        begun.set()
        time.sleep(0.05)  # long enough for the other thread to ask
        seen.append("has run")

    def ask():
        begun.wait()
        seen.append(getattr(handle, method)())
        loop.call_soon_threadsafe(loop.stop)

    handle = loop.call_soon_threadsafe(run)
    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == ["has run", {"cancel": None, "cancelled": False}[method]]


@thread_safe
def test_another_thread_cancels_what_does_not_run_yet(loop):
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, "has run")
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join()
    assert handle.cancelled()
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == []


@thread_safe
def test_a_callback_cancels_itself(loop):
    def run():
        handle.cancel()
        seen.append(handle.cancelled())
        loop.stop()

    seen = []
    handle = loop.call_soon_threadsafe(run)
    loop.run_forever()
    assert seen == [True]


@thread_safe
def test_a_step_does_not_wait_for_one_that_is_aside(loop):
    """Which comes back only when the step has ended."""
    asked, seen = threading.Event(), []

    def run():
        with everloop.blocking():
            asked.wait()
        loop.stop()

    def ask():
        seen.append(handle.cancelled())
        asked.set()

    handle = loop.call_soon_threadsafe(run)
    loop.call_soon_threadsafe(ask)
    loop.run_forever()
    assert seen == [False]


def dead_and_alive(loop, make):
    """A handle is made and goes; the next one of its kind."""
    make(loop).cancel()
    loop.run_until_complete(asyncio.sleep(0))
    return make(loop)


KINDS = {
    "call_soon": lambda loop: loop.call_soon(callback),
    "call_later": lambda loop: loop.call_later(60, callback),
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@kinds
def test_a_handle_that_uses_the_memory_of_a_dead_one_has_nothing_of_it(loop, make):
    async def main():
        first = make(loop)
        gone = []
        reference = weakref.ref(first, gone.append)
        first.cancel()
        del first
        await asyncio.sleep(0)
        assert gone == [reference]
        second = make(loop)
        assert not second.cancelled()
        assert reference() is None
        assert weakref.getweakrefs(second) == []

    loop.run_until_complete(main())


@kinds
def test_the_collector_knows_a_handle_that_uses_the_memory_of_a_dead_one(loop, make):
    handle = dead_and_alive(loop, make)
    assert gc.is_tracked(handle)

    class Node:
        pass

    node = Node()
    node.handle = loop.call_soon(lambda node: None, node)
    loop.run_until_complete(asyncio.sleep(0))
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_what_a_dead_handle_drops_may_make_handles(loop):
    class MakesHandles:
        def __del__(self):
            made.extend(loop.call_soon(callback, number) for number in range(3))

    made = []
    loop.call_soon(callback, MakesHandles())
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert len(made) == 3
    assert len({id(handle) for handle in made}) == 3


def test_more_handles_die_than_are_kept(loop):
    ran = []
    for _ in range(2):
        for number in range(40_000):
            loop.call_soon(ran.append, number)
        loop.run_until_complete(asyncio.sleep(0))
    assert ran == [*range(40_000)] * 2


def test_a_running_loop_forgets_a_timer_that_is_cancelled_before_another_is_made(loop):
    async def main():
        kept = loop.call_later(60, callback)
        gone = weakref.ref(loop.call_later(120, callback))
        assert loop._queued()[1] == [kept, gone()]
        gone().cancel()
        assert gone() is None
        assert loop._queued()[1] == [kept]

    loop.run_until_complete(main())
