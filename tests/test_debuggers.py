"""Debuggers: where one is at a thread, its steps block the loop as on asyncio, and nothing is said into its session."""

import asyncio
import contextlib
import io
import pdb
import sys
import threading
import time

import pytest

from support import hand_offs, run_script, wait_until

monitoring = sys.monitoring
DEBUGGER = monitoring.DEBUGGER_ID
A_WHILE = 0.1  # seconds, twenty times what the loops of these tests let a step block


class Typist:
    """The standard input of a debugger: a command comes after a while."""

    def readline(self):
        time.sleep(A_WHILE)
        return "continue\n"


def stop_in_pdb(**options):
    debugger = pdb.Pdb(stdin=Typist(), stdout=io.StringIO(), nosigint=True, readrc=False, **options)
    debugger.set_trace()
    return "gone on"


def stop_in_pdb_by_events():
    return stop_in_pdb(backend="monitoring")


def stop_in_a_trace_function():
    before = sys.gettrace()

    def trace(frame, event, argument):
        time.sleep(A_WHILE)
        sys.settrace(before)

    sys.settrace(trace)
    sys._getframe().f_trace = trace
    return "gone on"


def stop_with_the_tool_of_debuggers():
    with tool_of_debuggers():
        time.sleep(A_WHILE)


def stop_with_events_of_one_function():
    def stop():
        monitoring.set_local_events(DEBUGGER, stop.__code__, monitoring.events.LINE)
        time.sleep(A_WHILE)
        monitoring.set_local_events(DEBUGGER, stop.__code__, monitoring.events.NO_EVENTS)

    with tool_of_debuggers(monitoring.events.NO_EVENTS):
        stop()


@contextlib.contextmanager
def tool_of_debuggers(events=monitoring.events.PY_UNWIND):
    monitoring.use_tool_id(DEBUGGER, "a debugger")
    try:
        monitoring.set_events(DEBUGGER, events)
        yield
    finally:
        monitoring.set_events(DEBUGGER, monitoring.events.NO_EVENTS)
        monitoring.free_tool_id(DEBUGGER)


@contextlib.contextmanager
def trace_function(trace=lambda frame, event, argument: None):
    """This one looks into no frame, as pdb does where it has no breakpoint."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


STOPS = [
    stop_in_pdb,
    stop_in_a_trace_function,
    stop_with_the_tool_of_debuggers,
    stop_with_events_of_one_function,
]
if sys.version_info >= (3, 14):
    STOPS.append(stop_in_pdb_by_events)
DEBUGGERS = [trace_function, tool_of_debuggers]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__)
def test_a_step_at_a_prompt_is_left_alone_and_once_the_debugger_has_gone_steps_are_rescued_again(
    rescuing_loop, reports, stop
):
    rescuing_loop.slow_callback_duration = A_WHILE / 5
    order, flag = [], []

    async def debugged():
        stop()
        order.append("at the prompt")

    async def other():
        order.append("behind it")

    async def sleep():
        while not flag:  # for ever, on a loop that freezes
            time.sleep(A_WHILE)

    async def main():
        await asyncio.gather(debugged(), other())
        assert hand_offs(rescuing_loop) == 0
        task = asyncio.create_task(sleep())
        await asyncio.sleep(0)
        flag.append("set meanwhile")
        await task

    rescuing_loop.run_until_complete(main())
    assert order == ["at the prompt", "behind it"]
    assert rescuing_loop.statistics()["rescues"] == 1
    wait_until(lambda: reports("ended"), "the report")
    assert {report["function"] for report in reports()} == {"sleep"}


@pytest.mark.parametrize("debugger", DEBUGGERS, ids=lambda debugger: debugger.__name__)
def test_a_step_is_not_rescued_while_a_debugger_is_there(rescuing_loop, debugger):
    async def main():
        time.sleep(A_WHILE)

    with debugger():
        rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop) == 0
    rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop) == 1


@pytest.mark.parametrize("debugger", DEBUGGERS, ids=lambda debugger: debugger.__name__)
def test_a_learned_site_hands_nothing_off_while_a_debugger_is_there(rescuing_loop, debugger):
    async def main():
        time.sleep(A_WHILE)

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["learned_sites"] == 1
    before = hand_offs(rescuing_loop)
    with debugger():
        rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop) == before
    rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop) == before + 1


def test_a_trace_function_sees_all_lines_of_a_task_while_another_one_blocks(rescuing_loop):
    lines = []

    def trace(frame, event, argument):
        if frame.f_code.co_name != "traced":
            return None
        if event == "line":
            lines.append(frame.f_lineno - frame.f_code.co_firstlineno)
        return trace

    async def traced(ready):
        await ready.wait()
        number = 1
        return number

    async def blocks(ready):
        ready.set()
        time.sleep(A_WHILE)

    async def main():
        ready = asyncio.Event()
        await asyncio.gather(traced(ready), blocks(ready))

    with trace_function(trace):
        rescuing_loop.run_until_complete(main())
    assert lines == [1, 2, 3]


class Commands:
    """The standard input of a debugger: a first command after a while, and then the same again and again."""

    def __init__(self, command):
        self.command = command
        self.wait = A_WHILE

    def readline(self):
        time.sleep(self.wait)
        self.wait = 0
        return f"{self.command}\n"


BACKENDS = [{}] if sys.version_info < (3, 14) else [{"backend": "settrace"}, {"backend": "monitoring"}]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: "".join(backend.values()) or "pdb")
def test_a_task_that_is_stopped_on_a_relief_thread_is_kept_over_its_awaits(rescuing_loop, gate, backend):
    """The loop goes home at the first of them."""
    output = io.StringIO()

    async def block():
        gate.wait()

    async def debugged():
        thread = threading.current_thread()
        debugger = pdb.Pdb(stdin=Commands("next"), stdout=output, nosigint=True, readrc=False, **backend)
        debugger.set_trace()
        gate.open()
        await blocked
        before = "in the next line"
        await asyncio.sleep(0)
        assert threading.current_thread() is thread
        debugger.set_continue()
        return before

    async def main():
        nonlocal blocked
        blocked = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        await debugged()

    blocked = None
    rescuing_loop.run_until_complete(main())
    assert '-> before = "in the next line"' in output.getvalue()
    assert "-> debugger.set_continue()" in output.getvalue()


class CTracer:
    """The trace function of coverage, which is set for all threads."""

    def __call__(self, frame, event, argument):
        return self


CTracer.__module__, CTracer.__qualname__ = "coverage", "CTracer"


def coverage():
    return trace_function(CTracer())


def a_debugger_that_waits_for_somebody():
    """As `debugpy.listen()` leaves it."""
    return tool_of_debuggers(monitoring.events.NO_EVENTS)


@pytest.mark.parametrize("tool", [coverage, a_debugger_that_waits_for_somebody], ids=lambda tool: tool.__name__)
def test_what_stops_nobody_keeps_no_step_from_being_rescued(rescuing_loop, tool):
    flag = []

    async def sleep():
        while not flag:  # for ever, on a loop that freezes
            time.sleep(A_WHILE)

    async def main():
        task = asyncio.create_task(sleep())
        await asyncio.sleep(0)
        flag.append("set meanwhile")
        await task

    with tool():
        rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] == 1


def test_who_only_stands_around_the_start_of_threads_has_not_replaced_them():
    """debugpy does so, and may be there before everloop is."""
    process = run_script(
        """
        import _thread
        start = _thread.start_new_thread
        _thread.start_new_thread = lambda *args: start(*args)
        import everloop
        from everloop import real_threads

        async def main():
            return await everloop.to_thread(real_threads.is_replaced), everloop.running_loop().rescue

        print(everloop.run(main(), rescue=True))
        """
    )
    assert (process.stdout, process.stderr) == ("(False, True)\n", "")
