"""`no_blocking`: fails where a step blocked meanwhile, with the report as its message."""

import asyncio
import pickle
import threading
import time
import unittest

import pytest

import everloop
from everloop import _native
from everloop.watch import no_blocking as module
from everloop.watch import report_writer
from support import gates, run_script, wait_aside


async def sleep(seconds):
    time.sleep(seconds)


@pytest.fixture
def note():
    """Leaves a note of a block, as the watchdog does."""
    writer = report_writer.ReportWriter()

    def leave(state, **details):
        blocked = {
            **{"number": 1, "seconds": 0.1, "file": "/app/main.py", "line": 7, "function": "handler"},
            **{"columns": None, "inside": None, "kind": "task", "task": "Task-1", "waiting": 0},
            **{"rescued_after": None, "relief": None, "thread": "MainThread"},
        }
        defaults = {"blocked": blocked, "ended": {"number": 1, "seconds": 0.1}, "unseen": {"seconds": 0.1}}
        getattr(writer, state)(**(defaults[state] | details))

    return leave


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_step_that_blocks_fails_with_the_report_as_message(reports):
    with pytest.raises(everloop.BlockingError) as failed, everloop.no_blocking(0.05):
        everloop.run(sleep(0.3))
    [record] = failed.value.records
    assert (record["call"], record["function"]) == ("time.sleep", "sleep")
    text = str(failed.value)
    assert text.startswith("warning[blocked]: the event loop was blocked for")
    assert "test_no_blocking.py:" in text
    assert "time.sleep(seconds)" in text


def test_it_is_a_failure_to_unittest_and_can_be_sent_to_another_process():
    assert issubclass(everloop.BlockingError, unittest.TestCase.failureException)
    error = pickle.loads(pickle.dumps(everloop.BlockingError([{"text": "a"}, {"text": "b"}])))
    assert str(error) == "a\n\nb"


def test_short_steps_and_waits_pass():
    async def main():
        for _ in range(5):
            await asyncio.sleep(0.02)

    with everloop.no_blocking(5):
        everloop.run(main())


def test_inside_a_coroutine_the_step_that_leaves_it_counts(loop):
    async def main():
        with everloop.no_blocking(0.05):
            time.sleep(0.3)

    with pytest.raises(everloop.BlockingError):
        loop.run_until_complete(main())


def test_a_loop_that_runs_already_and_one_that_begins_are_both_watched(loop):
    loop.slow_callback_duration = 60
    gate = threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(loop.create_task(until(gate))))
    thread.start()

    def block_on_both():
        with everloop.no_blocking(0.05):
            asyncio.run_coroutine_threadsafe(sleep(0.4), loop).result()
            everloop.run(sleep(0.3))

    with pytest.raises(everloop.BlockingError) as failed:
        block_on_both()
    gate.set()
    thread.join()
    assert len(failed.value.records) == 2
    assert loop.slow_callback_duration == 60


async def until(gate):
    while not gate.is_set():
        await asyncio.sleep(0.005)


def test_a_rescued_step_fails_too_and_one_that_asked_does_not(rescuing_loop):
    async def main(gate):
        task = asyncio.create_task(blocked(gate))
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop, 1)
        await asyncio.sleep(0.1)
        gate.open()
        await task

    async def blocked(gate):
        gate.wait()

    async def by_consent():
        with everloop.blocking():
            time.sleep(0.1)

    with gates(1) as [gate], pytest.raises(everloop.BlockingError), everloop.no_blocking(0.05):
        rescuing_loop.run_until_complete(main(gate))
    with everloop.no_blocking(0.05):
        rescuing_loop.run_until_complete(by_consent())


def test_an_error_of_the_block_comes_out_with_the_report_as_a_note(reports):
    async def fail():
        time.sleep(0.3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed, everloop.no_blocking(0.05):
        everloop.run(fail())
    assert "time.sleep" in failed.value.__notes__[0]


def test_the_strictest_of_those_that_are_entered_counts(monkeypatch):
    limits = []
    monkeypatch.setattr(_native, "limit_steps", limits.append)
    with everloop.no_blocking(0.3), everloop.no_blocking(0.1), everloop.no_blocking(0.2):
        pass
    assert limits == [0.3, 0.1, 0.1, 0.1, 0.3, None]


def test_it_is_entered_once_at_a_time_and_can_be_used_again():
    gate = everloop.no_blocking(0.5)
    with gate, pytest.raises(RuntimeError, match="entered already"), gate:
        pass
    with gate:
        pass


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", None])
def test_a_limit_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="a positive number of seconds"):
        everloop.no_blocking(seconds)


# ---- what counts


def test_nobody_fails_for_a_machine_that_gave_no_processor(note, clock):
    with everloop.no_blocking(0.05):
        clock.now += 1
        note("blocked", cause={"kind": "host"}, seconds=0.5)
        note("unseen", cause={"kind": "host"}, seconds=0.5)
        note("blocked", number=2, seconds=0.5)
        note("ended", number=2, cause={"kind": "host"}, seconds=0.6)  # as turned out


def test_what_blocked_before_it_was_entered_does_not_count(note, clock):
    note("blocked", seconds=3.0)
    with everloop.no_blocking(0.05):
        clock.now += 0.01
        note("blocked", number=2, seconds=3.0)
        note("unseen", seconds=3.0)
        note("ended", number=2, seconds=3.0)
        clock.now += 1
        note("ended", seconds=3.0)


def test_what_goes_on_inside_it_counts(note, clock):
    def block():
        with everloop.no_blocking(0.05):
            clock.now += 0.06
            note("blocked", seconds=0.06)
            note("ended", seconds=0.2)
            note("unseen", seconds=0.06)
            note("unseen", seconds=0.06)
            note("blocked", number=2, seconds=0.01)
            note("blocked", number=3, seconds=0.01)
            note("ended", number=3, seconds=0.02)
            clock.now += 0.04

    with pytest.raises(everloop.BlockingError) as failed:
        block()
    assert [(record["state"], record["seconds"]) for record in failed.value.records] == [
        ("ended", 0.2),
        ("ended", 0.06),
        ("ended", 0.06),
        ("blocked", 0.01),
    ]


def test_a_log_that_is_stuck_is_told_of_and_does_not_keep_it(monkeypatch):
    monkeypatch.setattr(_native, "write_notes", lambda: False)
    with pytest.warns(RuntimeWarning, match="may have been missed"), everloop.no_blocking(0.5):
        pass


def test_reports_that_are_off_fail_it_all_the_same():
    ran = run_script(
        """
        import everloop, time
        async def main():
            time.sleep(0.3)
        try:
            with everloop.no_blocking(0.05):
                everloop.run(main())
        except everloop.BlockingError as error:
            print(error.records[0]["function"])
        """,
        EVERLOOP_REPORT="off",
    )
    assert ran.stdout == "main\n", ran.stderr
    assert "warning[blocked]" not in ran.stderr
