"""The end of a child process is seen, with its true status, whatever its children do and whoever else waits."""

import asyncio
import errno
import itertools
import os
import platform
import signal
import threading

import pytest

import everloop
from support import run_script

PIPE = asyncio.subprocess.PIPE

# Linux knows the status of a child that was waited for already.
KEEPS_STATUSES = tuple(map(int, platform.release().split(".")[:2])) >= (6, 15)


@pytest.fixture(autouse=True)
def _no_zombies():
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def wait_until_it_has_ended(pid):
    """It has ended, and nobody has waited for it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def shell(command, **options):
    return await asyncio.create_subprocess_shell(command, **options)


async def ended_unseen():
    """A process that has ended with status 7. The loop has had no turn since, so that it cannot know."""
    process = await shell("read line; exit 7", stdin=PIPE)
    process.stdin.write(b"\n")
    wait_until_it_has_ended(process.pid)
    return process


# ---- grandchildren


def test_wait_ends_with_the_process_though_a_grandchild_keeps_its_pipes(loop):
    async def main():
        process = await shell("exec 3<&0; cat <&3 & exit 7", stdin=PIPE, stdout=PIPE)
        assert await process.wait() == 7
        process.stdin.write(b"still there\n")
        assert await process.stdout.readline() == b"still there\n"
        with pytest.raises(ProcessLookupError):
            process.kill()
        process.stdin.close()
        assert await process.stdout.read() == b""

    loop.run_until_complete(main())


def test_all_who_wait_are_told_and_those_who_gave_up_are_forgotten(loop):
    async def main():
        process = await shell("sleep 1000 & echo $!; read line; exit 7", stdin=PIPE, stdout=PIPE)
        grandchild = int(await process.stdout.readline())
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.wait(), 0)
        waiting = [asyncio.create_task(process.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        process.stdin.write(b"\n")
        assert await asyncio.gather(*waiting) == [7] * 3
        os.kill(grandchild, signal.SIGKILL)
        assert await process.stdout.read() == b""

    loop.run_until_complete(main())


# ---- SIGCHLD

IGNORING = """
    import asyncio, os, signal, sys, threading, warnings
    import everloop

    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def is_ignored():
        with open("/proc/self/status") as status:
            [line] = [line for line in status if line.startswith("SigIgn")]
        return bool(int(line.split()[1], 16) >> signal.SIGCHLD - 1 & 1)

    def is_childless():
        try:
            return os.waitpid(-1, os.WNOHANG) and False
        except ChildProcessError:
            return True

    async def status_of(command):
        process = await asyncio.create_subprocess_shell(command)
        return await process.wait()
"""


def output_of(source):
    # A busy machine may take long to begin a process, and that is then reported.
    done = run_script(IGNORING + source, EVERLOOP_REPORT="off")
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_statuses_are_true_where_sigchld_is_ignored():
    source = """
    async def main():
        print([await status_of(command) for command in ("exit 0", "exit 3", "kill -9 $$")])
        print(await asyncio.gather(*(status_of(f"exit {number}") for number in range(20))) == [*range(20)])

    everloop.run(main())
    thread = threading.Thread(target=lambda: everloop.run(main()))
    thread.start()
    thread.join()
    print(is_ignored(), is_childless())
    """
    assert output_of(source) == ["[0, 3, -9]", "True"] * 2 + ["True True"]


def test_it_is_ignored_again_after_the_last_child_and_leaves_nothing():
    source = """
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        try:
            await asyncio.create_subprocess_exec("/there/is/no/such/program")
        except FileNotFoundError:
            print(is_ignored())
        if not (pid := os.fork()):
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie, for now
        process.stdin.close()
        print(await process.wait(), is_ignored(), is_childless())

    everloop.run(main())
    """
    assert output_of(source) == ["False", "0 True True"]


def test_a_forked_child_ignores_it():
    source = """
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, b"%d" % is_ignored())
            os._exit(0)
        print(os.read(reader, 1), is_ignored())
        process.stdin.close()
        print(await process.wait())

    everloop.run(main())
    """
    assert output_of(source) == ["b'1' False", "0"]


def test_what_the_program_does_with_it_meanwhile_stays():
    source = """
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        signal.signal(signal.SIGCHLD, lambda *args: print("called"))
        process.stdin.close()
        print(await process.wait())

    everloop.run(main())
    print(signal.getsignal(signal.SIGCHLD).__name__)
    """
    assert output_of(source) == ["called", "0", "<lambda>"]


def test_wait_ends_when_it_is_ignored_from_the_start_of_a_child_on():
    source = """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 3", stdin=asyncio.subprocess.PIPE)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        process.stdin.write(b"\\n")
        print(await process.wait())

    logging = __import__("logging")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    everloop.run(main())
    """
    assert output_of(source) == ["3" if KEEPS_STATUSES else "255"]


# ---- others who wait


def test_whoever_waits_through_the_popen_object_is_told_too(loop):
    async def main():
        process = await shell("read line; exit 7", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")
        other = asyncio.create_task(asyncio.to_thread(popen.wait))
        await asyncio.sleep(0)
        process.stdin.write(b"\n")
        assert [await process.wait(), await other] == [7, 7]

    loop.run_until_complete(main())


def test_wait_ends_when_the_program_has_waited_for_any_child(loop, caplog):
    async def main():
        process = await ended_unseen()
        assert os.waitpid(process.pid, 0)[0] == process.pid
        assert await process.wait() == (7 if KEEPS_STATUSES else 255)

    loop.run_until_complete(main())
    assert ("will report returncode 255" in caplog.text) != KEEPS_STATUSES


def test_popen_that_found_no_child_is_not_believed(loop):
    """It says 0 then."""

    async def main():
        process = await ended_unseen()
        os.waitpid(process.pid, 0)
        assert process._transport.get_extra_info("subprocess").poll() == 0
        assert await process.wait() == (7 if KEEPS_STATUSES else 0)

    loop.run_until_complete(main())


# ---- signals


@pytest.mark.parametrize("method", ["kill", "terminate", "send_signal"])
def test_a_process_that_has_ended_unseen_gets_no_signal_and_keeps_its_status(loop, method):
    async def main():
        process = await ended_unseen()
        getattr(process, method)(*[signal.SIGUSR1][: method == "send_signal"])
        assert await process.wait() == 7

    loop.run_until_complete(main())


def test_no_stranger_with_its_number_gets_its_signal(loop, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))

    async def main():
        process = await ended_unseen()
        os.waitpid(process.pid, 0)  # from here on its number may be another's
        process.kill()
        process._transport.close()
        await process.wait()

    loop.run_until_complete(main())
    assert sent == []


# ---- without descriptors


def test_a_thread_waits_where_no_descriptor_is_left(loop, monkeypatch):
    def refuse(pid):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def main():
        process = await shell("read line; exit 7", stdin=PIPE)
        process.stdin.write(b"\n")
        assert await process.wait() == 7
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    loop.run_until_complete(main())
    for thread in threading.enumerate():
        if thread.name.startswith("everloop-waitpid"):
            thread.join()


# ---- cancellation


@pytest.mark.parametrize("cancels", [1, 2])
def test_a_start_that_is_cancelled_leaves_nothing(loop, cancels):
    """At whatever point; whoever looks after the tests finds descriptors that are left open."""

    async def main():
        for turns in itertools.count():
            starting = asyncio.create_task(asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE))
            for _ in range(turns):
                await asyncio.sleep(0)
            if starting.done():
                break
            for _ in range(cancels):
                starting.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await starting
        assert turns > 3
        process = await starting
        process.stdin.close()
        assert await process.wait() == 0
        while everloop_children():
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def everloop_children():
    """Whether there are children that nobody has waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_a_loop_that_is_closed_before_its_child_ends_closes_what_it_had(recwarn):
    loop = everloop.EventLoop(rescue=False)
    nothing = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.DEVNULL)
    starting = loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "1000", **nothing)
    transport, _ = loop.run_until_complete(starting)
    loop.close()
    transport.close()
    assert transport.get_extra_info("subprocess").wait() == -signal.SIGKILL
    assert not [warning for warning in recwarn if "Event loop is closed" in str(warning.message)]
