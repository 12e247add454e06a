"""The deputy: what it writes while nobody can run Python, since C code holds the GIL."""

import ast
import contextlib
import json
import os
import subprocess
import sys
import textwrap

import pytest

# Each program holds the GIL, in `hold`, until this one writes a byte.
HEAD = """
import asyncio, ctypes, everloop, os, sys, threading
place = ctypes.create_string_buffer(1)

def hold():
    ctypes.PyDLL(None).read(0, place, 1)

def run(main):
    loop = everloop.new_event_loop()
    loop.slow_callback_duration = 0.05
    loop.run_until_complete(main())
    loop.close()
    print("over", flush=True)
"""


@contextlib.contextmanager
def holding(program, **variables):
    """Runs a program that begins with `HEAD`; its standard input ends what holds the GIL."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=variables.pop("stderr", subprocess.PIPE),
        pass_fds=variables.pop("pass_fds", ()),
        text=True,
        env=os.environ | variables,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def let_go(process):
    process.stdin.write(".")
    process.stdin.flush()


def full_pipe():
    """The two ends of a pipe that nobody can write to, and how many bytes are in it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer, filled


QUIET_LOG = """
    import logging
    logging.getLogger("everloop").addHandler(logging.NullHandler())
    logging.getLogger("everloop").propagate = False
"""

IN_A_STEP = """
async def main():
    hold()
run(main)
"""


@pytest.mark.parametrize("rescue", ["0", "1"])
def test_a_step_whose_c_code_holds_the_gil_is_told_of_while_it_does(rescue):
    with holding(IN_A_STEP, EVERLOOP_RESCUE=rescue) as process:
        head, place = process.stderr.readline(), process.stderr.readline()
        let_go(process)
        assert process.stdout.read() == "over\n"
    assert head.startswith("warning[blocked]: the event loop has been blocked for ")
    assert head.endswith(" (still blocked): C code of this step holds the GIL\n")
    assert place == "  --> <string>:6 in hold\n"


def test_as_json_it_is_one_line():
    with holding(IN_A_STEP, EVERLOOP_REPORT="json") as process:
        record = json.loads(process.stderr.readline())
        let_go(process)
        assert process.stdout.read() == "over\n"
        assert record.pop("seconds") > 0
        assert record == {
            "state": "blocked",
            "told": True,
            "pid": process.pid,
            "cause": {"kind": "gil"},
            "file": "<string>",
            "line": 6,
            "function": "hold",
        }


def test_another_thread_that_holds_the_gil_while_the_loop_has_something_to_do_is_told_of():
    program = """
    async def main():
        thread = threading.Thread(target=hold)
        asyncio.get_running_loop().call_later(0.05, lambda: None)
        thread.start()
        await asyncio.to_thread(thread.join)
    run(main)
    """
    with holding(program) as process:
        head, place = process.stderr.readline(), process.stderr.readline()
        let_go(process)
        assert process.stdout.read() == "over\n"
    assert head.endswith(": another thread holds the GIL\n")
    assert place == "  --> <string>:6 in hold\n"


def told_by(program):
    """What the program prints once its GIL is free again, which was held until the first report came."""
    with holding(program) as process:
        process.stderr.readline()
        let_go(process)
        first, *rest = process.stdout.read().splitlines()
    assert rest == ["over"]
    return ast.literal_eval(first)


def test_the_log_has_the_report_as_well_and_says_that_it_was_told():
    program = """
    import logging
    class Keep(logging.Handler):
        def emit(self, record):
            told.append((record.everloop["state"], record.everloop["told"], record.everloop["task"]))
    told = []
    logging.getLogger("everloop").addHandler(Keep())

    async def main():
        task = asyncio.create_task(other(), name="the other")
        await task
        while len(told) < 2:
            await asyncio.sleep(0.001)
        print(told)

    async def other():
        hold()
    run(main)
    """
    # The step was over before anybody could write that: whoever has run it tells its name.
    assert told_by(program) == [("blocked", True, "the other"), ("ended", True, "the other")]


def test_a_thread_that_has_ended_by_the_time_of_the_report_is_known_by_its_name():
    program = """
    import logging
    class Keep(logging.Handler):
        def emit(self, record):
            told.append((record.everloop["state"], record.everloop["cause"]["thread"]))
    told = []
    logging.getLogger("everloop").addHandler(Keep())

    async def main():
        thread = threading.Thread(target=hold, name="the holder")
        asyncio.get_running_loop().call_later(0.05, lambda: None)
        thread.start()
        await asyncio.to_thread(thread.join)
        while len(told) < 2:
            await asyncio.sleep(0.001)
        print(told)
    run(main)
    """
    assert told_by(program) == [("blocked", "the holder"), ("ended", "the holder")]


def test_what_is_written_as_the_program_ends_is_not_lost():
    """The standard error is a full pipe, until the program is about to end."""
    reader, writer, filled = full_pipe()
    program = (
        QUIET_LOG
        + """
    import atexit
    def make_room():
        left = FILLED
        while left:
            left -= len(os.read(READER, left))
    atexit.register(make_room)
    async def main():
        ctypes.PyDLL(None).usleep(300_000)
    run(main)
    """.replace("READER", str(reader)).replace("FILLED", str(filled))
    )
    try:
        with holding(program, stderr=writer, pass_fds=[reader]) as process:
            assert process.stdout.read() == "over\n"
            assert process.wait() == 0
        os.close(writer)
        writer = -1
        text = b""
        while piece := os.read(reader, 65536):
            text += piece
        assert text.startswith(b"warning[blocked]: the event loop has been blocked for ")
        assert text.endswith(b"the report follows in the log\n")
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def test_one_line_is_written_of_once_in_a_while():
    program = (
        QUIET_LOG
        + """
    async def main():
        nap()
        await asyncio.sleep(0)
        nap()
        await asyncio.sleep(0)
        hold()

    def nap():
        ctypes.PyDLL(None).usleep(300_000)
    run(main)
    """
    )
    with holding(program) as process:
        places = []
        while len(places) < 2:
            line = process.stderr.readline()
            if line.startswith("  --> "):
                places.append(line.split()[-1])
        let_go(process)
        assert process.stdout.read() == "over\n"
    assert places == ["nap", "hold"]


def test_a_standard_error_that_nobody_reads_holds_nobody_up():
    reader, writer, _ = full_pipe()
    program = (
        QUIET_LOG
        + """
    async def main():
        hold()
        print("goes on", flush=True)
    run(main)
    """
    )
    try:
        with holding(program, stderr=writer) as process:
            let_go(process)
            assert process.stdout.read() == "goes on\nover\n"
            process.wait()
            assert process.returncode == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_who_wants_no_reports_gets_none():
    with holding(IN_A_STEP + "sys.stderr.write('the end')", EVERLOOP_REPORT="off") as process:
        let_go(process)
        assert process.stdout.read() == "over\n"
        assert process.stderr.read() == "the end"
