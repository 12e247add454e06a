"""The report: which line blocked the loop, for how long, what waited for it, and what to write instead."""

import asyncio
import concurrent.futures
import ctypes
import inspect
import logging
import os
import re
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

import everloop
from everloop import _native
from support import SlowServer, hand_offs, spin, wait_aside, wait_until


@pytest.fixture
def watched(loop):
    """A loop that reports a step of more than 20 ms, and rescues none."""
    loop.slow_callback_duration = 0.02
    return loop


def block(loop, call, reported):
    """Run a blocking call as a step, until what `reported` waits for has come."""

    async def main():
        call()

    loop.run_until_complete(main())
    wait_until(reported, "the report")


def test_a_blocked_step_is_reported_while_it_blocks_and_when_it_has_ended(watched, gate, reports):
    def open_once_reported():
        wait_until(lambda: reports("blocked"), "the first report")
        gate.open()

    opener = threading.Thread(target=open_once_reported)
    opener.start()
    block(watched, gate.wait, lambda: reports("ended"))
    opener.join()
    assert [report["state"] for report in reports()] == ["blocked", "ended"]
    assert 0.02 <= reports()[0]["seconds"] <= reports()[1]["seconds"]


def test_it_is_a_warning_of_the_logger_everloop(watched, gate, reports, caplog):
    block(watched, lambda: time.sleep(0.1), lambda: reports("ended"))
    assert {(record.name, record.levelname) for record in caplog.records} == {("everloop", "WARNING")}


def test_the_record_tells_everything(watched, reports):
    waited = []
    here = inspect.currentframe().f_lineno

    async def sleeper():
        watched.call_soon(waited.append, 1)
        watched.call_soon(waited.append, 2)
        time.sleep(0.15)

    async def main():
        await asyncio.create_task(sleeper(), name="the sleeper")

    watched.run_until_complete(main())
    wait_until(lambda: reports("ended"), "the report")
    first = reports("blocked")[0]
    assert os.path.basename(first["file"]) == "test_report.py"
    assert first["line"] == here + 5
    assert "sleeper" in first["function"]
    assert first["call"] == "time.sleep"
    assert first["task"] == "the sleeper"
    assert first["waiting"] >= 2
    assert first["rescued"] is False
    assert first["count"] == 1
    assert set(first) >= {"state", "seconds", "file", "line", "function", "call", "task", "waiting", "rescued"}
    assert {"rescued_after", "count"} <= set(first)
    assert reports("ended")[0]["seconds"] > 0.1


def test_the_text_is_laid_out_as_documented(watched, reports, caplog):
    async def sleeper():
        time.sleep(0.15)

    async def main():
        await asyncio.create_task(sleeper(), name="the sleeper")

    watched.run_until_complete(main())
    wait_until(lambda: reports("ended"), "the report")
    blocked, ended = (record.getMessage() for record in caplog.records)
    lines = blocked.splitlines()
    assert re.fullmatch(
        r"warning\[blocked\]: the event loop has been blocked for \d+ ms \(still blocked\) by time\.sleep", lines[0]
    )
    assert re.match(r"  --> .*test_report\.py:\d+ in .*sleeper +task \"the sleeper\"", lines[1])
    assert re.fullmatch(r" *\|", lines[2])
    assert re.fullmatch(r" *\d+ \|  +time\.sleep\(0\.15\)", lines[3])
    assert re.fullmatch(r" *\|  +\^+.*", lines[4])
    marked = lines[4].count("^")
    assert lines[3][lines[4].index("^") :][:marked] == "time.sleep(0.15)"
    assert any(re.match(r" +\d*= impact: \d+ callbacks? waiting", line) for line in lines)
    assert any("= help: " in line and "asyncio.sleep" in line and "to_thread" in line for line in lines)
    assert re.match(r"warning\[blocked\]: the event loop was blocked for \d+ ms by time\.sleep", ended)


def test_the_end_is_reported_of_a_block_that_ends_with_the_run(watched, gate, reports):
    """The watchdog is still busy with the first report when the run is over."""
    over = threading.Event()

    class Hold(logging.Handler):
        def emit(self, record):
            if record.everloop["state"] == "blocked":
                gate.open()
                over.wait()

    handler = Hold()
    logging.getLogger("everloop").addHandler(handler)
    try:

        async def main():
            gate.wait()

        watched.run_until_complete(main())
        over.set()
        wait_until(lambda: reports("ended"), "the report")
    finally:
        over.set()
        logging.getLogger("everloop").removeHandler(handler)
    assert [report["state"] for report in reports()] == ["blocked", "ended"]


def test_a_rescued_step_is_reported_with_where_the_others_run(rescuing_loop, gate, reports, caplog):
    rescuing_loop.slow_callback_duration = 0.02

    async def blocked():
        os.read(gate.reader, 1)

    async def main():
        task = asyncio.create_task(blocked())
        while not reports("blocked"):
            await asyncio.sleep(0.001)
        gate.open()
        await task

    rescuing_loop.run_until_complete(main())
    wait_until(lambda: reports("ended"), "the report")
    ended = reports("ended")[-1]
    assert ended["rescued"] is True
    assert ended["rescued_after"] >= 0.005
    # A report that comes before the rescue says so, and does not know yet who will go on.
    assert re.search(r"= rescue: (other tasks run on everloop-relief-\d+|none)", caplog.records[0].getMessage())
    assert re.search(r"was rescued after \d+ ms", caplog.records[-1].getMessage())


@pytest.fixture
def ahead():
    """Moves the clock that says for how long steps have been aside."""
    yield _native.set_aside_clock_ahead
    _native.set_aside_clock_ahead(0.0)


def test_a_rescued_step_that_blocks_on_is_told_of_again(rescuing_loop, gate, reports, ahead):
    rescuing_loop.slow_callback_duration = 0.02

    async def main():
        task = asyncio.create_task(asyncio.wait_for(blocked(), None), name="the task")
        while not reports("blocked"):
            await asyncio.sleep(0.001)
        for seconds in (1, 10, 60, 120):
            ahead(seconds)
            while not [report for report in reports("lasts") if report["seconds"] >= seconds]:
                await asyncio.sleep(0.001)
        gate.open()
        await task

    async def blocked():
        gate.wait()

    rescuing_loop.run_until_complete(main())
    wait_until(lambda: reports("ended"), "the report")
    assert [report["state"] for report in reports()] == ["blocked", *["lasts"] * 4, "ended"]
    assert len({report["number"] for report in reports()}) == 1
    for report in reports("lasts"):
        assert (report["call"], report["rescued"]) == ("os.read", True)
        assert report["cause"]["kind"] == "pipe"
        assert "a step has been blocked for " in report["text"]


def test_short_steps_that_keep_a_turn_are_counted_to_its_end(loop, reports):
    def first():
        time.sleep(0.004)

    def then():
        spin(0.004)

    async def main():
        for call, count in ((first, 50), (then, 100)):
            for _ in range(count):
                loop.call_soon(call)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    wait_until(lambda: reports("ended"), "the report")
    begin, end = reports("blocked")[0], reports("ended")[0]
    total = [sum(line["seconds"] for line in report["lines"]) for report in (begin, end)]
    assert (begin["number"], begin["cause"]["kind"], end["cause"]["kind"]) == (end["number"], "steps", "steps")
    assert "first" in {line["function"] for line in begin["lines"]}
    assert {"first", "spin"} <= {line["function"] for line in end["lines"]}
    assert total[1] > 2 * total[0]
    assert end["cause"]["count"] > 2 * begin["cause"]["count"]


def test_the_threshold_is_slow_callback_duration(loop, reports):
    loop.slow_callback_duration = 60
    block(loop, lambda: time.sleep(0.15), lambda: True)
    assert reports() == []
    loop.slow_callback_duration = 0.02
    block(loop, lambda: time.sleep(0.15), lambda: reports("ended"))
    assert reports("blocked")


def test_what_asked_to_block_is_not_reported(watched, reports):
    """`blocking()` and `block_on` hold nobody up."""

    def by_consent():
        with everloop.blocking():
            time.sleep(0.1)
        everloop.block_on(asyncio.sleep(0.1))

    block(watched, by_consent, lambda: True)
    assert reports() == []


def test_an_idle_loop_is_not_reported(watched, reports):
    watched.run_until_complete(asyncio.sleep(0.1))
    assert reports() == []


def test_the_time_between_two_runs_is_not_reported(loop, reports):
    """The watchdog sleeps meanwhile, and finds the first step of the second run at its first look."""
    loop.slow_callback_duration = 0.5

    async def block_shortly():
        time.sleep(0.15)

    loop.run_until_complete(asyncio.sleep(0))
    time.sleep(0.6)
    loop.run_until_complete(block_shortly())
    assert reports() == []


def test_a_step_is_not_blamed_for_what_kept_the_watchdog_from_looking(loop, reports):
    """While a step holds the GIL the watchdog waits."""
    loop.slow_callback_duration = 0.4

    async def main():
        ctypes.PyDLL(None).usleep(1_200_000)
        await asyncio.sleep(0)
        time.sleep(0.2)

    loop.run_until_complete(main())
    assert "time.sleep" not in [report["call"] for report in reports()]


@pytest.mark.parametrize("rescue", [False, True])
@pytest.mark.parametrize("then", ["the run ends", "others run", "another step is aside"])
def test_code_that_holds_the_gil_is_reported(loop, reports, gate, rescue, then):
    """The watchdog waits for the GIL meanwhile: what it would have reported is judged when that has come."""
    loop.rescue, loop.rescue_after, loop.slow_callback_duration = rescue, 0.005, 0.05

    async def hold():
        ctypes.PyDLL(None).usleep(300_000)

    async def main():
        if then == "another step is aside" and rescue:
            loop.call_soon(os.read, gate.reader, 1)
            await asyncio.sleep(0)
            await wait_aside(loop)
        task = asyncio.create_task(hold())
        if then != "the run ends":
            await asyncio.sleep(0.01)
        gate.open()
        await task

    loop.run_until_complete(main())
    # Its line is seen where the GIL is let go of before the step ends.
    wait_until(lambda: any(report["function"] in ("hold", None) for report in reports("ended")), "the report")
    assert all(report["seconds"] >= 0.05 for report in reports())


@pytest.mark.parametrize("rescue", [False, True])
@pytest.mark.parametrize("before", ["a step as long", "a few short steps"])
def test_code_that_holds_the_gil_is_told_of_while_it_lasts_whatever_ran_before_it(loop, rescue, before):
    """The watchdog waits for the GIL since a step before it, and its deputy finds the next one."""
    loop.rescue, loop.slow_callback_duration = rescue, 0.05
    usleep = ctypes.PyDLL(None).usleep
    lasts = [70_000] if before == "a step as long" else [8_000] * 5
    records = []

    async def main():
        # No Python code between them, where the GIL could be had.
        for microseconds in [*lasts, 400_000]:
            asyncio.get_running_loop().call_soon(usleep, microseconds)
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert _native.write_notes()
        told = {of: [record["number"] for record in records if record["state"] == of] for of in ("blocked", "ended")}
        assert told["blocked"] == told["ended"], "each ends with its step, and none is told of twice"

    with everloop.on_block(records.append):
        loop.run_until_complete(main())
    longest = max(records, key=lambda record: record["seconds"])
    assert longest["cause"]["kind"] == "gil"
    assert longest["told"]


def test_busy_python_is_reported_though_it_cannot_be_rescued(rescuing_loop, reports):
    rescuing_loop.slow_callback_duration = 0.02
    block(rescuing_loop, lambda: spin(0.15), lambda: reports("ended"))
    assert reports()[0]["rescued"] is False
    assert "spin" in reports()[0]["function"]
    assert hand_offs(rescuing_loop) == 0


def test_a_site_is_not_reported_over_and_over(watched, reports):
    """Each further block at one line is counted, not told."""

    async def main():
        for _ in range(20):
            time.sleep(0.03)
            await asyncio.sleep(0)

    watched.run_until_complete(main())
    wait_until(lambda: reports(), "the first report")
    assert len(reports()) < 20


def test_two_sites_are_two_reports(watched, reports):
    def first():
        time.sleep(0.08)

    def second():
        time.sleep(0.08)

    for call in (first, second):
        block(watched, call, lambda: reports())
    wait_until(lambda: len(reports("ended")) == 2, "both reports")
    assert len({report["line"] for report in reports()}) == 2


def test_the_report_can_be_silenced(watched, caplog):
    logger = logging.getLogger("everloop")
    logger.setLevel(logging.ERROR)
    try:
        block(watched, lambda: time.sleep(0.1), lambda: True)
    finally:
        logger.setLevel(logging.NOTSET)
    assert caplog.records == []


def test_a_line_that_cannot_be_read_is_reported_without_its_source(watched, reports):
    code = compile("import time\ntime.sleep(0.15)", "/nowhere/at_all.py", "exec")
    block(watched, lambda: exec(code, {}), lambda: reports("ended"))
    assert (reports()[0]["file"], reports()[0]["line"]) == ("/nowhere/at_all.py", 2)


# ---- the help line


def help_lines(caplog):
    return [line for record in caplog.records for line in record.getMessage().splitlines() if "= help: " in line]


def test_help_for_requests(watched, reports, caplog):
    """The line is the caller's, not one deep inside the library."""
    with SlowServer() as server:

        def fetch():
            with requests.Session() as session:
                session.trust_env = False
                session.get(server.url)

        opener = threading.Timer(0.2, server.gate.open)
        opener.start()
        block(watched, fetch, lambda: reports("ended"))
        opener.join()
    assert any("httpx" in line or "to_thread" in line for line in help_lines(caplog))


def test_help_for_subprocess_run(watched, reports, caplog):
    block(watched, lambda: subprocess.run(["sleep", "0.2"], check=True), lambda: reports("ended"))
    assert any("create_subprocess_exec" in line for line in help_lines(caplog))


def test_help_for_sqlite(watched, reports, caplog, tmp_path):
    holder, waiter = (sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False) for _ in "hw")
    holder.execute("CREATE TABLE t (n)")
    holder.execute("BEGIN EXCLUSIVE")

    def commit_once_reported():
        wait_until(lambda: reports("blocked"), "the report")
        holder.execute("COMMIT")

    thread = threading.Thread(target=commit_once_reported)
    thread.start()
    block(watched, lambda: waiter.execute("INSERT INTO t VALUES (1)"), lambda: reports("ended"))
    thread.join()
    holder.close()
    waiter.close()
    assert any("aiosqlite" in line or "to_thread" in line for line in help_lines(caplog))


@pytest.mark.parametrize("where", ["open", "read"])
def test_help_for_files(watched, reports, caplog, tmp_path, where):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def write_once_reported():
        if where == "read":
            writer = path.open("w")
        wait_until(lambda: reports("blocked"), "the report")
        if where == "open":
            writer = path.open("w")
        writer.close()

    thread = threading.Thread(target=write_once_reported)
    thread.start()

    def read():
        with open(path) as fifo:
            fifo.read()

    block(watched, read, lambda: reports("ended"))
    thread.join()
    assert any("to_thread" in line for line in help_lines(caplog))


def test_help_for_waiting_on_the_own_loop(rescuing_loop, reports, caplog):
    rescuing_loop.slow_callback_duration = 0.02

    async def main():
        future = concurrent.futures.Future()
        rescuing_loop.call_later(0.15, future.set_result, "slept")
        return future.result()

    assert rescuing_loop.run_until_complete(main()) == "slept"
    wait_until(lambda: reports("blocked"), "the report")
