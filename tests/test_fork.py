"""A forked child runs loops of its own and leaves those of its parent alone; multiprocessing works from a loop.

What happens to steps that are aside at a fork is in test_ends_while_aside.py.
"""

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import os
import signal
import socket
import sys
import threading
import traceback
import warnings

import pytest

import everloop
from everloop import _native
from support import gates, run_script, wait_aside

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

START_METHODS = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])


def in_child(function):
    """Fork, run it in the child, and return what it wrote; the child never comes back to the caller."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, repr(function()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text


async def work():
    """Uses timers, a thread, a socket and a subprocess."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.001)
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.send(b"hello")
        received = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
    process = await asyncio.create_subprocess_shell("exit 3")
    return await loop.run_in_executor(None, sum, [1, 2]), received, await process.wait()


WORKED = repr((3, b"hello", 3))


def double(number):
    return number * 2


def run_loop_and_double(number):
    async def main():
        await asyncio.sleep(0)
        return number * 2

    return everloop.run(main(), rescue=True)


# ---- fork in a coroutine


@pytest.mark.parametrize("new_run", [asyncio.run, everloop.run], ids=["asyncio.run", "everloop.run"])
def test_a_child_of_a_step_runs_a_loop_of_its_own(run, new_run):
    async def main():
        loop = asyncio.get_running_loop()
        ticks = []
        loop.call_later(0.001, ticks.append, "of the parent")
        text = in_child(lambda: new_run(work()))
        while not ticks:
            await asyncio.sleep(0)
        return text, ticks

    assert run(main()) == (WORKED, ["of the parent"])


def test_a_child_does_not_disturb_what_its_parent_watches(run):
    """They share the poller's kernel object until the child is gone: closing or forgetting must stay in the child."""

    async def main():
        loop = asyncio.get_running_loop()
        with gates(1) as [gate]:
            seen = []
            loop.add_reader(gate.reader, lambda: seen.append(gate.wait()))

            def child():
                import gc

                os.close(gate.reader)
                gc.collect()
                return everloop.run(asyncio.sleep(0, "child"))

            assert in_child(child) == "'child'"
            gate.open()
            while not seen:
                await asyncio.sleep(0)
            loop.remove_reader(gate.reader)

    run(main())


def test_a_child_forked_by_an_executor_s_thread_runs_a_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, in_child, lambda: everloop.run(work()))

    assert run(main()) == WORKED


def test_a_child_forked_while_threads_of_a_pool_live_runs_a_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        with gates(3) as opened:
            waiting = [loop.run_in_executor(None, gate.wait) for gate in opened]
            text = in_child(lambda: everloop.run(work()))
            for gate in opened:
                gate.open()
            await asyncio.gather(*waiting)
        return text

    assert run(main()) == WORKED


def test_a_child_forked_between_runs_goes_on_with_the_parent_s_loop(loop):
    """As with asyncio's, which shares the selector: no other use of the loop may be made in the parent meanwhile."""
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
    assert in_child(lambda: everloop.run(work())) == WORKED
    assert loop.run_until_complete(asyncio.sleep(0, 2)) == 2


def test_a_child_rescues_too(rescuing_loop):
    def child():
        async def main():
            with gates(1) as [gate]:

                async def block():
                    return gate.wait()

                blocked = asyncio.create_task(block())
                await asyncio.sleep(0)
                gate.open()
                return await blocked

        return everloop.run(main(), rescue=True)

    async def main():
        with gates(1) as [gate]:

            async def block():
                gate.wait()

            blocked = asyncio.create_task(block())
            await wait_aside(rescuing_loop)
            text = in_child(child)  # from a relief thread, which is the child's main thread then
            gate.open()
            await blocked
            return text

    assert rescuing_loop.run_until_complete(main()) == repr(b"o")


def test_signals_of_the_parent_s_loop_stay_there(loop):
    async def main():
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)

        def child():
            signal.set_wakeup_fd(-1)  # shared with the parent, on every loop
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGUSR1)
            return everloop.run(asyncio.sleep(0, "child"))

        assert in_child(child) == "'child'"
        assert not seen.is_set()
        os.kill(os.getpid(), signal.SIGUSR1)
        await seen.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


# ---- steps that are aside in the parent


def deep(levels):
    return 0 if levels == 0 else 1 + deep(levels - 1)


def monitoring_of(code):
    """Our events of sys.monitoring: for all code, and for this."""
    tools = [number for number in range(6) if sys.monitoring.get_tool(number) == "everloop"]
    events = [(sys.monitoring.get_events(tool), sys.monitoring.get_local_events(tool, code)) for tool in tools]
    return [seen for seen in events if any(seen)]


def test_nothing_waits_in_a_child_for_a_step_of_its_parent_that_was_rescued(rescuing_loop, witness):
    with gates(1) as [gate]:

        def read():
            return os.read(gate.reader, 1)

        def look():
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(10_000 + limit)
            return monitoring_of(read.__code__), deep(10_000)  # Python code is on its own again, and not on top of C

        def child():
            _native.forget_sites()  # what is learned may stay
            return look()

        async def block():
            result = read()
            with witness:
                return result

        async def main():
            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop)
            in_the_child = in_child(child)
            witness.open_and_linger(gate.open)
            return in_the_child, await blocked

        assert rescuing_loop.run_until_complete(main()) == (repr(([], 10_000)), b"o")
        assert witness.overlaps == []


def at_home_with_others_aside(loop, function, others):
    """Run `function()` in a step on the main thread, while each of `others` is aside on a thread of its own."""

    async def main():
        with gates(1) as [gate]:

            async def keep_home():
                with everloop.blocking():
                    gate.wait()

            home = asyncio.create_task(keep_home())
            await asyncio.sleep(0)
            aside = [asyncio.create_task(other()) for other in others]
            await wait_aside(loop, 1 + len(others))
            gate.open()
            await home
            while threading.current_thread() is not threading.main_thread():
                await asyncio.sleep(0)
            await function()
            return await asyncio.gather(*aside)

    return loop.run_until_complete(main())


async def fork_and_go_on(child):
    """The child goes on with this loop, runs the coroutine `child()`, and is never seen again."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio._set_running_loop(loop)  # which asyncio forgets in a child, and from CPython 3.14 on the task too
            if asyncio.current_task() is None:
                asyncio.tasks._enter_task(loop, task)
            await child()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_goes_on_though_a_thread_of_its_parent_waits_in_block_on(loop):
    """What that waits for ends in the child as well, where nobody waits."""
    event = asyncio.Event()

    async def wait():
        return everloop.block_on(event.wait())

    async def child():
        event.set()
        for _ in range(10):
            await asyncio.sleep(0)

    async def function():
        await fork_and_go_on(child)
        event.set()

    assert at_home_with_others_aside(loop, function, [wait]) == [True]


def test_a_child_tells_of_what_waited_for_a_step_of_its_parent(loop, caplog):
    """Its context is entered for ever there."""
    context = contextvars.copy_context()
    ran = []

    with gates(1) as [gate]:

        def block():
            with everloop.blocking():
                gate.wait()

        async def other():
            loop.call_soon(block, context=context)
            loop.call_soon(ran.append, "after the step", context=context)

        async def child():
            for _ in range(10):
                await asyncio.sleep(0)
            assert "is already entered" in caplog.text
            assert ran == []

        async def function():
            await fork_and_go_on(child)
            gate.open()
            while not ran:
                await asyncio.sleep(0)

        at_home_with_others_aside(loop, function, [other])
        assert ran == ["after the step"]


# ---- multiprocessing


@START_METHODS
def test_a_pool_of_processes_works_from_a_running_loop(method):
    """In a script of its own: a fork server would outlive the test."""
    script = f"""
        import asyncio, concurrent.futures, multiprocessing, sys, warnings
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import everloop, test_fork

        async def main():
            loop = asyncio.get_running_loop()
            context = multiprocessing.get_context({method!r})
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                for function in (test_fork.double, test_fork.run_loop_and_double):
                    print(await asyncio.gather(*(loop.run_in_executor(pool, function, n) for n in range(4))))

        everloop.run(main())
    """
    ran = run_script(script)
    assert (ran.returncode, ran.stdout) == (0, "[0, 2, 4, 6]\n" * 2), ran.stderr


def test_a_process_is_joined_by_a_step_that_is_rescued(rescuing_loop):
    async def main():
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        with receiver, sender:
            process = context.Process(target=lambda: sender.send(run_loop_and_double(21)))

            async def join():
                process.start()
                process.join()
                return receiver.recv()

            joining = asyncio.create_task(join())
            assert await joining == 42
            process.close()

    rescuing_loop.run_until_complete(main())


def test_a_thread_that_is_not_the_loop_s_may_fork(loop):
    texts = []

    async def main():
        def fork():
            texts.append(in_child(lambda: everloop.run(work())))
            loop.call_soon_threadsafe(done.set)

        done = asyncio.Event()
        thread = threading.Thread(target=fork)
        thread.start()
        await done.wait()
        thread.join()

    loop.run_until_complete(main())
    assert texts == [WORKED]


def test_a_pool_of_threads_is_new_in_the_child():
    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            assert await asyncio.to_thread(double, 1) == 2
            return in_child(lambda: everloop.run(asyncio.to_thread(double, 2)))

    assert everloop.run(main()) == "4"


@pytest.mark.parametrize("when", ["before", "after_in_parent"])
def test_threads_run_loops_while_another_package_s_hook_waits_at_a_fork(when):
    script = """
        import os, sys, threading, warnings

        begun, ended = threading.Event(), threading.Event()

        def hook():
            begun.set()
            ended.wait()

        os.register_at_fork(**{sys.argv[1]: hook})
        import everloop

        async def nothing():
            pass

        def run_loop():
            begun.wait()
            loop.run_until_complete(nothing())
            ended.set()

        loop = everloop.new_event_loop()
        thread = threading.Thread(target=run_loop)
        thread.start()
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        thread.join()
        loop.close()
    """
    ran = run_script(script, when, timeout=15)
    assert ran.returncode == 0, ran.stderr
