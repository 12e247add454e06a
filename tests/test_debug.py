"""Debug mode tells what asyncio's tells, and errors go where asyncio sends them."""

import asyncio
import contextvars
import logging
import sys
import threading
import time

import pytest

import everloop
from support import gates

variable = contextvars.ContextVar("variable", default="outside")


def names(traceback):
    return [frame.name for frame in traceback]


# ---- where things were made


def test_tasks_futures_and_handles_know_where_they_were_made(run):
    async def main():
        loop = asyncio.get_running_loop()

        def make():
            return [
                loop.create_task(asyncio.sleep(0)),
                loop.create_future(),
                loop.call_soon(int),
                loop.call_later(1, int),
                loop.call_at(loop.time() + 1, int),
                loop.call_soon_threadsafe(int),
            ]

        made = make()
        for each in made[:2]:
            assert "make" in names(each._source_traceback)[-3:]  # it goes on with methods of the loop
        for each in made[2:]:
            assert names(each._source_traceback)[-1] == "make"
        await made[0]
        for timer in made[3:5]:
            timer.cancel()
            assert "created at" in repr(timer)
        made[1].cancel()

    run(main(), debug=True)


def test_without_debug_mode_nothing_is_noted(run):
    async def main():
        loop = asyncio.get_running_loop()
        handle = loop.call_soon(int)
        assert handle._source_traceback is None
        assert loop.create_future()._source_traceback is None

    run(main(), debug=False)


def test_a_reader_knows_where_it_was_made(loop, gate):
    loop.set_debug(True)
    handle = loop._add_reader(gate.reader, int)
    assert "test_a_reader_knows_where_it_was_made" in names(handle._source_traceback)[-3:]
    loop.remove_reader(gate.reader)


def test_an_error_tells_where_its_callback_was_made(run):
    async def main():
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        loop.set_exception_handler(lambda _, context: told.set_result(context))

        def make():
            return loop.call_soon(lambda: 1 / 0)

        handle = make()
        context = await told
        assert sorted(context) == ["exception", "handle", "message", "source_traceback"]
        assert context["handle"] is handle
        assert names(context["source_traceback"])[-1] == "make"

    run(main(), debug=True)


def test_a_coroutine_that_is_never_awaited_tells_where_it_was_made(run):
    async def forgotten():
        pass

    async def main():
        with pytest.warns(RuntimeWarning, match=r"(?s)never awaited.*Coroutine created at.*in main"):
            forgotten()

    run(main(), debug=True)
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_a_lost_error_is_told_with_its_origin(run):
    async def fail():
        raise ValueError("lost")

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        task = loop.create_task(fail())
        while not task.done():
            await asyncio.sleep(0)
        del task
        [context] = told
        assert context["message"] == "Task exception was never retrieved"
        assert str(context["exception"]) == "lost"
        assert names(context["source_traceback"])[-1] == "main"

    run(main(), debug=True)


# ---- what is slow


@pytest.mark.parametrize("kind", ["callback", "task"])
def test_what_took_long_is_logged(run, caplog, kind):
    async def slow_task():
        time.sleep(0.02)

    def slow_callback():
        time.sleep(0.02)

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        if hasattr(loop, "rescue"):
            loop.rescue = False
        if kind == "task":
            await loop.create_task(slow_task())
        else:
            loop.call_soon(slow_callback)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        loop.slow_callback_duration = 10

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main(), debug=True)
    told = [record.getMessage() for record in caplog.records if f"slow_{kind}" in record.getMessage()]
    assert [text for text in told if text.startswith("Executing <") and "took 0.0" in text]


# ---- what is refused


def test_calls_from_a_wrong_thread_are_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        refused = []

        def call(method, *args):
            try:
                getattr(loop, method)(*args)
            except RuntimeError as error:
                refused.append((method, str(error)))

        def call_all():
            for method, *args in [("call_soon", int), ("call_later", 1, int), ("call_at", 1, int)]:
                call(method, *args)
            call("call_soon_threadsafe", int)

        thread = threading.Thread(target=call_all)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
        message = "Non-thread-safe operation invoked on an event loop other than the current one"
        assert refused == [(method, message) for method in ("call_soon", "call_later", "call_at")]

    run(main(), debug=True)


def test_coroutines_are_no_callbacks(run):
    async def coroutine():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        for call in (lambda: loop.call_soon(coroutine), lambda: loop.call_later(0, coroutine)):
            with pytest.raises(TypeError, match="coroutines cannot be used with call_"):
                call()
        with pytest.raises(TypeError, match="a callable object was expected by call_soon"):
            loop.call_soon(1)

    run(main(), debug=True)


# ---- the exception handler


def test_it_runs_in_the_context_of_the_callback_that_raised(run):
    """From CPython 3.12 on: what libraries keep in context variables (spans, request ids) is there to be logged."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.set_exception_handler(lambda _, context: seen.append((variable.get(), context["exception"].args)))

        variable.set("of the callback")
        loop.call_soon(lambda: divmod(1, 0))
        context = contextvars.Context()
        context.run(variable.set, "given")
        loop.call_soon(lambda: divmod(1, 0), context=context)
        variable.set("later")
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert [value for value, _ in seen] == ["of the callback", "given"]

    run(main())


def test_it_runs_in_the_context_of_the_task_whose_error_was_lost(run):
    async def fail():
        variable.set("of the task")
        raise ValueError

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.set_exception_handler(lambda _, context: seen.append((variable.get(), sorted(context))))
        task = loop.create_task(fail())
        while not task.done():
            await asyncio.sleep(0)
        del task
        return seen

    [(value, keys)] = run(main())
    assert value == "of the task"
    assert keys == ["exception", "future", "message"]


def test_it_runs_in_the_context_of_a_reader(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = loop.create_future()
        loop.set_exception_handler(lambda _, context: seen.set_result(variable.get()))
        with gates(1) as [gate]:

            def fail():
                loop.remove_reader(gate.reader)
                raise ValueError

            variable.set("of the reader")
            loop.add_reader(gate.reader, fail)
            variable.set("later")
            gate.open()
            assert await seen == "of the reader"

    run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_its_own_error_is_logged_with_both_contexts(run, caplog, debug):
    async def main():
        loop = asyncio.get_running_loop()

        def handler(_, context):
            raise ValueError("of the handler")

        loop.set_exception_handler(handler)
        loop.call_exception_handler({"message": "told"})

    run(main(), debug=debug)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "Unhandled error in exception handler" in record.getMessage()
    assert str(record.exc_info[1]) == "of the handler"
    assert "'message': 'told'" in record.getMessage()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_it_may_end_the_run(run, error):
    async def main():
        loop = asyncio.get_running_loop()

        def handler(_, context):
            raise error

        loop.set_exception_handler(handler)
        loop.call_soon(lambda: 1 / 0)
        await asyncio.Event().wait()

    if run.name == "aside":
        pytest.skip("its helper waits for the end of main: test_ends_while_aside.py has this on relief threads")
    with pytest.raises(error):
        run(main())


def test_the_default_handler_logs_every_key(run, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        assert loop.get_exception_handler() is None
        with pytest.raises(TypeError, match="A callable object or None is expected"):
            loop.set_exception_handler(1)
        loop.call_exception_handler({"message": "told", "number": 7, "exception": ValueError("why")})

    run(main())
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "told\nnumber: 7"
    assert isinstance(record.exc_info[1], ValueError)


# ---- the clock


def test_time_is_the_monotonic_clock(run):
    async def main():
        loop = asyncio.get_running_loop()
        before = time.monotonic()
        now = loop.time()
        assert before - 1e-6 <= now <= time.monotonic() + 1e-6
        assert loop._clock_resolution == time.get_clock_info("monotonic").resolution

    run(main())


def test_timers_are_never_early(run):
    async def main():
        loop = asyncio.get_running_loop()
        for delay in (0, 0.0001, 0.0015, 0.003):
            due, ran = loop.time() + delay, loop.create_future()
            loop.call_at(due, lambda ran=ran: ran.set_result(loop.time()))
            assert await ran >= due - loop._clock_resolution

    run(main())


def test_debug_mode_is_switched_while_the_loop_runs(run):
    async def main():
        loop = asyncio.get_running_loop()
        assert not loop.get_debug()
        loop.set_debug(True)
        for _ in range(3):
            await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        assert loop.call_soon(int)._source_traceback
        loop.set_debug(False)
        for _ in range(3):
            await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() == 0
        assert loop.call_soon(int)._source_traceback is None

    run(main(), debug=False)


def test_everloop_of_debug_mode_rescues_too():
    async def main():
        with gates(1) as [gate]:

            async def block():
                gate.wait()

            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            task = asyncio.create_task(asyncio.sleep(0))
            assert "main" in names(task._source_traceback)[-3:]
            await task
            gate.open()
            await blocked

    everloop.run(main(), debug=True, rescue=True)
