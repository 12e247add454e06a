"""`on_block`: functions that are told of each block, whatever the log gets."""

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
import threading
import time

import pytest

import everloop
from everloop import _native
from everloop.watch import painting
from support import wait_until


@pytest.fixture
def watched(loop):
    """A loop that reports a step of more than 20 ms."""
    loop.slow_callback_duration = 0.02
    return loop


def block(loop, times=1):
    async def main():
        for _ in range(times):
            time.sleep(0.06)
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert _native.write_notes()


def test_it_is_told_of_blocks_that_the_log_does_not_get(watched, reports):
    records = []
    with everloop.on_block(records.append):
        block(watched, times=4)
    assert [record["state"] for record in records] == ["blocked", "ended"] * 4
    assert [record["count"] for record in records if record["state"] == "blocked"] == [1, 2, 3, 4]
    assert [record["logged"] for record in records] == [True, True] + [False] * 6
    assert [record["state"] for record in reports()] == ["blocked", "ended"]
    assert {record["call"] for record in records} == {"time.sleep"}


def test_it_is_called_on_the_thread_that_writes_reports(watched, reports):
    threads = []
    with everloop.on_block(lambda record: threads.append(threading.current_thread().name)):
        block(watched)
    assert set(threads) == {"everloop-report"}


def test_what_is_removed_is_told_of_nothing_more(watched, reports):
    seen = []
    hook = everloop.on_block(seen.append)
    assert "removed" not in repr(hook)
    hook.remove()
    hook.remove()
    block(watched)
    assert seen == []
    assert repr(hook).endswith(" removed>")


def test_one_that_removes_itself_does_not_keep_the_next_from_being_told(watched, reports):
    first, second = [], []

    def once(record):
        first.append(record["state"])
        hook.remove()

    hook = everloop.on_block(once)
    with everloop.on_block(lambda record: second.append(record["state"])):
        block(watched)
    assert (first, second) == (["blocked"], ["blocked", "ended"])


def test_each_has_a_record_of_its_own(watched, reports):
    seen = []
    with everloop.on_block(lambda record: record["cause"].clear()), everloop.on_block(seen.append):
        block(watched)
    assert all(record["cause"] for record in [*seen, *reports()])


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_one_that_fails_is_logged_once_with_its_line_and_the_others_are_told(watched, reports, caplog, error):
    seen = []

    def fail(record):
        raise error("of the callback")

    with everloop.on_block(fail), everloop.on_block(seen.append):
        block(watched, times=5)
    assert len(seen) > 2
    [entry] = [record for record in caplog.records if record.exc_info]
    assert "on_block failed" in entry.getMessage()
    assert entry.exc_info[2].tb_next.tb_frame.f_code.co_name == "fail"


def test_one_that_blocks_holds_no_loop_up(watched, reports):
    entered, gate, seen = threading.Event(), threading.Event(), []

    def wait(record):
        entered.set()
        gate.wait()

    async def main():
        time.sleep(0.06)
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, entered.wait)
        time.sleep(0.06)
        return "done"

    with everloop.on_block(wait), everloop.on_block(seen.append):
        try:
            assert watched.run_until_complete(main()) == "done"
            assert seen == []
        finally:
            gate.set()
        wait_until(lambda: len(seen) == 4, "the reports that waited")


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="takes a function, not int"):
        everloop.on_block(1)

    async def tell(record): ...

    with pytest.raises(TypeError, match="tell\\(\\) is a coroutine"):
        everloop.on_block(tell)


# ---- colours


def test_a_text_is_painted_without_a_change_of_its_words():
    text = "warning[blocked]: x\n  --> nowhere.py:7 in f\n   |\n7 |     f(1)\n  |     ^^^^\n   = help: y"
    painted = painting.painted(text)
    assert painted.count("\x1b[") > 6
    assert "".join(part.partition("m")[2] for part in ("\x1b[m" + painted).split("\x1b[")[1:]) == text
    assert f"]8;;file://{os.uname().nodename}{__file__}#7\x1b\\{__file__}:7\x1b]8;;" in painting.painted(
        f"  --> {__file__}:7 in f"
    )


@pytest.mark.parametrize(
    ("prepare", "environment", "paints"),
    [
        ("", {"TERM": "xterm"}, True),
        ("", {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ("", {"TERM": "dumb"}, False),
        ("logging.basicConfig()", {"TERM": "xterm"}, False),
        ("everloop.set_report('json')", {"TERM": "xterm"}, False),
        ("logging.getLogger('everloop').setLevel(40)", {"TERM": "xterm"}, None),
    ],
)
def test_colours_are_for_a_terminal_of_a_program_that_has_set_up_no_log(prepare, environment, paints):
    script = f"""
import everloop, logging, time
{prepare}
async def main():
    time.sleep(0.2)
everloop.run(main())
"""
    own, others = pty.openpty()
    said = b""
    try:
        subprocess.run([sys.executable, "-c", script], stderr=others, env={**os.environ, "NO_COLOR": "", **environment})
        os.close(others)
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while chunk := os.read(own, 4096):
                said += chunk
    finally:
        os.close(own)
    assert (b"blocked" in said) is (paints is not None)
    assert (b"\x1b[" in said) is bool(paints)
