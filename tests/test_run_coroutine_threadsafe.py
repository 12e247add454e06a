"""What `asyncio.run_coroutine_threadsafe` gives on an everloop: asyncio's future, whose waits end."""

import asyncio
import concurrent.futures
import contextlib
import threading

import pytest

import everloop
from everloop.bridge.loops import loop_future
from support import run_script


@pytest.fixture
def portal():
    with everloop.LoopThread() as portal:
        yield portal


async def answer():
    await asyncio.sleep(0)
    return 42


def test_run_coroutine_threadsafe_on_the_loop_s_own_thread_returns(loop):
    """asyncio hangs here, silently and for ever."""

    async def main():
        return asyncio.run_coroutine_threadsafe(answer(), loop).result()

    assert loop.run_until_complete(main()) == 42
    assert loop.statistics()["rescues"] == 0


def test_it_keeps_asyncio_s_time_outs(loop):
    """The coroutine goes on; it is cancelled when somebody says so."""

    async def main():
        future = asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), loop)
        for wait in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                wait(0.002)
        assert not future.done()
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()

    loop.run_until_complete(main())


def test_it_keeps_asyncio_s_ways_on_other_threads(loop):
    async def main():
        def on_thread():
            future = asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), loop)
            with pytest.raises(TimeoutError):
                future.result(0.002)
            future.cancel()
            return asyncio.run_coroutine_threadsafe(answer(), loop).result(20)

        value = await asyncio.to_thread(on_thread)
        await loop.shutdown_default_executor()
        return value

    assert loop.run_until_complete(main()) == 42


def test_cancelling_a_task_that_waits_so_cancels_the_coroutine(loop):
    async def main():
        async def waiting():
            futures.append(asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), loop))
            futures[0].result()

        futures = []
        task = asyncio.create_task(waiting())
        while not futures:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return futures[0].cancelled()

    assert loop.run_until_complete(main())


def test_run_coroutine_threadsafe_that_waits_for_its_caller_is_a_deadlock(loop):
    async def main():
        me = asyncio.current_task()

        async def wait_for(task):
            await task

        with pytest.raises(everloop.DeadlockError, match="wait_for"):
            asyncio.run_coroutine_threadsafe(wait_for(me), loop).result()
        return "told"

    assert loop.run_until_complete(main()) == "told"


def test_a_loop_that_is_closed_under_a_wait_ends_it():
    """asyncio waits for ever."""
    portal = everloop.LoopThread()
    stopped = threading.Event()

    async def never():
        stopped.set()
        await asyncio.Event().wait()

    future = asyncio.run_coroutine_threadsafe(never(), portal.loop)
    stopped.wait()
    portal.close()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


async def never():
    await asyncio.Event().wait()


async def fail(error):
    raise error


def test_results_and_errors_as_asyncio_s(portal):
    def submit(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, portal.loop)

    assert submit(answer()).result() == 42
    error = LookupError("mine")
    assert submit(fail(error)).exception() is error
    assert isinstance(submit(fail(concurrent.futures.CancelledError())).exception(), asyncio.CancelledError)
    with pytest.raises(TypeError, match="A coroutine object is required"):
        submit(None)


def test_who_waits_goes_on_before_the_done_callbacks_have_run(portal):
    """As in the standard library: a callback may wait for whoever waits for the future."""
    has_result, let_begin = threading.Event(), asyncio.Event()

    async def begin():
        await let_begin.wait()

    future = asyncio.run_coroutine_threadsafe(begin(), portal.loop)
    future.add_done_callback(lambda _: has_result.wait())
    portal.loop.call_soon_threadsafe(let_begin.set)
    future.result()
    has_result.set()


def test_who_begins_to_wait_just_as_it_ends_does_not_wait(portal, monkeypatch):
    class EndsMeanwhile(list):
        def append(self, waiter):
            concurrent.futures.Future.set_result(future, 42)
            super().append(waiter)

    future = asyncio.run_coroutine_threadsafe(never(), portal.loop)
    monkeypatch.setattr(future, "_waiters", EndsMeanwhile())
    monkeypatch.setattr(loop_future, "pauses", lambda _: pytest.fail("it waits for what has been"))
    assert future.result() == 42


def test_one_thread_s_cancel_ends_the_wait_of_others_at_once(portal):
    """Whatever the coroutine does about it."""
    begun, may_end = threading.Event(), asyncio.Event()

    async def stubborn():
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    future = asyncio.run_coroutine_threadsafe(stubborn(), portal.loop)
    waiters = [concurrent.futures.ThreadPoolExecutor(1) for _ in range(3)]
    waits = [waiter.submit(future.exception) for waiter in waiters]
    begun.wait()
    assert future.cancel()
    assert future.cancel()
    for waiter, wait in zip(waiters, waits, strict=True):
        with pytest.raises(concurrent.futures.CancelledError):
            wait.result()
        waiter.shutdown()
    portal.loop.call_soon_threadsafe(may_end.set)


def test_it_is_one_of_those_that_concurrent_futures_waits_for(portal):
    futures = [asyncio.run_coroutine_threadsafe(coroutine, portal.loop) for coroutine in (answer(), never(), answer())]
    done, not_done = concurrent.futures.wait([futures[0], futures[2]])
    assert len(done) == 2
    assert not not_done
    futures[1].cancel()
    assert set(concurrent.futures.as_completed(futures)) == set(futures)


def test_a_short_time_out_leaves_no_waiter_behind(portal):
    future = asyncio.run_coroutine_threadsafe(never(), portal.loop)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            future.result(0)
        with pytest.raises(TimeoutError):
            future.result(0.002)
    assert future._waiters == []
    future.cancel()


def test_a_coroutine_that_was_cancelled_before_it_began_never_does(loop):
    begun = []

    async def note():
        begun.append(True)

    async def main():
        future = asyncio.run_coroutine_threadsafe(note(), loop)
        assert future.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        return future.cancelled()

    assert loop.run_until_complete(main())
    assert begun == []


def test_a_step_that_cancels_it_need_not_wait_for_the_coroutine_to_be_asked(loop):
    """As asyncio from CPython 3.14 on: the loop may stop with this step."""
    tasks = []

    async def main():
        loop.set_task_factory(lambda loop, coroutine: tasks.append(asyncio.Task(coroutine, loop=loop)) or tasks[-1])
        future = asyncio.run_coroutine_threadsafe(never(), loop)
        await asyncio.sleep(0)
        future.cancel()

    loop.run_until_complete(main())
    assert tasks[0].cancelled()


def test_a_future_of_the_process_before_a_fork_is_an_error_in_the_child():
    """Its loop's thread is not there. asyncio waits for ever."""
    process = run_script(
        """
        import asyncio, os, everloop

        async def never():
            await asyncio.Event().wait()

        portal = everloop.LoopThread()
        future = asyncio.run_coroutine_threadsafe(never(), portal.loop)
        child = os.fork()
        if not child:
            try:
                future.result()
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        future.cancel()
        portal.close()
        """
    )
    assert "belongs to the parent process" in process.stdout


def test_a_pool_thread_that_waits_so_lends_its_slot(loop):
    """Sixty-four calls that each wait for another one on the same threads. asyncio hangs."""

    async def main():
        async def inner(number):
            return await asyncio.to_thread(abs, -number)

        def outer(number):
            return asyncio.run_coroutine_threadsafe(inner(number), loop).result()

        results = await asyncio.gather(*(asyncio.to_thread(outer, number) for number in range(64)))
        await loop.shutdown_default_executor()
        return results

    assert loop.run_until_complete(main()) == list(range(64))
