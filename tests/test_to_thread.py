"""`to_thread`: results, context variables, limits, cancellation, and the threads behind it."""

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import logging
import subprocess
import sys
import textwrap
import threading

import pytest

import everloop
from support import gates, wait_until

variable = contextvars.ContextVar("variable", default="outside")
other = contextvars.ContextVar("other")


def numbers(loop):
    threads, idle, running, lent, queued = loop._pool._numbers()
    return {"threads": threads, "idle": idle, "running": running, "lent": lent, "queued": queued}


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


# ---- what comes back


def test_the_result_and_the_very_exception():
    error = ValueError("why")

    def fail(*args, **kwargs):
        assert (args, kwargs) == ((1,), {"two": 2})
        raise error

    async def main():
        assert await everloop.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ValueError, match="why") as caught:
            await everloop.to_thread(fail, 1, two=2)
        assert caught.value is error
        assert [entry.name for entry in caught.traceback][-1] == "fail"

    everloop.run(main())


def test_a_stop_iteration_arrives():
    async def main():
        with pytest.raises((RuntimeError, TypeError), match="StopIteration"):
            await everloop.to_thread(next, iter(()))

    everloop.run(main())


def test_errors_of_other_futures_arrive_as_asyncio_s():
    def fail():
        raise concurrent.futures.CancelledError("why")

    async def main():
        for call in (asyncio.to_thread, everloop.to_thread):
            with pytest.raises(asyncio.CancelledError, match="why"):
                await call(fail)
        with pytest.raises(concurrent.futures.CancelledError):
            asyncio.get_running_loop()._pool.submit(fail).result()

    everloop.run(main())


def test_context_variables_go_both_ways():
    async def main():
        variable.set("task")

        def work():
            assert variable.get() == "task"
            variable.set("thread")
            other.set("new")

        await everloop.to_thread(work)
        assert variable.get() == "thread"
        assert other.get() == "new"

        def fail():
            variable.set("failed")
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            await everloop.to_thread(fail)
        assert variable.get() == "failed"

    everloop.run(main())


def test_a_thread_leaves_the_context_of_a_call_when_that_ends():
    async def main():
        async def seen_by_the_next_call():
            return await asyncio.get_running_loop().run_in_executor(None, variable.get, "nothing")

        await everloop.to_thread(variable.set, "returned")
        assert await seen_by_the_next_call() == "nothing"

        def fail():
            variable.set("raised")
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            await everloop.to_thread(fail)
        assert await seen_by_the_next_call() == "nothing"

    everloop.run(main())


def test_a_loop_that_the_function_made_for_itself_stays_there():
    """The thread of a later call waits for the loop that its caller runs on."""

    async def nothing():
        pass

    async def this_loop():
        return asyncio.get_running_loop()

    async def main():
        await everloop.to_thread(lambda: everloop.run(nothing()))
        loop = await everloop.to_thread(lambda: everloop.block_on(this_loop()))
        assert loop is asyncio.get_running_loop()

    everloop.run(main())


def test_what_a_thread_does_not_set_is_left_alone():
    async def main():
        with gates(1) as [gate]:
            variable.set("before")
            context = contextvars.copy_context()

            async def call():
                await everloop.to_thread(gate.wait)
                return variable.get()

            task = asyncio.create_task(call(), context=context)
            await turns()
            context.run(variable.set, "meanwhile")
            gate.open()
            assert await task == "meanwhile"

    everloop.run(main())


# ---- bad input


class AsyncCallable:
    async def __call__(self):
        pass

    async def method(self):
        pass

    @inspect.markcoroutinefunction
    def marked(self):
        return asyncio.sleep(0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (7, r"everloop.to_thread\(\) needs a function and, after it, its arguments, not int: 7"),
        (asyncio.sleep, r"sleep\(\) would only return a coroutine: await it here"),
        (functools.partial(asyncio.sleep, 1), "would only return a coroutine: await it here"),
        (AsyncCallable(), "would only return a coroutine: await it here"),
        (AsyncCallable().method, "would only return a coroutine: await it here"),
        (AsyncCallable().marked, "would only return a coroutine: await it here"),
        (functools.partial(AsyncCallable()), "would only return a coroutine: await it here"),
        (inspect.markcoroutinefunction(lambda: asyncio.sleep(0)), "would only return a coroutine: await it here"),
    ],
)
def test_what_is_no_function_is_refused(function, message):
    async def main():
        with pytest.raises(TypeError, match=message):
            await everloop.to_thread(function)

    everloop.run(main())


def test_a_coroutine_is_no_function_and_does_not_warn():
    async def main():
        with pytest.raises(TypeError, match="needs a function and, after it, its arguments, not coroutine"):
            await everloop.to_thread(asyncio.sleep(0))

    everloop.run(main())


def test_it_needs_an_everloop():
    async def main():
        with pytest.raises(RuntimeError, match="needs an everloop, but the event loop here is"):
            await everloop.to_thread(int)

    asyncio.run(main())
    coroutine = everloop.to_thread(int)
    with pytest.raises(RuntimeError, match="no event loop is running here"):
        coroutine.send(None)


def test_a_pool_that_was_shut_down_takes_nothing():
    async def main():
        await everloop.to_thread(int)
        await asyncio.get_running_loop().shutdown_default_executor()
        with pytest.raises(RuntimeError, match=r"to_thread\(\) cannot call int: .*shutdown.*everloop\.to_executor"):
            await everloop.to_thread(int)

    everloop.run(main())


# ---- threads


def test_threads_are_as_many_as_asyncio_s_and_are_used_again():
    async def main():
        loop = asyncio.get_running_loop()
        slots = loop._pool.slots
        opened = threading.Event()
        calls = [asyncio.create_task(everloop.to_thread(opened.wait, 20)) for _ in range(slots + 3)]
        await until(lambda: numbers(loop)["running"] == slots)
        await turns()
        assert numbers(loop) == {"threads": slots, "idle": 0, "running": slots, "lent": 0, "queued": 3}
        opened.set()
        await asyncio.gather(*calls)
        await until(lambda: numbers(loop)["idle"] == slots)
        for _ in range(50):
            await everloop.to_thread(int)
        assert numbers(loop)["threads"] == slots

    everloop.run(main())


def test_calls_one_after_the_other_take_one_thread():
    async def main():
        names = {await everloop.to_thread(lambda: threading.current_thread().name) for _ in range(100)}
        assert names == {"asyncio_0"}

    everloop.run(main())


def test_asyncio_s_own_functions_use_the_same_threads():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(10):
            await asyncio.to_thread(int)
            await loop.run_in_executor(None, int)
            await everloop.to_thread(int)
            assert loop._pool.submit(pow, 2, 3).result() == 8
        assert numbers(loop)["threads"] == 1
        assert loop._default_executor is loop._pool

    everloop.run(main())


def test_submitted_futures_can_be_cancelled_before_they_begin():
    async def main():
        loop = asyncio.get_running_loop()
        pool, opened, begun = loop._pool, threading.Event(), []
        blocked = [pool.submit(opened.wait, 20) for _ in range(pool.slots)]
        future = pool.submit(begun.append, 1)
        assert future.cancel()
        opened.set()
        for each in blocked:
            each.result()
        await loop.shutdown_default_executor()
        assert begun == []

    everloop.run(main())


def test_a_program_s_own_default_executor_is_left_alone():
    async def main():
        asyncio.get_running_loop().set_default_executor(
            concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
        )
        mine = await asyncio.to_thread(lambda: threading.current_thread().name)
        ours = await everloop.to_thread(lambda: threading.current_thread().name)
        return mine, ours

    assert everloop.run(main()) == ("mine_0", "asyncio_0")
    wait_until(lambda: threading.active_count() == 1, "the end of the threads")


def test_a_burst_wakes_the_loop_and_loses_nothing():
    async def main():
        for _ in range(20):
            assert await asyncio.gather(*(everloop.to_thread(int, str(n)) for n in range(500))) == list(range(500))

    everloop.run(main())


def test_calls_from_many_loops_at_once():
    def run():
        async def main():
            for _ in range(20):
                assert await asyncio.gather(*(everloop.to_thread(abs, -n) for n in range(50))) == list(range(50))

        everloop.run(main())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- cancellation


@pytest.mark.parametrize("limited", [False, True])
def test_a_queued_call_that_is_cancelled_never_begins(limited):
    async def main():
        loop = asyncio.get_running_loop()
        limiter = everloop.Limiter(1) if limited else None
        begun, opened = [], threading.Event()
        count = 1 if limited else loop._pool.slots
        running = [asyncio.create_task(everloop.to_thread(opened.wait, 20, limiter=limiter)) for _ in range(count)]
        await turns()
        queued = [asyncio.create_task(everloop.to_thread(begun.append, n, limiter=limiter)) for n in range(3)]
        await turns()
        queued[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued[0]
        opened.set()
        await asyncio.gather(*running, *queued[1:])
        assert sorted(begun) == [1, 2]

    everloop.run(main())


def test_a_call_whose_turn_comes_between_its_cancel_and_its_task_never_begins():
    """A thread takes it, sees that nobody wants it, and leaves it to its task to take it back."""

    async def main():
        pool = asyncio.get_running_loop()._pool
        begun, opened = [], threading.Event()
        busy = [asyncio.create_task(everloop.to_thread(opened.wait, 20)) for _ in range(pool.slots)]
        await turns()
        call = asyncio.create_task(everloop.to_thread(begun.append, 1))
        await turns()
        call.cancel()
        opened.set()
        wait_until(lambda: pool._numbers()[4] == 0, "a thread to take it")  # in this very step
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.gather(*busy)
        assert begun == []

    everloop.run(main())


@pytest.mark.parametrize("limited", [False, True])
def test_a_running_call_is_waited_for_when_its_task_is_cancelled(limited):
    async def main():
        limiter = everloop.Limiter(1) if limited else None
        loop = asyncio.get_running_loop()
        with gates(1) as [gate]:
            entered, ended = threading.Event(), threading.Event()

            def work():
                entered.set()
                gate.wait()
                ended.set()

            async def call():
                async with asyncio.timeout(None) as scope:
                    scopes.append(scope)
                    await everloop.to_thread(work, limiter=limiter)

            scopes = []
            task = asyncio.create_task(call())
            await until(entered.is_set)
            scopes[0].reschedule(loop.time())
            await turns()
            task.cancel()
            task.cancel()
            await turns()
            assert not task.done()
            if limiter is not None:
                assert len(limiter.holders) == 1
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended.is_set()

    everloop.run(main())


def test_a_function_can_ask_whether_it_was_cancelled():
    async def main():
        entered = threading.Event()

        def work():
            everloop.check_cancelled()
            entered.set()
            while True:
                everloop.check_cancelled()

        task = asyncio.create_task(everloop.to_thread(work))
        await until(entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    everloop.run(main())
    everloop.check_cancelled()  # of no effect elsewhere


def test_the_loop_does_not_wait_for_an_abandoned_call():
    with gates(1) as [gate]:

        async def main():
            entered = threading.Event()

            def work():
                entered.set()
                gate.wait()

            task = asyncio.create_task(everloop.to_thread(work, abandon_on_cancel=True))
            await until(entered.is_set)
            task.cancel()

        everloop.run(main())
    wait_until(lambda: threading.active_count() == 1, "the end of the thread")


def run_script(script):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_program_ends_and_names_a_thread_that_it_leaves_behind():
    process = run_script(
        """
        import asyncio, threading, everloop

        def for_ever():
            entered.set()
            threading.Event().wait()

        async def main():
            task = asyncio.create_task(everloop.to_thread(for_ever, abandon_on_cancel=True))
            while not entered.is_set():
                await asyncio.sleep(0)
            task.cancel()

        entered = threading.Event()
        everloop.run(main())
        """
    )
    assert process.returncode == 0, process.stderr
    assert "does not wait for thread asyncio_0, which has been in for_ever (<string>:4)" in process.stderr


def test_the_program_waits_for_calls_that_nobody_has_abandoned():
    process = run_script(
        """
        import asyncio, time, everloop

        def late():
            time.sleep(0.2)
            print("done")

        loop = everloop.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_in_executor(None, late)
        loop.close()
        """
    )
    assert (process.returncode, process.stdout) == (0, "done\n"), process.stderr


def test_a_closed_loop_is_told_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    with gates(1) as [gate]:
        loop = everloop.new_event_loop()
        entered = threading.Event()

        def work():
            entered.set()
            gate.wait()

        future = loop.run_in_executor(None, work)
        assert entered.wait(10)
        pool = loop._pool
        loop.close()
        gate.open()
        pool.shutdown()
    assert not future.done()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


# ---- waiting in the bridge


def test_sixty_four_calls_that_each_wait_for_another_call():
    """Each holds its thread while it waits for a coroutine that needs one."""

    async def main():
        def outer(number):
            return everloop.block_on(everloop.to_thread(abs, -number))

        assert await asyncio.gather(*(everloop.to_thread(outer, n) for n in range(64))) == list(range(64))

    everloop.run(main())


def test_sixty_four_calls_that_each_ask_the_loop_as_asyncio_has_it():
    async def main():
        loop = asyncio.get_running_loop()

        def outer(number):
            return asyncio.run_coroutine_threadsafe(asyncio.to_thread(abs, -number), loop).result()

        assert await asyncio.gather(*(asyncio.to_thread(outer, n) for n in range(64))) == list(range(64))

    everloop.run(main())


def test_sixty_four_calls_that_each_submit_another_to_the_same_threads():
    async def main():
        pool = asyncio.get_running_loop()._pool

        def outer(number):
            return pool.submit(abs, -number).result()

        assert await asyncio.gather(*(asyncio.to_thread(outer, n) for n in range(64))) == list(range(64))

        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(pool.submit(divmod, 1, 0).result)

    everloop.run(main())


def test_a_job_that_waits_for_the_task_that_waits_for_it():
    async def main():
        this = asyncio.current_task()

        async def ask():
            return await this

        def work():
            return everloop.block_on(ask())

        with pytest.raises(everloop.DeadlockError, match="in work"):
            await everloop.to_thread(work)

    everloop.run(main())


def test_a_forked_child_has_working_threads():
    process = run_script(
        """
        import asyncio, os, everloop

        async def main():
            await everloop.to_thread(int)
            pid = os.fork()
            if not pid:
                os._exit(0 if child() else 1)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def child():
            asyncio._set_running_loop(None)
            return everloop.run(everloop.to_thread(abs, -7)) == 7

        raise SystemExit(everloop.run(main()))
        """
    )
    assert process.returncode == 0, process.stderr
