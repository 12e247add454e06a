"""Reports are written by a thread of their own, which holds nobody up; and the watchdog asks the program nothing."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
import typing

import pytest

from everloop import watch
from support import gates, run_script, spin, wait_aside, wait_until

logger = logging.getLogger("everloop")


@pytest.fixture
def handle():
    """Adds handlers to the logger `everloop`: functions of a record."""
    watch.install()  # a new report writer, which has told of no line yet
    handlers = []

    def add(emit, to=logger):
        handler = logging.Handler()
        handler.emit = emit
        to.addHandler(handler)
        handlers.append((to, handler))
        return handler

    yield add
    for to, handler in handlers:
        to.removeHandler(handler)


@pytest.fixture
def stuck(handle):
    """A handler that is inside its first record until the event is set; `begun` tells that it is there."""

    class Stuck(threading.Event):
        begun = threading.Event()

    stuck = Stuck()
    stuck.begun = threading.Event()

    def emit(record):
        stuck.begun.set()
        stuck.wait()

    handle(emit)
    yield stuck
    stuck.set()


def read(gate):
    """Blocks until the gate is opened."""
    return os.read(gate.reader, 1)


def read_too(gate):
    """Blocks at another line."""
    return os.read(gate.reader, 1)


# ---- who is not held up


def test_a_stuck_handler_costs_no_rescue(rescuing_loop, stuck):
    rescuing_loop.slow_callback_duration = 0.01

    async def block(call, gate):
        return call(gate)

    async def main():
        first = asyncio.create_task(block(read, one))
        while not stuck.begun.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(block(read_too, two))
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop, 2)
        one.open()
        two.open()
        await asyncio.gather(first, second)
        stuck.set()

    with gates(2) as [one, two]:
        rescuing_loop.run_until_complete(main())


def test_a_handler_s_lock_that_a_blocked_step_holds_costs_no_rescue(rescuing_loop, handle):
    """The report of the step that is blocked in the handler waits for it; the next step that logs is put aside."""
    rescuing_loop.slow_callback_duration = 0.01
    with gates(1) as [gate]:
        program = logging.getLogger("of the program")
        reports = []

        def emit(record):
            if record.name == program.name:
                if record.getMessage() == "blocks":
                    read(gate)
            else:
                reports.append(record.everloop["state"])

        handler = handle(emit, to=program)
        logger.addHandler(handler)

        async def log(text):
            program.warning(text)

        async def main():
            first = asyncio.create_task(log("blocks"))
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop, 1)
            await asyncio.sleep(0.02)  # for its report to be due
            second = asyncio.create_task(log("waits for the lock"))
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop, 2)
            gate.open()
            await asyncio.gather(first, second)

        try:
            rescuing_loop.run_until_complete(main())
            wait_until(lambda: "ended" in reports, "the report")
        finally:
            logger.removeHandler(handler)


def test_a_stuck_handler_does_not_keep_a_loop_from_closing(rescuing_loop, stuck):
    rescuing_loop.slow_callback_duration = 0.01
    rescuing_loop.call_soon(spin, 0.1)
    rescuing_loop.call_soon(rescuing_loop.stop)
    rescuing_loop.run_forever()
    stuck.begun.wait()
    rescuing_loop.close()
    assert not stuck.is_set()


def test_a_program_ends_though_a_handler_is_stuck():
    ran = run_script("""
        import asyncio, everloop, logging, threading, time

        class Stuck(logging.Handler):
            def emit(self, record):
                threading.Event().wait()

        logging.getLogger("everloop").addHandler(Stuck())

        async def main():
            time.sleep(0.3)
            return "done"

        print(everloop.run(main()))
    """)
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr


# ---- what is written


@pytest.mark.parametrize("end", ["close", "exit"])
def test_a_program_that_ends_after_a_block_tells_of_it(end):
    """Also through a handler that takes its time."""
    ran = run_script(
        """
        import asyncio, everloop, logging, sys, time

        class Slow(logging.StreamHandler):
            def emit(self, record):
                time.sleep(0.1)
                super().emit(record)

        logging.getLogger("everloop").addHandler(Slow(sys.stdout))
        loop = everloop.EventLoop()
        loop.call_soon(time.sleep, 0.3)
        loop.call_soon(loop.stop)
        loop.run_forever()
        if sys.argv[1] == "close":
            loop.close()
            print("closed")
        else:
            loop._close_core()  # no warning that it was not closed
        """,
        end,
    )
    assert ran.returncode == 0, ran.stderr
    told = [line.split(" for ")[0] for line in ran.stdout.splitlines() if not line.startswith(" ")]
    assert told == [
        "warning[blocked]: the event loop has been blocked",
        "warning[blocked]: the event loop was blocked",
        *(["closed"] if end == "close" else []),
    ]


def test_an_error_of_a_filter_is_told_and_the_next_report_is_written(loop, handle, monkeypatch):
    loop.slow_callback_duration = 0.02
    errors, states = [], []
    monkeypatch.setattr(threading, "excepthook", lambda hook: errors.append((hook.exc_type, hook.thread.name)))
    handler = handle(lambda record: states.append(record.everloop["state"]))
    handler.addFilter(lambda record: record.everloop["state"] == "ended" or 1 / 0)
    loop.call_soon(time.sleep, 0.1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    wait_until(lambda: states, "the second report")
    assert errors == [(ZeroDivisionError, "everloop-report")]
    assert states == ["ended"]


@pytest.mark.patience(60)
def test_reports_that_a_stuck_handler_leaves_no_room_for_are_counted(loop, stuck, caplog):
    loop.slow_callback_duration = 0.001
    code = compile("time.sleep(0.003)", "/nowhere/at_all.py", "exec")

    async def main():
        spin(0.1)
        while not stuck.begun.is_set():
            await asyncio.sleep(0.001)
        for _ in range(1500):  # two notes each as a rule, and there is room for a thousand
            exec(code, {"time": time})
            await asyncio.sleep(0)
        stuck.set()

    loop.run_until_complete(main())
    wait_until(lambda: "reports were left out" in caplog.text, "that word")


def test_where_no_thread_can_be_had_whoever_closes_the_loop_writes(handle, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", refuse)
    writers = []
    handle(lambda record: writers.append(threading.current_thread()))
    loop = watched_loop()
    loop.call_soon(time.sleep, 0.1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert writers == [threading.main_thread()] * 2


def refuse(thread):
    raise RuntimeError("can't start new thread")


def watched_loop():
    import everloop

    loop = everloop.EventLoop(rescue=False)
    loop.slow_callback_duration = 0.02
    return loop


def test_where_no_relief_thread_can_be_had_that_is_told_and_the_loop_waits(rescuing_loop, gate, monkeypatch, caplog):
    start = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda thread: (refuse if "relief" in thread.name else start)(thread)
    )

    def open_once_told():
        wait_until(lambda: "no thread could be started" in caplog.text, "the word")
        gate.open()

    opener = threading.Thread(target=open_once_told)
    opener.start()
    rescuing_loop.call_soon(read, gate)
    rescuing_loop.run_until_complete(asyncio.sleep(0.001))
    opener.join()
    assert "can't start new thread" in caplog.text
    assert rescuing_loop.statistics()["aside"] == 0


# ---- on which threads


@pytest.mark.parametrize("rescue", [False, True])
def test_no_python_code_runs_on_a_thread_that_threading_does_not_know(rescue):
    """A profiler asks on which thread it was called: threading makes up one then, which stays for ever."""
    script = """
        import sys, threading, time
        import everloop

        unknown, monitoring = set(), sys.monitoring
        events = monitoring.events

        def note(code, *_):
            frame = sys._getframe(1)
            while frame is not None and frame.f_code.co_name not in ("_bootstrap", "<module>"):
                frame = frame.f_back
            if frame is None:
                unknown.add(code.co_qualname)

        tool = monitoring.PROFILER_ID
        monitoring.use_tool_id(tool, "a profiler")
        monitoring.register_callback(tool, events.PY_START, note)
        monitoring.set_events(tool, events.PY_START)
        loop = everloop.EventLoop(rescue=sys.argv[1] == "True", rescue_after=0.005)
        loop.slow_callback_duration = 0.02
        loop.call_soon(time.sleep, 0.1)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        print(loop.statistics()["rescues"], sorted(unknown))
        print([thread for thread in threading.enumerate() if "Dummy" in type(thread).__name__])
        monitoring.set_events(tool, 0)
    """
    ran = run_script(script, str(rescue))
    assert (ran.returncode, ran.stdout) == (0, f"{int(rescue)} []\n[]\n"), ran.stderr


class Prying(type):
    """Classes, and their instances, that note on which threads they are asked for anything."""

    asked: typing.ClassVar = set()

    def __getattribute__(cls, name):
        Prying.asked.add(threading.current_thread())
        return super().__getattribute__(name)

    def __subclasscheck__(cls, subclass):
        Prying.asked.add(threading.current_thread())
        return False


class Callback(metaclass=Prying):
    def __init__(self, block):
        self.block = block

    def __getattribute__(self, name):
        Prying.asked.add(threading.current_thread())
        return super().__getattribute__(name)

    def __call__(self):
        self.block()

    def method(self):
        self.block()


class NamedTask(asyncio.Task):
    def get_name(self):
        Prying.asked.add(threading.current_thread())
        return "pried"


@pytest.mark.parametrize("rescue", [False, True])
def test_the_program_is_asked_nothing_for_a_report(handle, rescue):
    """Attributes may be properties, and classes have classes with code of their own."""
    names = []
    handle(lambda record: names.append(record.everloop["task"]))
    loop = watched_loop()
    loop.rescue, loop.rescue_after = rescue, 0.005
    # What a loop itself asks, on whichever thread it is: whether a callback belongs to a task.
    threads = {threading.main_thread()}

    async def block():
        time.sleep(0.05)

    async def main():
        callback = Callback(lambda: time.sleep(0.05))
        for step in (callback, callback.method):
            loop.call_soon(step)
            watch.install()
            await asyncio.sleep(0.1)
        watch.install()
        await NamedTask(block(), name="named", loop=loop)

    loop.run_until_complete(main())
    loop.close()
    relief = {thread for thread in Prying.asked if thread.name.startswith("everloop-relief")}
    assert Prying.asked - threads - relief == set()
    assert {name.rpartition(".")[2] for name in names} >= {"Callback", "method", "named"}


def test_subprocesses_and_files_are_named_as_they_were(handle):
    """The line is the program's own, through those of libraries; the innermost one is named beside it."""
    reports = []
    handle(lambda record: reports.append((record.everloop, record.getMessage())))
    loop = watched_loop()
    loop.slow_callback_duration = 0.1  # the child runs by then

    def run():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)"], check=True)

    loop.call_soon(run)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    details, text = reports[0]
    assert (details["function"], details["call"]) == ("run", "subprocess.run")
    assert "   = inside: subprocess.py:" in text
