"""`everloop top` and `everloop dump` look into a process that listens; `python -m asyncio ps` sees its tasks."""

import asyncio
import contextlib
import http.server
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest

from everloop import cli
from everloop.top import client, drawing
from everloop.top.figures import figures_of, percentile, worst_of
from listen_support import state_of
from support import PATIENCE, started_script, wait_until

LISTENING = """
import asyncio, os, sys
os.environ.update({variables!r})
import everloop
async def main():
    print("runs", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
everloop.run(main())
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "everloop", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )


def listening(**variables):
    return started_script(LISTENING.format(variables=variables))


def started(process):
    assert process.stdout.readline() == "runs\n", process.stderr.read()


# ---- dump


def test_dump_tells_whether_loops_go_on_and_where_threads_are(tmp_path):
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        done = run("dump", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok\n\n")
    assert f"thread {process.pid} " in done.stdout


def test_dump_finds_the_socket_of_a_process(tmp_path):
    """What the process was started with tells it; the one that is asked here sets that for its child only."""
    environment = {**os.environ, "EVERLOOP_LISTEN": f"{tmp_path}/{{pid}}.sock"}
    source = LISTENING.format(variables={})
    with subprocess.Popen(
        [sys.executable, "-c", source], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "runs\n"
            assert client.find(str(process.pid)) == f"{tmp_path}/{process.pid}.sock"
            done = run("dump", process.pid)
        finally:
            process.kill()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"thread {process.pid} " in done.stdout


def test_a_socket_of_the_default_name_is_found(monkeypatch, tmp_path):
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    source = LISTENING.format(variables={"EVERLOOP_LISTEN": "on"})
    with subprocess.Popen(
        [sys.executable, "-c", source], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "runs\n"
            assert client.find(str(process.pid)) == f"{tmp_path}/everloop-{process.pid}.sock"
        finally:
            process.kill()


@pytest.mark.parametrize("command", ["top", "dump"])
def test_a_process_that_does_not_listen_is_told_how_to(command):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        done = run(command, process.pid)
        process.communicate(b"\n")
    assert done.returncode == 1
    assert done.stderr.startswith(f"everloop {command}: process {process.pid} does not listen. Start it with EVERLOOP_")
    gone = run(command, process.pid)
    assert (gone.returncode, gone.stderr) == (1, f"everloop {command}: there is no process {process.pid}\n")


@pytest.mark.parametrize("command", ["top", "dump"])
def test_an_address_where_nobody_is_is_told_of(command, tmp_path):
    done = run(command, tmp_path / "none.sock")
    assert done.returncode == 1
    assert done.stderr.startswith(f"everloop {command}: nobody answers at {tmp_path}/none.sock: ")


def test_a_process_that_was_to_listen_and_does_not_is_told_of(tmp_path):
    environment = {**os.environ, "EVERLOOP_LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(
        [sys.executable, "-c", "print(); input()"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(client.UnreachableError, match=r"was started with EVERLOOP_LISTEN=127\.0\.0\.1:0, and does"):
            client.find(str(process.pid))
        process.communicate(b"\n")


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("/run/a.sock", "/run/a.sock"),
        ("unix:/run/a.sock", "/run/a.sock"),
        ("127.0.0.1:9123", "127.0.0.1:9123"),
        ("http://127.0.0.1:9123/", "127.0.0.1:9123"),
        ("public:10.0.0.1:9123", "10.0.0.1:9123"),
    ],
)
def test_addresses_are_taken_as_they_are_written(target, address):
    assert client.find(target) == address


def test_who_is_not_everloop_is_told_of():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(client.UnreachableError, match="is not everloop"):
            client.ask(f"127.0.0.1:{server.server_port}", "/nothing")
        thread.join()


def test_an_address_of_the_net_is_asked_too(listen):
    address = listen()[1]
    assert client.ask(client.find(address), "/live") == (200, "ok\n")


# ---- top


def test_top_prints_lines_where_there_is_no_terminal(tmp_path):
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        done = run("top", path, "--every", "0", "--count", "2")
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.startswith(f"process {process.pid}, ")
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"\d\d:\d\d:\d\d MainThread: busy \d+%, \d+ turns/s, .* rescues", line), line


def test_top_ends_when_the_process_does(tmp_path):
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        command = [sys.executable, "-u", "-m", "everloop", "top", path, "--every", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as looking:
            looking.stdout.readline()
            process.kill()
            output, errors = looking.communicate(timeout=PATIENCE)
    assert (looking.returncode, errors) == (0, "")
    assert output.splitlines()[-1].startswith("the process has ended, or listens no more: ")


@pytest.mark.parametrize("every", ["0", "60"])
def test_top_ends_with_ctrl_c(tmp_path, every):
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        command = [sys.executable, "-u", "-m", "everloop", "top", path, "--every", every]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as looking:
            looking.stdout.readline()
            looking.stdout.readline()  # it is in its loop now
            looking.send_signal(signal.SIGINT)
            _, errors = looking.communicate(timeout=PATIENCE)
    assert (looking.returncode, errors) == (0, "")


def test_top_ends_when_nobody_reads_it(tmp_path):
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        command = [sys.executable, "-u", "-m", "everloop", "top", path, "--every", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as looking:
            looking.stdout.readline()
            looking.stdout.close()
            assert looking.stderr.read() == ""
    assert looking.returncode == 0


def test_on_a_terminal_without_rich_it_says_what_would_draw(tmp_path):
    path = f"{tmp_path}/here.sock"
    (tmp_path / "rich").mkdir()  # a package without what it takes
    (tmp_path / "rich/__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "everloop", "top", path, "--every", "0", "--count", "2"]
        done = subprocess.run(command, stdout=theirs, env=environment, timeout=60, check=False)
        output = os.read(ours, 65536).decode()
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert "pip install 'everloop[top]'" in output
    assert output.count("MainThread: busy") == 2


def test_on_a_terminal_rich_draws_tables(tmp_path):
    pytest.importorskip("rich")
    path = f"{tmp_path}/here.sock"
    with listening(EVERLOOP_LISTEN=path) as process:
        started(process)
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "everloop", "top", path, "--every", "0", "--count", "2"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
        done = subprocess.run(command, stdout=theirs, env=environment, timeout=60, check=False)
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 65536):
                output += piece
        os.close(ours)
    assert done.returncode == 0
    for words in (f"process {process.pid}, ", "MainThread", "delay p99", "lines that have blocked"):
        assert words in output.decode()


def test_a_pause_that_is_none_is_refused():
    for every in ("-1", "nan", "x"):
        done = run("top", "/none", "--every", every)
        assert done.returncode == 2
        assert "--every" in done.stderr


def test_programs_called_as_the_commands_can_be_run(tmp_path):
    (tmp_path / "top").write_text("import sys\nprint('ran', *sys.argv)\n")
    assert run("./top", "--plain", cwd=tmp_path).stdout == "ran ./top --plain\n"
    assert run("--", "top", "--", "x", cwd=tmp_path).stdout == "ran top -- x\n"
    assert run("--rescue", "top", cwd=tmp_path).stdout == "ran top\n"
    with pytest.raises(SystemExit):
        cli.main(["dump"])


# ---- figures


def histogram(count, maximum, *buckets):
    return {"count": count, "max": maximum, "buckets": [list(bucket) for bucket in buckets]}


def state(time, **of_loop):
    nothing = histogram(0, 0.0, (0.001, 0))
    loop = {
        "name": "MainThread",
        "asleep": 1,
        "busy_seconds": 0.0,
        "idle_seconds": 0.0,
        "gil_wait_seconds": 0.0,
        "turns": 0,
        "steps": 0,
        "delay_seconds": nothing,
        "turn_seconds": nothing,
        "blocked_seconds": None,
        "blocked_by": None,
        "aside": 0,
        "relief_threads": 0,
        "rescues": 0,
    }
    lines = of_loop.pop("blocked_lines", [])
    return {
        "version": "1",
        "pid": 1,
        "threads": 2,
        "starved_seconds": 0,
        "pool": {"threads": 1, "idle": 0, "running": 1, "queued": 2},
        "time": time,
        "loops": [{**loop, **of_loop}],
        "blocked_lines": lines,
    }


def test_figures_are_those_of_the_time_between_two_looks():
    before = state(10.0, busy_seconds=1.0, idle_seconds=9.0, turns=100, steps=1000)
    now = state(12.0, busy_seconds=1.5, idle_seconds=10.5, turns=300, steps=1000)
    [first], [second] = figures_of(None, before), figures_of(before, now)
    assert (first.busy, first.turns) == (0.1, 10.0)
    assert (second.busy, second.turns, second.steps, second.delay) == (0.25, 100.0, 0.0, None)


def test_a_loop_that_has_not_looked_at_the_clock_since_is_busy_if_it_does_not_sleep():
    before = state(10.0, busy_seconds=1.0, idle_seconds=9.0)
    [awake] = figures_of(before, state(12.0, busy_seconds=1.0, idle_seconds=9.0, asleep=0))
    [asleep] = figures_of(before, state(12.0, busy_seconds=1.0, idle_seconds=9.0))
    assert (awake.busy, asleep.busy) == (1.0, 0.0)


def test_another_loop_of_the_same_name_begins_anew():
    [figures] = figures_of(state(10.0, steps=1000, turns=900), state(11.0, steps=10, turns=5, idle_seconds=0.5))
    assert figures.turns == 10.0


def test_percentiles_are_those_of_what_has_come_since():
    before = histogram(100, 0.5, (0.001, 50), (1.0, 100))
    now = histogram(200, 0.8, (0.001, 149), (1.0, 200))
    assert percentile(before, now, 0.9) == 0.001
    assert percentile(before, now, 1.0) == 0.8
    assert percentile(now, now, 0.5) is None


def test_worst_lines_say_what_has_come_since():
    line = {"file": "/a.py", "line": 3, "function": "f", "cause": "sleep", "count": 1, "seconds": 1.0}
    before, now = state(1.0, blocked_lines=[line]), state(2.0, blocked_lines=[{**line, "count": 2, "seconds": 1.5}])
    [worst] = worst_of(before, now)
    assert (worst.where, worst.seconds, worst.lately) == ("/a.py:3", 1.5, 0.5)
    assert (
        "blocked 2 times for 1.5 s, 500.0 ms of it lately at /a.py:3 in f (sleep)" in drawing.lines_of(before, now)[1]
    )
    assert len(drawing.lines_of(now, now)) == 1


def test_a_loop_that_is_blocked_is_told_of():
    now = state(2.0, blocked_seconds=3.0, blocked_by="a step of it has not ended")
    assert drawing.lines_of(now, now)[0].endswith("BLOCKED for 3.0 s: a step of it has not ended")


def test_rich_draws_the_same():
    console = pytest.importorskip("rich.console").Console(record=True, width=160, file=io.StringIO())
    line = {"file": "/a[/b].py", "line": 3, "function": "f", "cause": "sleep", "count": 1, "seconds": 1.0}
    now = state(2.0, name="[bold]x", blocked_seconds=3.0, blocked_by="[red]why", blocked_lines=[line])
    console.print(drawing.table_of(None, now))
    text = console.export_text()
    assert "[bold]x" in text
    assert "3.0 s: [red]why" in text
    assert "/a[/b].py:3" in text


def test_the_state_of_a_process_is_understood(listen, loop):
    address = listen()[0]

    async def main():
        before = await asyncio.to_thread(state_of, address)
        return before, await asyncio.to_thread(state_of, address)

    before, now = loop.run_until_complete(main())
    [figures] = figures_of(before, now)
    assert figures.name == "MainThread"
    assert figures.turns > 0
    assert json.dumps(drawing.lines_of(before, now))


# ---- python -m asyncio ps, pstree

TASKS = """
import asyncio, os, sys
import everloop

async def waits_on_home():
    await asyncio.Event().wait()

async def made_on_relief_thread():
    await asyncio.Event().wait()

async def main():
    tasks = [asyncio.create_task(waits_on_home(), name="on-home")]
    reader, writer = os.pipe()

    async def block():
        os.read(reader, 1)

    blocking = asyncio.create_task(block(), name="blocks")
    loop = asyncio.get_running_loop()
    while not loop.statistics()["aside"]:
        await asyncio.sleep(0)
    # this step runs on a relief thread now
    tasks.append(asyncio.create_task(made_on_relief_thread(), name="on-relief"))
    await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    os.write(writer, b"x")

everloop.run(main(), rescue=True)
"""


def may_read_others():
    """True if this machine lets a process read the memory of another one of the same user."""
    with subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        try:
            with open(f"/proc/{process.pid}/mem", "rb"):
                return True
        except OSError:
            return False
        finally:
            process.communicate(b"\n")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has no such command before CPython 3.14")
@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_asyncio_s_own_command_sees_the_tasks_of_all_threads(command):
    if not may_read_others():
        pytest.skip("this machine lets no process read another one's memory")
    with started_script(TASKS) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        looking = [sys.executable, "-m", "asyncio", command, str(process.pid)]
        found = []

        def look():
            done = subprocess.run(looking, capture_output=True, text=True, timeout=60, check=False)
            found[:] = [done]
            return done.returncode == 0  # what it reads may have moved meanwhile

        wait_until(look)
    # CPython 3.14 shows the tasks that were made on the main thread alone, also those of asyncio's own loops.
    on_relief = ("on-relief", "made_on_relief_thread") if sys.version_info >= (3, 15) else ()
    for name in ("on-home", "waits_on_home", "blocks", *on_relief):
        assert name in found[0].stdout
