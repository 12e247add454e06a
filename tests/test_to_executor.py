"""to_executor: a coroutine has an executor call a function, and gets the outcome."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import os
import threading
import weakref

import pytest

import everloop
from support import gates, run_script, wait_until

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture
def executor():
    """A pool of one thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        yield executor


class Inline:
    """An executor that calls the function at once, and makes futures which are not concurrent.futures' own."""

    def submit(self, function, *args, **kwargs):
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return DuckFuture(future)


class DuckFuture:
    """The least that to_executor asks of a future."""

    def __init__(self, future):
        self._future = future
        self.cancel_called = threading.Event()

    def add_done_callback(self, callback):
        self._future.add_done_callback(lambda _: callback(self))

    def result(self):
        return self._future.result()

    def cancel(self):
        self.cancel_called.set()


class Held:
    """An executor whose future the test ends itself."""

    def __init__(self, future):
        self.future = future

    def submit(self, function, *args, **kwargs):
        return self.future


# ---- results and exceptions


def test_a_thread_of_the_pool_calls_the_function(run, executor):
    async def main():
        return await everloop.to_executor(executor, lambda *a, **k: (threading.get_ident(), a, k), 1, two=2)

    thread, args, kwargs = run(main())
    assert thread != threading.get_ident()
    assert (args, kwargs) == ((1,), {"two": 2})


def test_arguments_may_have_the_names_of_its_own_parameters(run, executor):
    async def main():
        return await everloop.to_executor(executor, dict, executor=1, f=2, fn=3, self=4)

    assert run(main()) == {"executor": 1, "f": 2, "fn": 3, "self": 4}


def test_the_loop_goes_on_meanwhile(run, executor):
    async def main():
        with gates(1) as [gate]:
            asyncio.get_running_loop().call_soon(gate.open)
            return await everloop.to_executor(executor, gate.wait)

    assert run(main()) == b"o"


def test_the_exception_is_the_same_object_with_the_frames_of_the_thread(run, executor):
    error = KeyError("the very same object")

    def fail():
        raise error

    async def main():
        await everloop.to_executor(executor, fail)

    with pytest.raises(KeyError) as caught:
        run(main())
    assert caught.value is error
    assert "fail" in [entry.name for entry in caught.traceback]


def test_an_exception_is_freed_without_the_garbage_collector(loop, executor):
    """Without rescue: a step that was rescued leaves frames behind for the collector, and they hold what they saw."""

    class Failure(Exception):
        pass

    def fail():
        raise Failure

    async def main():
        try:
            await everloop.to_executor(executor, fail)
        except Failure as error:
            return weakref.ref(error)

    gc.disable()
    try:
        error = loop.run_until_complete(main())
        # the thread of the pool lets go of its last call when it looks for the next one
        executor.submit(int).result()
        wait_until(lambda: error() is None, "the end of the exception")
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [StopIteration("stop"), concurrent.futures.CancelledError("mine"), TimeoutError()])
def test_exceptions_with_a_meaning_of_their_own_come_through(run, executor, error):
    def fail():
        raise error

    async def main():
        try:
            await asyncio.wait_for(everloop.to_executor(executor, fail), 20)
        except RuntimeError as wrapper:  # a coroutine cannot raise StopIteration
            return wrapper.__cause__
        except Exception as caught:
            return caught

    assert run(main()) is error


def test_a_generator_function_returns_its_generator(run, executor):
    def generate():
        yield 1

    async def main():
        return await everloop.to_executor(executor, generate)

    assert list(run(main())) == [1]


def test_a_hundred_at_once(run):
    async def main():
        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            return await asyncio.gather(*(everloop.to_executor(executor, int, number) for number in range(100)))

    assert run(main()) == list(range(100))


# ---- context variables


def test_context_variables_go_along_and_come_back(run, executor):
    def change():
        before = VARIABLE.get()
        VARIABLE.set("from the thread")
        return before

    async def main():
        VARIABLE.set("from the task")
        return await everloop.to_executor(executor, change), VARIABLE.get()

    assert run(main()) == ("from the task", "from the thread")


def test_they_come_back_with_an_exception_too(run, executor):
    def fail():
        VARIABLE.set("from the thread")
        raise KeyError

    async def main():
        with pytest.raises(KeyError):
            await everloop.to_executor(executor, fail)
        return VARIABLE.get()

    assert run(main()) == "from the thread"


def test_those_that_the_function_left_alone_are_left_alone(run, executor):
    other = contextvars.ContextVar("other")

    async def main():
        with gates(1) as [gate]:
            context = contextvars.copy_context()
            task = asyncio.create_task(everloop.to_executor(executor, gate.wait), context=context)
            await asyncio.sleep(0)
            context.run(other.set, "changed meanwhile")
            gate.open()
            await task
            return context[other]

    assert run(main()) == "changed meanwhile"


def test_a_loop_that_the_function_made_does_not_become_the_callers(loop, executor):
    def run_another():
        with contextlib.closing(everloop.new_event_loop()):
            pass

    async def main():
        await everloop.to_executor(executor, run_another)
        return await asyncio.to_thread(everloop.block_on, running_loop())

    async def running_loop():
        return asyncio.get_running_loop()

    try:
        assert loop.run_until_complete(main()) is loop
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())


def test_a_function_in_the_pool_can_wait_for_a_coroutine_of_the_loop(loop, executor):
    async def running_loop():
        return asyncio.get_running_loop()

    async def main():
        return await everloop.to_executor(executor, lambda: everloop.block_on(running_loop()))

    assert loop.run_until_complete(main()) is loop


# ---- cancellation


def test_queued_work_that_is_cancelled_never_starts(run, executor):
    started = []

    async def main():
        with gates(1) as [gate]:
            first = asyncio.create_task(everloop.to_executor(executor, gate.wait))
            queued = asyncio.create_task(everloop.to_executor(executor, started.append, "queued"))
            await asyncio.sleep(0)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            gate.open()
            await first
            await everloop.to_executor(executor, started.append, "next")

    run(main())
    assert started == ["next"]


def test_cancelling_does_not_wait_for_work_that_has_begun(run, executor):
    finished = threading.Event()

    def work(started, gate):
        started.open()
        gate.wait()
        VARIABLE.set("too late")
        finished.set()

    async def main():
        with gates(2) as [started, gate]:
            task = asyncio.create_task(everloop.to_executor(executor, work, started, gate))
            await asyncio.sleep(0)
            started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not finished.is_set()
            gate.open()
            executor.submit(int).result()
            return VARIABLE.get()

    assert run(main()) == "unset"
    assert finished.is_set()


def test_a_future_that_is_cancelled_in_the_executor_cancels_the_await(run):
    async def main():
        with gates(1) as [gate], concurrent.futures.ThreadPoolExecutor(1) as executor:
            first = asyncio.create_task(everloop.to_executor(executor, gate.wait))
            queued = asyncio.create_task(everloop.to_executor(executor, int))
            await asyncio.sleep(0)
            executor.shutdown(wait=False, cancel_futures=True)
            with pytest.raises(asyncio.CancelledError, match="the executor has cancelled the call"):
                await queued
            gate.open()
            await first
            assert asyncio.current_task().cancelling() == 0

    run(main())


def test_a_foreign_future_is_cancelled_on_a_thread_because_that_may_block(run):
    held = DuckFuture(concurrent.futures.Future())
    threads = []
    with gates(1) as [gate]:

        def cancel():
            threads.append(threading.current_thread())
            gate.wait()

        held.cancel = cancel

        async def main():
            task = asyncio.create_task(everloop.to_executor(Held(held), int))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.open()

        run(main())
        wait_until(lambda: threads, "the call of cancel()")
        threads[0].join()


def test_a_foreign_future_that_cannot_be_cancelled_harms_nobody(run):
    held = DuckFuture(concurrent.futures.Future())
    asked = threading.Event()

    def cancel():
        asked.set()
        raise ConnectionError("the server is gone")

    held.cancel = cancel

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(everloop.to_executor(Held(held), int), 0.001)

    run(main())
    assert asked.wait(10)


def test_what_ends_after_the_loop_is_closed_is_dropped(run, executor, capfd):
    with gates(1) as [gate]:

        async def main():
            task = asyncio.create_task(everloop.to_executor(executor, gate.wait))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        run(main())
        gate.open()
        executor.shutdown()
    assert capfd.readouterr().err == ""


# ---- executors of others


def test_futures_need_not_be_those_of_concurrent_futures(run):
    def fail():
        raise KeyError("key")

    async def main():
        with pytest.raises(KeyError, match="key"):
            await everloop.to_executor(Inline(), fail)
        return await everloop.to_executor(Inline(), int, "42", base=8)

    assert run(main()) == 34


def test_the_result_is_fetched_on_the_executors_thread(run):
    """A cluster's future has to ask a server for it."""
    fetched_by = []
    source = concurrent.futures.Future()
    held = DuckFuture(source)
    held.result = lambda: fetched_by.append(threading.get_ident())

    async def main():
        task = asyncio.create_task(everloop.to_executor(Held(held), int))
        await asyncio.sleep(0)
        thread = threading.Thread(target=source.set_result, args=(None,))
        thread.start()
        await task
        thread.join()
        return thread.ident

    assert run(main()) == fetched_by[0]


def test_to_a_subclass_that_is_no_thread_pool_it_is_submitted_bare(run):
    class Recorder(concurrent.futures.Executor):
        def submit(self, function, /, *args, **kwargs):
            self.submitted = function, args, kwargs
            future = concurrent.futures.Future()
            future.set_result(None)
            return future

    async def main():
        recorder = Recorder()
        await everloop.to_executor(recorder, int, "7", base=8)
        return recorder.submitted

    assert run(main()) == (int, ("7",), {"base": 8})


PROCESSES = """
    import asyncio, concurrent.futures, multiprocessing, os, threading
    import everloop

    async def main(pool):
        assert await everloop.to_executor(pool, os.getpid) != os.getpid()

        # what does not pickle fails its own call only
        good = asyncio.create_task(everloop.to_executor(pool, divmod, 7, 3))
        for bad in (lambda: 1, threading.Lock().acquire):
            try:
                await everloop.to_executor(pool, bad)
            except Exception as error:
                print("does not pickle:", error)
        assert await good == (2, 1)

        try:
            await everloop.to_executor(pool, int, "x")
        except ValueError as error:
            print("ValueError", "RemoteTraceback" in repr(type(error.__cause__)))

        # a pool that broke says so itself
        for _ in range(2):
            try:
                await everloop.to_executor(pool, os._exit, 1)
            except concurrent.futures.BrokenExecutor as error:
                print(type(error).__name__)

    if __name__ == "__main__":
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            everloop.run(main(pool))
"""


def test_a_process_pool():
    """In a script of its own: multiprocessing's helper process stays until the end."""
    done = run_script(PROCESSES)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "<lambda>" in lines[0]
    assert "_thread.lock" in lines[1]
    assert lines[2:] == ["ValueError True", "BrokenProcessPool", "BrokenProcessPool"]


# ---- bad input


@pytest.mark.parametrize("thing", [None, 3, int.bit_length, os])
def test_what_is_no_executor_is_named(run, thing):
    async def main():
        await everloop.to_executor(thing, int)

    with pytest.raises(TypeError, match=f"needs an executor.* not {type(thing).__name__}.*make one"):
        run(main())


def test_the_class_of_an_executor_is_no_executor(run):
    async def main():
        await everloop.to_executor(concurrent.futures.ThreadPoolExecutor, int)

    with pytest.raises(TypeError, match="not the class ThreadPoolExecutor: make one"):
        run(main())


@pytest.mark.parametrize("submit", [lambda *_: None, lambda *_: "future"])
def test_a_submit_that_returns_no_future_is_named(run, submit):
    odd = Inline()
    odd.submit = submit

    async def main():
        await everloop.to_executor(odd, int)

    with pytest.raises(TypeError, match=r"submit\(\) returns a future .* returned (NoneType|str)"):
        run(main())


def test_an_asynchronous_submit_is_named_and_does_not_warn(run):
    class Asynchronous:
        async def submit(self, function):
            pass

    async def main():
        await everloop.to_executor(Asynchronous(), int)

    with pytest.raises(TypeError, match="returned coroutine"):
        run(main())


def test_what_is_no_function_is_named(run, executor):
    async def main():
        await everloop.to_executor(executor, 42)

    with pytest.raises(TypeError, match="needs a function and, after it, its arguments, not int: 42"):
        run(main())


def test_a_coroutine_is_no_function_and_does_not_warn(run, executor):
    async def main():
        await everloop.to_executor(executor, asyncio.sleep(0))

    with pytest.raises(TypeError, match="needs a function"):
        run(main())


def test_coroutine_functions_are_refused(run, executor):
    class Callable:
        async def __call__(self):
            pass

    async def main():
        for f in (asyncio.sleep, functools.partial(asyncio.sleep, 0), Callable()):
            with pytest.raises(TypeError, match=r"would only return a coroutine.*await it here"):
                await everloop.to_executor(executor, f)

    run(main())


def test_an_executor_that_is_shut_down_refuses_by_name(run):
    executor = concurrent.futures.ThreadPoolExecutor()
    executor.shutdown()

    async def main():
        await everloop.to_executor(executor, os.getpid)

    with pytest.raises(RuntimeError, match=r"to_executor\(\) cannot submit getpid to .*after shutdown") as caught:
        run(main())
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_broken_pool_raises_its_own_error(run):
    def break_it():
        raise ValueError("on purpose")

    async def main():
        with concurrent.futures.ThreadPoolExecutor(1, initializer=break_it) as executor:
            for _ in range(2):
                with pytest.raises(concurrent.futures.BrokenExecutor):
                    await everloop.to_executor(executor, int)

    run(main())


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_pool_that_was_left_behind_by_a_fork_says_so(kind):
    """Its threads are the parent's: what it takes in the child would wait for ever."""
    done = run_script(
        """
        import concurrent.futures, multiprocessing, os, sys, warnings
        import everloop

        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: that is what is tested
        multiprocessing.set_start_method("spawn")
        executor = getattr(concurrent.futures, sys.argv[1])(1)
        everloop.run(everloop.to_executor(executor, int))
        child = os.fork()
        if not child:
            try:
                everloop.run(everloop.to_executor(executor, int))
            except RuntimeError as error:
                print(error, flush=True)
            with concurrent.futures.ThreadPoolExecutor(1) as another:
                print(everloop.run(everloop.to_executor(another, int, "3")), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        executor.shutdown()
        """,
        kind,
    )
    assert done.returncode == 0, done.stderr
    said, another = done.stdout.splitlines()
    assert "cannot run int" in said
    assert "before this process was forked" in said
    assert another == "3"
