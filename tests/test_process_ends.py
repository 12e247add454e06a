"""to_process: no process outlives its loop or its parent; forks, and the main module."""

import asyncio
import os
import subprocess
import sys

import pytest

import everloop
from everloop.bridge import worker_pool
from process_support import Hall, exists, visit
from support import PATIENCE, run_script, started_script, wait_until
from test_fork import in_child

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture
def hall(tmp_path):
    return Hall(str(tmp_path / "hall"))


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
