"""Subprocesses are started, talked to and waited for as on asyncio's loop, whatever else the loop does meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest

import everloop
from support import gates, hand_offs

PIPE, STDOUT, DEVNULL = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT, asyncio.subprocess.DEVNULL
BIG = os.urandom(1 << 16) * 16  # many times what a pipe holds


async def python(source, *arguments, **options):
    """Start Python with so little that it is there soon."""
    return await asyncio.create_subprocess_exec(sys.executable, "-S", "-E", "-c", source, *arguments, **options)


async def output_of(source, **options):
    process = await python(source, stdout=PIPE, **options)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().strip()


def assert_no_zombie():
    """Nothing is left to be waited for."""
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(autouse=True)
def _no_zombies():
    yield
    assert_no_zombie()


# ---- standard streams


def test_all_three_streams_are_pipes(run):
    async def main():
        source = "import sys; line = sys.stdin.readline(); print('out', line); print('err', line, file=sys.stderr)"
        process = await python(source, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert await process.communicate(b"hello\n") == (b"out hello\n\n", b"err hello\n\n")
        assert process.returncode == 0

    run(main())


def test_errors_can_go_where_the_output_goes(run):
    async def main():
        process = await asyncio.create_subprocess_shell("echo one; echo two >&2", stdout=PIPE, stderr=STDOUT)
        assert await process.communicate() == (b"one\ntwo\n", None)

    run(main())


def test_streams_can_be_thrown_away(run):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "cat; echo; echo >&2", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
        assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
        assert await process.communicate() == (None, None)
        assert await process.wait() == 0

    run(main())


def test_streams_can_be_files_and_descriptors(run, tmp_path):
    (tmp_path / "in").write_text("hello")

    async def main():
        with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as sink:
            process = await asyncio.create_subprocess_exec("cat", stdin=source, stdout=sink.fileno())
            assert await process.wait() == 0
        assert (tmp_path / "out").read_text() == "hello"

    run(main())


def test_much_goes_both_ways_at_once(run):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(BIG)
        assert output == BIG

    run(main())


def test_lines_are_read_as_they_come(run):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for number in range(20):
            process.stdin.write(b"%d\n" % number)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"%d\n" % number
        process.stdin.close()
        await process.stdin.wait_closed()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0

    run(main())


def test_what_a_process_leaves_in_its_pipes_is_read_after_its_end(run):
    async def main():
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
        waiting = asyncio.create_task(process.wait())
        assert await process.stdout.read() == b"out\n"
        assert await process.stderr.read() == b"err\n"
        assert await waiting == 0

    run(main())


def test_a_process_that_does_not_read_its_input_breaks_no_communicate(run):
    async def main():
        process = await asyncio.create_subprocess_shell("exec <&-; echo deaf", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(BIG) == (b"deaf\n", None)
        assert process.returncode == 0

    run(main())


def test_writing_to_a_process_that_has_closed_its_input_is_a_broken_pipe(run):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "exec <&-; echo closed; exec sleep 1000", stdin=PIPE, stdout=PIPE
        )
        assert await process.stdout.readline() == b"closed\n"
        process.stdin.write(BIG)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await process.stdin.drain()
        process.kill()
        await process.wait()

    run(main())


# ---- how they are started


def test_the_options_of_popen_are_passed_on(run, tmp_path):
    async def main():
        assert await output_of("import os; print(os.getcwd())", cwd=tmp_path) == str(tmp_path)
        assert await output_of("import os; print(os.environ['NAME'])", env={"NAME": "value"}) == "value"
        session = await output_of("import os; print(os.getsid(0) == os.getpid())", start_new_session=True)
        assert session == "True"
        group = await output_of("import os; print(os.getpgid(0) == os.getpid())", process_group=0)
        assert group == "True"
        assert await output_of("import os; print(oct(os.umask(0)))", umask=0o27) == "0o27"
        process = await asyncio.create_subprocess_exec(
            "zero", "-c", "print('hi')", executable=sys.executable, stdout=PIPE
        )
        assert (await process.communicate())[0] == b"hi\n"

    run(main())


def test_descriptors_are_passed(run):
    async def main():
        reader, writer = os.pipe()
        process = await python(f"import os; os.write({writer}, b'passed')", pass_fds=[writer])
        os.close(writer)
        assert await process.wait() == 0
        assert os.read(reader, 10) == b"passed"
        os.close(reader)

    run(main())


def test_the_loop_s_own_descriptors_are_not_passed(run):
    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print) if on_main_thread() else None
        before = set(os.listdir("/proc/self/fd"))
        listed = await output_of("import os; print(*os.listdir('/proc/self/fd'))")
        assert len(before) > 4
        assert len(set(listed.split()) - {"0", "1", "2"}) <= 1  # the one that lists them

    run(main())


def on_main_thread():
    return threading.current_thread() is threading.main_thread()


def test_preexec_fn_runs_in_the_child(run):
    async def main():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = await asyncio.create_subprocess_exec(
                "true", stdout=PIPE, preexec_fn=lambda: os.write(1, b"from the child")
            )
        assert (await process.communicate())[0] == b"from the child"
        with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
            await asyncio.create_subprocess_exec("true", preexec_fn=lambda: 1 / 0)

    run(main())


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another")
def test_another_user_can_run_it(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "id", "-u", user=65534, group=65534, extra_groups=[], stdout=PIPE
        )
        assert (await process.communicate())[0] == b"65534\n"

    run(main())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"universal_newlines": True}, "universal_newlines must be False"),
        ({"text": True}, "text must be False"),
        ({"encoding": "utf-8"}, "encoding must be None"),
        ({"errors": "strict"}, "errors must be None"),
        ({"bufsize": 1}, "bufsize must be 0"),
        ({"shell": True}, "shell must be False"),
    ],
)
def test_what_asyncio_does_not_offer_is_refused(run, options, message):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=message):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **options)

    run(main())


def test_bad_commands_are_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="cmd must be a string"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, ["echo"])
        with pytest.raises(TypeError):
            await asyncio.create_subprocess_exec("true", 1)
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/there/is/no/such/program", stdin=PIPE, stdout=PIPE)
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("true", cwd="/there/is/no/such/place")
        with pytest.raises(PermissionError):
            await asyncio.create_subprocess_exec("/etc/passwd")

    run(main())


# ---- how they end


def test_every_waiter_learns_the_status(run):
    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 7", stdin=PIPE)
        waiting = [asyncio.create_task(process.wait()) for _ in range(10)]
        await asyncio.sleep(0)
        assert process.returncode is None
        waiting.pop().cancel()
        process.stdin.write(b"\n")
        assert await asyncio.gather(*waiting) == [7] * 9
        assert await process.wait() == 7

    run(main())


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (lambda process: process.kill(), -signal.SIGKILL),
        (lambda process: process.terminate(), -signal.SIGTERM),
        (lambda process: process.send_signal(signal.SIGHUP), -signal.SIGHUP),
    ],
    ids=["kill", "terminate", "send_signal"],
)
def test_signals_are_sent(run, method, status):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
        method(process)
        assert await process.wait() == status
        assert await process.stdout.read() == b""
        with pytest.raises(ProcessLookupError):
            method(process)

    run(main())


def test_cancelling_communicate_leaves_the_process_alone(run):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.stdout.read(), 0.001)
        assert process.returncode is None
        assert await process.communicate(b"still there") == (b"still there", None)

    run(main())


def test_closing_the_transport_kills_the_process(run):
    async def main():
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Protocol(asyncio.SubprocessProtocol):
            def connection_lost(self, error):
                lost.set_result(error)

        transport, _ = await loop.subprocess_exec(Protocol, "sleep", "1000")
        transport.close()
        assert transport.is_closing()
        assert await lost is None
        assert transport.get_returncode() == -signal.SIGKILL

    run(main())


def test_a_protocol_is_called_in_order(run):
    calls = []

    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            calls.append("made")
            for number in (0, 1, 2):
                calls.append(transport.get_pipe_transport(number) is not None)

        def pipe_data_received(self, number, data):
            calls.append(f"data {number} {data}")

        def pipe_connection_lost(self, number, error):
            # The input may be seen to be closed by the process before it is closed here.
            calls.append(f"pipe {number} lost" if number == 0 else f"pipe {number} lost {error}")

        def process_exited(self):
            calls.append("exited")

        def connection_lost(self, error):
            calls.append(f"lost {error}")
            self.lost.set_result(None)

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(Protocol, "read line; echo out; exit 3")
        transport.get_pipe_transport(0).write(b"go\n")
        await protocol.lost
        assert transport.get_returncode() == 3
        transport.close()

    run(main())
    assert calls[:4] == ["made", True, True, True]
    assert calls[-1] == "lost None"
    # Whether the end of the process or of its output is seen first is a race, on any loop.
    assert sorted(calls[4:-1]) == ["data 1 b'out\\n'", "exited", "pipe 0 lost", "pipe 1 lost None", "pipe 2 lost None"]


def test_a_hundred_at_once(run):
    async def main():
        async def talk(number):
            process = await asyncio.create_subprocess_shell(f"cat; exit {number}", stdin=PIPE, stdout=PIPE)
            output, _ = await process.communicate(b"%d" % number)
            return int(output), process.returncode

        assert await asyncio.gather(*map(talk, range(100))) == [(number, number) for number in range(100)]

    run(main())


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_process_that_is_never_waited_for_ends_with_its_run(run):
    """asyncio.run closes what is left, without a warning, if the pipes are closed and the end is seen."""

    async def main():
        process = await asyncio.create_subprocess_shell("exit 5", stdout=PIPE)
        while process.returncode is None:
            await asyncio.sleep(0)
        assert await process.stdout.read() == b""
        assert process.returncode == 5

    run(main())


# ---- while steps block


def test_an_end_is_noticed_while_a_step_is_rescued(rescuing_loop):
    async def main():
        with gates(1) as [gate]:
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)

            async def block():
                gate.wait()

            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            assert await process.communicate(b"hello") == (b"hello", None)
            assert await process.wait() == 0
            assert not blocked.done()
            gate.open()
            await blocked

    rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop)


def test_a_step_that_blocks_in_waitpid_of_its_own_child_is_rescued(rescuing_loop):
    """subprocess.run in one task, asyncio's subprocesses in another: each gets its own."""

    async def main():
        async def blocking():
            return subprocess.run(["cat"], input=b"x" * 100_000, capture_output=True).stdout

        async def waiting(number):
            return await (await asyncio.create_subprocess_shell(f"exit {number}")).wait()

        results = await asyncio.gather(blocking(), *(waiting(number) for number in range(10)), blocking())
        assert results == [b"x" * 100_000, *range(10), b"x" * 100_000]

    rescuing_loop.run_until_complete(main())


def test_a_step_that_starts_a_process_on_one_thread_may_wait_on_another(rescuing_loop):
    async def main():
        with gates(1) as [gate]:

            async def block():
                gate.wait()

            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            relief = threading.current_thread()
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            gate.open()
            await blocked
            while threading.current_thread() is relief:
                await asyncio.sleep(0)
            assert await process.communicate(b"hello") == (b"hello", None)

    rescuing_loop.run_until_complete(main())


def test_a_loop_on_another_thread_runs_processes():
    results = []

    async def main():
        process = await asyncio.create_subprocess_shell("cat; exit 4", stdin=PIPE, stdout=PIPE)
        results.append(await process.communicate(b"hello"))
        results.append(process.returncode)

    thread = threading.Thread(target=everloop.run, args=[main()])
    thread.start()
    thread.join()
    assert results == [(b"hello", None), 4]


# ---- child watchers, where the interpreter has them


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there are none any more")
@pytest.mark.parametrize(
    "name",
    # Not MultiLoopChildWatcher, which loses statuses on asyncio's own loop when its handler interrupts itself.
    ["ThreadedChildWatcher", "PidfdChildWatcher", "SafeChildWatcher", "FastChildWatcher"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_child_watcher_works(run, name):
    needs_main_thread = name in ("SafeChildWatcher", "FastChildWatcher")
    if needs_main_thread and run.name == "aside":
        pytest.skip("it sets a signal handler, which Python allows on the main thread alone")
    watcher = getattr(asyncio.unix_events, name)()

    async def main():
        if needs_main_thread:
            watcher.attach_loop(asyncio.get_running_loop())

        async def status(number):
            process = await asyncio.create_subprocess_shell(f"cat; exit {number}", stdin=PIPE, stdout=PIPE)
            assert await process.communicate(b"hello") == (b"hello", None)
            return process.returncode

        assert await asyncio.gather(*map(status, range(10))) == list(range(10))
        if needs_main_thread:
            watcher.close()

    policy = asyncio.get_event_loop_policy()
    before = policy._watcher
    policy._watcher = watcher
    try:
        run(main())
    finally:
        watcher.close()
        policy._watcher = before
