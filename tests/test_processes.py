"""to_process: functions computed by other processes, none of which spoils the call of another or outlives its loop."""

import asyncio
import contextlib
import functools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

import everloop
import process_work
from everloop.bridge import worker_pool
from support import PATIENCE, run_script, started_script, wait_until
from test_fork import in_child

pytestmark = pytest.mark.usefixtures("fork_server")


class Visitor:
    """A call that is in the middle of `visit`, in its process."""

    def __init__(self, name, pid, reader, writer):
        self.name, self.pid, self._reader, self._writer = name, pid, reader, writer

    def let_go(self):
        self._writer.write(b"x")

    async def wait_gone(self):
        await self._reader.read()


class Hall:
    """Where calls come by and stay until they are let go: the test knows what runs without looking at a clock."""

    def __init__(self, address):
        self.address = address
        self._visitors = asyncio.Queue()

    async def next(self):
        async with asyncio.timeout(PATIENCE / 2):
            return await self._visitors.get()

    @property
    def is_empty(self):
        return self._visitors.empty()

    async def _enter(self, reader, writer):
        name, pid = (await reader.readline()).decode().split()
        self._visitors.put_nowait(Visitor(name, int(pid), reader, writer))
        self._writers.append(writer)

    async def __aenter__(self):
        self._writers = []
        self._server = await asyncio.start_unix_server(self._enter, self.address)
        return self

    async def __aexit__(self, *exc_info):
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()


@pytest.fixture
def hall(tmp_path):
    return Hall(str(tmp_path / "hall"))


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def visit(hall, name="visitor"):
    return asyncio.create_task(everloop.to_process(process_work.visit, hall.address, name))


# ---- a call


def test_a_function_is_called_in_another_process(loop):
    async def main():
        assert await everloop.to_process(process_work.show, 1, "two", three=[3]) == ((1, "two"), {"three": [3]})
        assert await everloop.to_process(os.getpid) != os.getpid()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (process_work.Callable(), 41),
        (process_work.Callable().method, 42),
        (functools.partial(math.pow, 2), 2.0**40),
        (str, "40"),
        ("{:d}".format, "40"),
    ],
    ids=["object", "method", "partial", "class", "builtin method"],
)
def test_any_callable_that_pickles_will_do(loop, function, expected):
    assert loop.run_until_complete(everloop.to_process(function, 40)) == expected


def test_it_works_in_debug_mode_and_with_rescue():
    async def main():
        return await asyncio.gather(*(everloop.to_process(math.factorial, number) for number in range(6)))

    assert everloop.run(main(), debug=True, rescue=True) == [1, 1, 2, 6, 24, 120]


def test_other_tasks_run_meanwhile(loop, hall):
    async def main():
        async with hall:
            call = visit(hall)
            visitor = await hall.next()  # the loop serves the hall
            assert not call.done()
            visitor.let_go()
            assert await call == visitor.pid

    loop.run_until_complete(main())


def test_a_process_computes_with_processes_of_its_own(loop):
    outer, inner = loop.run_until_complete(everloop.to_process(process_work.ask_another_process))
    assert len({os.getpid(), outer, inner}) == 3


def test_its_stdin_is_empty(loop):
    assert loop.run_until_complete(everloop.to_process(process_work.read_stdin)) == ("", b"")


def test_what_it_prints_is_out_before_the_call_returns():
    ran = run_script("""
        import everloop

        async def main():
            await everloop.to_process(print, "in the process")
            print("after it", flush=True)

        everloop.run(main())
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "in the process\nafter it\n", "")


def test_an_interrupt_is_left_to_the_parent(loop):
    """Ctrl-C reaches all processes of a terminal; the one that runs the loop decides what ends."""
    assert loop.run_until_complete(everloop.to_process(process_work.interrupt_oneself)) == "not interrupted"


# ---- how many there are


def test_a_process_is_kept_for_the_next_call(loop):
    async def main():
        return {await everloop.to_process(os.getpid) for _ in range(5)}

    assert len(loop.run_until_complete(main())) == 1
    assert len(loop.run_until_complete(main()) | loop.run_until_complete(main())) == 1


def test_there_are_as_many_as_processors_by_default(loop):
    async def main():
        await everloop.to_process(os.getpid)
        return loop._belongings[worker_pool.WorkerPool]._limit()

    assert loop.run_until_complete(main()) == len(os.sched_getaffinity(0))


def test_calls_beyond_the_limit_wait_in_order(loop, hall):
    loop.max_processes = 2

    async def main():
        async with hall:
            calls = [visit(hall, str(number)) for number in range(6)]
            inside = [await hall.next(), await hall.next()]
            for _ in range(10):
                await asyncio.sleep(0)
            assert hall.is_empty
            assert {visitor.name for visitor in inside} == {"0", "1"}

            names = []
            while inside:
                inside.pop(0).let_go()
                if len(names) < 4:
                    inside.append(await hall.next())
                    names.append(inside[-1].name)
            assert names == ["2", "3", "4", "5"]
            assert len(set(await asyncio.gather(*calls))) == 2

    loop.run_until_complete(main())


def test_a_limit_below_one_is_refused(loop):
    loop.max_processes = 0
    with pytest.raises(ValueError, match="max_processes must be at least 1, but is 0"):
        loop.run_until_complete(everloop.to_process(os.getpid))


def test_many_calls_come_back_each_with_its_own_result(loop):
    async def main():
        return await asyncio.gather(*(everloop.to_process(math.factorial, number) for number in range(300)))

    assert loop.run_until_complete(main()) == [math.factorial(number) for number in range(300)]


def test_an_idle_process_goes_after_a_while_and_the_next_call_has_a_new_one(loop, monkeypatch):
    monkeypatch.setattr(worker_pool, "IDLE_SECONDS", 0)

    async def main():
        first = await everloop.to_process(os.getpid)
        while exists(first):
            await asyncio.sleep(0.001)
        assert await everloop.to_process(os.getpid) != first

    loop.run_until_complete(main())


# ---- what goes along


def test_a_large_argument_does_not_block_the_loop(loop):
    """The process is stopped, so it reads nothing: everything but that call goes on."""

    async def main():
        pid = await everloop.to_process(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        call = asyncio.create_task(everloop.to_process(process_work.length, bytes(20_000_000)))
        await asyncio.sleep(0.001)
        assert not call.done()
        os.kill(pid, signal.SIGCONT)
        assert await call == 20_000_000
        assert await everloop.to_process(os.getpid) == pid

    loop.run_until_complete(main())


def test_a_large_result_arrives_whole(loop):
    async def main():
        result = await everloop.to_process(process_work.repeat, b"0123456789", 2_000_000)
        assert result == b"0123456789" * 2_000_000

    loop.run_until_complete(main())


def test_context_variables_go_along_and_changes_stay_there(loop):
    async def main():
        process_work.language.set("Esperanto")
        process_work.unfit.set(threading.Lock())
        assert await everloop.to_process(process_work.read_variables) == ("Esperanto", "none")
        assert process_work.language.get() == "Esperanto"

    loop.run_until_complete(main())
    # the same process, another context
    assert loop.run_until_complete(everloop.to_process(process_work.read_variables)) == ("none", "none")


# ---- errors of one call


def test_an_exception_comes_back_with_the_traceback_from_there(loop):
    async def main():
        with pytest.raises(KeyError, match="what it was given") as caught:
            await everloop.to_process(process_work.fail, "what it was given")
        cause = str(caught.value.__cause__)
        assert "raise KeyError(text)" in cause
        assert "process_work.py" in cause
        assert "worker_process.py" not in cause

    loop.run_until_complete(main())


def test_leaving_the_interpreter_is_an_exception_as_on_a_thread(loop):
    async def main():
        with pytest.raises(SystemExit, match="leaving"):
            await everloop.to_process(process_work.leave)
        return await everloop.to_process(math.factorial, 4)

    assert loop.run_until_complete(main()) == 24


POISON = {
    "an exception that cannot be unpickled": (
        process_work.fail_with_two_arguments,
        [r"process_work\.fail_with_two_arguments", "TwoArgumentsError: not found", "__reduce__"],
        "raise TwoArgumentsError",
    ),
    "an exception that cannot be pickled": (
        process_work.fail_with_a_lock,
        [r"process_work\.fail_with_a_lock", "LockedError, which cannot be pickled", "lock"],
        "raise LockedError",
    ),
    "a result that cannot be pickled": (
        process_work.return_a_lock,
        [r"process_work\.return_a_lock", "its result, an object of type lock, cannot be pickled"],
        "cannot pickle",
    ),
    "a result that cannot be unpickled": (
        process_work.return_a_bomb,
        [r"process_work\.return_a_bomb", "what it returned cannot be unpickled here", "this bomb goes off"],
        "this bomb goes off",
    ),
    "an argument that cannot be unpickled": (
        functools.partial(process_work.show, process_work.Bomb()),
        [r"process_work\.show", "the call cannot be unpickled in the process", "this bomb goes off"],
        "explode_outside",
    ),
}


@pytest.mark.parametrize("poison", POISON)
def test_what_cannot_cross_fails_its_own_call_only(loop, hall, poison):
    function, parts, remote = POISON[poison]
    loop.max_processes = 2

    async def main():
        async with hall:
            innocent = visit(hall)
            visitor = await hall.next()
            with pytest.raises(everloop.TransferError) as caught:
                await everloop.to_process(function)
            for part in parts:
                assert caught.match(part)
            assert remote in str(caught.value.__cause__)

            assert await everloop.to_process(math.factorial, 5) == 120
            visitor.let_go()
            assert await innocent == visitor.pid

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((lambda: None,), "the function, an object of type function,"),
        ((process_work.show, 1, threading.Lock()), "argument 2, an object of type lock,"),
        ((functools.partial(process_work.show, key=1), [lambda: None]), "argument 1, an object of type list,"),
    ],
    ids=["function", "argument", "inside"],
)
def test_what_cannot_be_sent_is_named_and_starts_nothing(loop, arguments, culprit):
    async def main():
        with pytest.raises(everloop.TransferError, match=culprit) as caught:
            await everloop.to_process(*arguments)
        assert caught.match("top of a module")
        assert caught.value.__cause__ is not None

    loop.run_until_complete(main())
    assert not loop._belongings


@pytest.mark.parametrize(("how", "told"), [("kill", "ended by signal 9"), ("exit", "ended with exit code 3")])
def test_a_process_that_dies_fails_its_own_call_only(loop, hall, how, told):
    loop.max_processes = 2

    async def main():
        async with hall:
            innocent = visit(hall)
            visitor = await hall.next()
            with pytest.raises(everloop.WorkerDiedError, match=told) as caught:
                await everloop.to_process(process_work.die, how)
            assert caught.match(r"to_process\(process_work\.die\)")

            assert await everloop.to_process(math.factorial, 5) == 120
            visitor.let_go()
            assert await innocent == visitor.pid

    loop.run_until_complete(main())


def test_a_process_that_dies_is_noticed_though_a_child_of_it_lives(loop):
    async def main():
        with pytest.raises(everloop.WorkerDiedError, match="signal 9"):
            await everloop.to_process(process_work.die_with_a_child_left)

    loop.run_until_complete(main())


@pytest.mark.parametrize("pause", [False, True], ids=["just now", "a while ago"])
def test_an_idle_process_that_was_killed_concerns_nobody(loop, pause):
    async def main():
        first = await everloop.to_process(os.getpid)
        descriptor = os.pidfd_open(first)
        os.kill(first, signal.SIGKILL)
        multiprocessing.connection.wait([descriptor])
        os.close(descriptor)
        if pause:
            while exists(first) or loop._belongings[worker_pool.WorkerPool]._workers:
                await asyncio.sleep(0.001)
        assert await everloop.to_process(os.getpid) != first

    loop.run_until_complete(main())


def test_a_process_that_cannot_be_started_fails_the_call_that_waits_for_it(loop, monkeypatch):
    context = multiprocessing.get_context("forkserver")

    class NoProcess(context.Process):
        def start(self):
            raise OSError("no more processes")

    async def main():
        monkeypatch.setattr(type(context), "Process", NoProcess)
        with pytest.raises(OSError, match="no more processes"):
            await everloop.to_process(os.getpid)
        monkeypatch.undo()
        return await everloop.to_process(math.factorial, 5)

    assert loop.run_until_complete(main()) == 120


# ---- cancelling


def test_cancelling_kills_that_process_and_no_other(loop, hall):
    loop.max_processes = 2

    async def main():
        async with hall:
            calls = {"victim": visit(hall, "victim"), "innocent": visit(hall, "innocent")}
            visitors = {visitor.name: visitor for visitor in [await hall.next(), await hall.next()]}
            calls["victim"].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls["victim"]
            assert not exists(visitors["victim"].pid)

            # the slot is free again
            third = visit(hall, "third")
            visitors["third"] = await hall.next()
            visitors["innocent"].let_go()
            visitors["third"].let_go()
            assert await calls["innocent"] == visitors["innocent"].pid
            assert await third == visitors["third"].pid

    loop.run_until_complete(main())


def test_cancelling_frees_the_slot_for_who_waits(loop, hall):
    loop.max_processes = 1

    async def main():
        async with hall:
            first, second = visit(hall, "first"), visit(hall, "second")
            visitor = await hall.next()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert not exists(visitor.pid)
            visitor = await hall.next()
            assert visitor.name == "second"
            visitor.let_go()
            assert await second == visitor.pid

    loop.run_until_complete(main())


def test_a_timeout_kills_the_process(loop, hall):
    async def main():
        async with hall:
            call = visit(hall)
            visitor = await hall.next()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await call
            assert not exists(visitor.pid)

    loop.run_until_complete(main())


def test_even_c_code_that_keeps_the_gil_is_ended(loop, hall):
    async def main():
        async with hall:
            call = asyncio.create_task(everloop.to_process(process_work.visit_and_compute, hall.address))
            visitor = await hall.next()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not exists(visitor.pid)

    loop.run_until_complete(main())


def test_a_second_cancel_does_not_hasten_the_first(loop, hall):
    async def main():
        async with hall:
            call = visit(hall)
            visitor = await hall.next()
            for _ in range(3):
                call.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not exists(visitor.pid)

    loop.run_until_complete(main())


def test_what_still_waits_is_never_begun(loop, hall):
    loop.max_processes = 1

    async def main():
        async with hall:
            first, second, third = (visit(hall, name) for name in ("first", "second", "third"))
            visitor = await hall.next()
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            visitor.let_go()
            assert (await hall.next()).name == "third"
            third.cancel()
            await asyncio.wait([first, third])

    loop.run_until_complete(main())


def test_a_call_that_is_cancelled_while_its_process_starts_leaves_that_to_the_next(loop):
    loop.max_processes = 1

    async def main():
        call = asyncio.create_task(everloop.to_process(process_work.die, "kill"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await everloop.to_process(math.factorial, 5)

    assert loop.run_until_complete(main()) == 120


def test_a_process_given_to_a_call_in_the_turn_of_its_cancel_is_not_lost(loop, hall):
    loop.max_processes = 1

    async def main():
        async with hall:

            async def call_and_cancel_the_next():
                pid = await everloop.to_process(process_work.visit, hall.address)
                second.cancel()  # in the step in which the process was handed on
                return pid

            first = asyncio.create_task(call_and_cancel_the_next())
            visitor = await hall.next()
            second = visit(hall, "second")
            await asyncio.sleep(0)
            visitor.let_go()
            await asyncio.wait([first, second])
            assert await first == visitor.pid
            assert second.cancelled()
            assert hall.is_empty
            assert await everloop.to_process(math.factorial, 5) == 120

    loop.run_until_complete(main())


def test_a_shield_lets_the_call_go_on(loop, hall):
    async def main():
        async with hall:
            call = visit(hall)
            outer = asyncio.shield(call)
            visitor = await hall.next()
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            visitor.let_go()
            assert await call == visitor.pid

    loop.run_until_complete(main())


# ---- the end


def test_processes_end_with_their_loop(loop):
    loop.max_processes = 2

    async def main():
        return await asyncio.gather(*(everloop.to_process(os.getpid) for _ in range(20)))

    pids = set(loop.run_until_complete(main()))
    loop.close()
    assert [pid for pid in pids if exists(pid)] == []


def test_a_call_in_flight_ends_with_its_loop(loop, hall):
    pids = []

    async def main():
        async with hall:
            call = visit(hall)
            waiting.append(call)
            pids.append((await hall.next()).pid)

    waiting = []
    loop.run_until_complete(main())
    loop.close()
    assert not exists(pids[0])
    waiting[0]._log_destroy_pending = False


def test_a_process_that_is_being_started_ends_with_its_loop(loop):
    async def main():
        call = asyncio.create_task(everloop.to_process(os.getpid))
        await asyncio.sleep(0)
        return call

    call = loop.run_until_complete(main())
    loop.close()
    call._log_destroy_pending = False
    assert loop._belongings[worker_pool.WorkerPool]._workers == set()


def test_run_cancels_what_is_left_and_leaves_no_process(hall):
    pids = []

    async def main():
        async with hall:
            asyncio.get_running_loop()._call = visit(hall)
            pids.append((await hall.next()).pid)

    everloop.run(main())
    assert not exists(pids[0])


def test_an_interpreter_that_ends_without_closing_its_loop_ends_its_processes():
    ran = run_script("""
        import os, sys, time, warnings
        import everloop

        loop = everloop.new_event_loop()
        print(loop.run_until_complete(everloop.to_process(os.getpid)))
        task = loop.create_task(everloop.to_process(time.sleep, 3600))
        task._log_destroy_pending = False
        sleeping = loop.create_task(everloop.to_process(os.getpid))
        print(loop.run_until_complete(sleeping))
        warnings.simplefilter("ignore", ResourceWarning)  # of the loop
    """)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [pid for pid in ran.stdout.split() if exists(int(pid))] == []


@pytest.mark.parametrize("busy", ["time.sleep, 3600", "sum, range(10**15)", "os.getpid"])
def test_no_process_outlives_its_parent(busy):
    """However the parent ends, and whatever the process does: here it is killed, and C code keeps the process's GIL."""
    with started_script(f"""
        import asyncio, os, sys, time
        import everloop

        async def main():
            asyncio.get_running_loop().max_processes = 1
            print(await everloop.to_process(os.getpid))
            call = asyncio.create_task(everloop.to_process({busy}))
            await asyncio.sleep(0)
            print("begun")
            await asyncio.Event().wait()

        everloop.run(main())
    """) as process:
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "begun\n"
        process.kill()
        process.communicate()
    wait_until(lambda: not exists(pid), "the end of the process")


def test_it_kills_also_when_the_fork_server_was_killed(hall):
    """multiprocessing then takes a process for ended that is not. In a script: the fork server is the tests' own."""
    ran = run_script("""
        import asyncio, os, signal, time
        from multiprocessing import forkserver
        import everloop

        async def main():
            pid = await everloop.to_process(os.getpid)
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            call = asyncio.create_task(everloop.to_process(time.sleep, 3600))
            await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    state = stat.read().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                state = "gone"
            print(state in ("gone", "Z", "X"), await everloop.to_process(os.getpid) != pid)

        everloop.run(main())
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True\n", "")


# ---- fork, and the main module


FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@FORKS
def test_a_forked_child_has_processes_of_its_own(loop, hall):
    async def main():
        async with hall:
            pid = await everloop.to_process(os.getpid)
            call = visit(hall)
            visitor = await hall.next()
            other = int(in_child(lambda: everloop.run(everloop.to_process(os.getpid))))
            assert other not in (pid, os.getpid())
            visitor.let_go()
            assert await call == visitor.pid == pid

    loop.run_until_complete(main())


@FORKS
def test_a_forked_child_that_goes_on_with_its_parent_s_loop_is_told_what_to_do(loop, hall):
    loop.max_processes = 1

    async def begin():
        await hall.__aenter__()
        calls = [visit(hall), visit(hall)]
        return await hall.next(), calls

    async def child(calls):
        calls.append(asyncio.create_task(everloop.to_process(os.getpid)))
        return [str(error) for error in await asyncio.gather(*calls, return_exceptions=True)]

    visitor, calls = loop.run_until_complete(begin())
    told = in_child(lambda: loop.run_until_complete(child(calls)))
    assert told.count("before the process was forked; in the child, run a loop of its own with everloop.run()") == 3
    assert exists(visitor.pid)

    async def end():
        visitor.let_go()
        second = await hall.next()
        second.let_go()
        assert await asyncio.gather(*calls) == [visitor.pid, visitor.pid]
        await hall.__aexit__()

    loop.run_until_complete(end())


def test_a_forked_child_ends_well_and_leaves_the_processes_of_its_parent_alone():
    """It ends as a program does: it closes the loop, and multiprocessing's exit handlers run."""
    ran = run_script("""
        import faulthandler, os, sys, warnings
        import everloop

        loop = everloop.new_event_loop()
        pid = loop.run_until_complete(everloop.to_process(os.getpid))
        warnings.simplefilter("ignore")  # the process has threads
        faulthandler.cancel_dump_traceback_later()  # it would wait in the child for its thread
        child = os.fork()
        if child == 0:
            loop.close()
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(loop.run_until_complete(everloop.to_process(os.getpid)) == pid)
        loop.close()
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "7\nTrue\n", "")


def test_a_program_whose_main_module_is_not_guarded_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text("import math, everloop\nprint(everloop.run(everloop.to_process(math.factorial, 5)))\n")
    ran = run_script(f"import runpy, sys; sys.argv = [{str(script)!r}]; runpy.run_path(sys.argv[0], run_name='x')")
    assert ran.stdout == "120\n"  # it is not the main module there

    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("everloop.bridge.process_errors.WorkerDiedError: to_process(math.")
    assert "if __name__ == '__main__'" in ran.stderr.splitlines()[-1]


def test_a_function_of_the_main_module_is_found(tmp_path):
    script = tmp_path / "guarded.py"
    script.write_text(
        "import contextvars, everloop\n"
        "variable = contextvars.ContextVar('variable', default='none')\n"
        "def compute(number): return number + 1, variable.get()\n"
        "async def main():\n"
        "    variable.set('carried')\n"
        "    print(await everloop.to_process(compute, 41))\n"
        "if __name__ == '__main__': everloop.run(main())\n"
    )
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.stdout, ran.stderr) == ("(42, 'carried')\n", "")


# ---- bad input


def test_what_is_not_a_function_is_a_type_error(loop):
    with pytest.raises(TypeError, match="to_process\\(\\) needs a function, not int: 42"):
        loop.run_until_complete(everloop.to_process(42))


@pytest.mark.parametrize(
    "function",
    [
        process_work.coroutine_function,
        functools.partial(process_work.coroutine_function),
        process_work.AsyncCallable(),
    ],
    ids=["function", "partial", "object"],
)
def test_a_coroutine_function_is_a_type_error_that_tells_the_way_out(loop, function):
    with pytest.raises(TypeError, match=r"would only return a coroutine.*everloop\.run"):
        loop.run_until_complete(everloop.to_process(function))


def test_a_generator_function_is_a_type_error_that_tells_the_way_out(loop):
    with pytest.raises(TypeError, match=r"would only return a generator.*returns a list"):
        loop.run_until_complete(everloop.to_process(process_work.generator_function))


def test_without_a_running_everloop_it_says_so():
    with pytest.raises(RuntimeError, match=r"no event loop is running here: start with everloop\.run"):
        everloop.to_process(os.getpid).send(None)

    with asyncio.Runner() as runner, pytest.raises(RuntimeError, match="the loop running here is _UnixSelector"):
        runner.run(everloop.to_process(os.getpid))


def test_importing_everloop_does_not_import_multiprocessing():
    ran = run_script("import sys, everloop; print('multiprocessing' in sys.modules)")
    assert ran.stdout == "False\n"
