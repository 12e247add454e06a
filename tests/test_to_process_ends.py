"""to_process: what is cancelled is gone, and no process outlives its call, its loop or its parent; forks.

What a call does otherwise is in test_to_process.py.
"""

import asyncio
import math
import os
import select
import signal

import pytest

import everloop
import process_work
from everloop.bridge.processes import process_pool
from process_support import exists, visit
from support import run_script, started_script, wait_until
from test_fork import in_child

pytestmark = pytest.mark.usefixtures("fork_server")


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


def test_a_process_that_dies_when_it_was_given_to_a_call_is_replaced(loop, hall):
    loop.max_processes = 1

    async def main():
        async with hall:
            first, second = visit(hall, "first"), visit(hall, "second")
            visitor = await hall.next()
            await asyncio.sleep(0)

            # in one step it answers and dies, so the loop hears of both at once
            [worker] = loop._belongings[process_pool.ProcessPool]._workers
            visitor.let_go()
            select.select([worker._socket], [], [])
            os.kill(visitor.pid, signal.SIGKILL)
            wait_until(lambda: not exists(visitor.pid))

            assert await first == visitor.pid
            visitor = await hall.next()
            visitor.let_go()
            assert await second == visitor.pid

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
    assert loop._belongings[process_pool.ProcessPool]._workers == set()


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
        loop.slow_callback_duration = 60  # a busy machine is no news here
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
    ran = run_script(f"""
        import asyncio, os, signal, sys, time
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import process_support
        from multiprocessing import forkserver
        import everloop

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news here
            pid = await everloop.to_process(os.getpid)
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            call = asyncio.create_task(everloop.to_process(time.sleep, 3600))
            await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            print(process_support.exists(pid), await everloop.to_process(os.getpid) != pid)

        everloop.run(main())
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "False True\n", "")


# ---- fork


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
        loop.slow_callback_duration = 60  # a busy machine is no news here
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
