"""Executors: the default one and its end, others, and what they do while steps are aside."""

import asyncio
import concurrent.futures
import contextvars
import sys
import threading

import pytest

import everloop
from support import gates

# ---- the default executor


def test_it_is_made_when_it_is_first_needed_and_is_shared(run):
    async def main():
        loop = asyncio.get_running_loop()
        assert loop._default_executor is None
        names = await asyncio.gather(
            *(loop.run_in_executor(None, lambda: threading.current_thread().name) for _ in range(20))
        )
        assert all(name.startswith("asyncio_") for name in names)

    run(main())


def test_another_can_be_set(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            loop.set_default_executor(object())
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine"))
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        assert name == "mine_0"

    run(main())


def test_nothing_is_accepted_after_its_shutdown(run):
    async def main():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()

    run(main())


def test_shutdown_waits_for_what_runs(run):
    async def main():
        loop = asyncio.get_running_loop()
        with gates(1) as [gate]:
            running = loop.run_in_executor(None, gate.wait)
            shutting_down = asyncio.create_task(loop.shutdown_default_executor())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not shutting_down.done()
            gate.open()
            await shutting_down
            assert running.done()
            assert await running == b"o"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12.1's asyncio waits for the threads all the same")
def test_a_shutdown_that_takes_too_long_is_given_up_with_a_warning(run):
    async def main():
        loop = asyncio.get_running_loop()
        with gates(1) as [gate]:
            running = loop.run_in_executor(None, gate.wait)
            with pytest.warns(RuntimeWarning) as warned:
                await loop.shutdown_default_executor(timeout=0.01)
            assert not running.done()
            gate.open()
            await running
        return [str(each.message) for each in warned]

    assert run(main()) == ["The executor did not finishing joining its threads within 0.01 seconds."]


def test_shutdown_of_an_executor_that_was_never_needed(run):
    async def main():
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor(timeout=1)
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await asyncio.to_thread(int)

    run(main())


def test_closing_the_loop_ends_its_threads_without_waiting(loop):
    with gates(1) as [gate]:
        loop.run_in_executor(None, gate.wait)
        executor = loop._default_executor
        loop.close()
        gate.open()
        executor.shutdown(wait=True)


# ---- what it is handed


def test_debug_mode_refuses_coroutines(run):
    async def coroutine():
        pass

    async def main():
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            asyncio.get_running_loop().run_in_executor(None, coroutine)

    run(main(), debug=True)


def test_cancelling_leaves_the_thread_to_its_work(run):
    async def main():
        loop = asyncio.get_running_loop()
        done = threading.Event()
        with gates(1) as [gate]:
            future = loop.run_in_executor(None, lambda: (gate.wait(), done.set()))
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert not done.is_set()
            gate.open()
            await loop.shutdown_default_executor()
            assert done.is_set()

    run(main())


def test_what_was_not_begun_is_cancelled(run):
    async def main():
        loop = asyncio.get_running_loop()
        began = []
        with concurrent.futures.ThreadPoolExecutor(1) as executor, gates(1) as [gate]:
            first = loop.run_in_executor(executor, gate.wait)
            second = loop.run_in_executor(executor, began.append, "second")
            second.cancel()
            await asyncio.sleep(0)
            gate.open()
            await first
        assert began == []

    run(main())


def test_to_thread_passes_arguments_and_the_context(run):
    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set("here")

        def work(*args, **keywords):
            variable.set("changed there")
            return args, keywords

        assert await asyncio.to_thread(work, 1, two=2) == ((1,), {"two": 2})
        assert variable.get() == "here"

    run(main())


def test_threads_call_back_into_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()

        async def answer(number):
            await asyncio.sleep(0)
            return number * 2

        def ask(number):
            return asyncio.run_coroutine_threadsafe(answer(number), loop).result()

        assert await asyncio.gather(*(asyncio.to_thread(ask, n) for n in range(50))) == [n * 2 for n in range(50)]

    run(main())


def test_a_loop_is_told_by_a_thread_that_ends_after_its_close(caplog):
    """The result is lost, as with asyncio, and nothing but a log says so."""
    with gates(1) as [gate]:
        loop = everloop.EventLoop()
        executor = concurrent.futures.ThreadPoolExecutor(1)
        loop.run_in_executor(executor, gate.wait)
        loop.close()
        gate.open()
        executor.shutdown(wait=True)


def test_blocking_in_a_step_for_the_result_of_a_thread_is_rescued(rescuing_loop):
    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as executor, gates(1) as [gate]:

            async def block():
                return executor.submit(gate.wait).result()

            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            gate.open()
            assert await blocked == b"o"

    rescuing_loop.run_until_complete(main())
