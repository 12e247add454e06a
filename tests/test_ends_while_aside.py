"""How it ends: errors, interrupts, cancelling, stop, close, exit and fork while steps are aside."""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
import sys
import threading

import pytest

import everloop
from support import gates, interrupt, run_script, started_script, wait_aside, wait_until

BLOCKED_ASIDE = """
import asyncio, os, signal, sys, threading, time
import everloop

reader, writer = os.pipe()

def block():
    with everloop.blocking():
        os.read(reader, 1)

async def blocked():
    block()
"""


async def pass_through(gate):
    with everloop.blocking():
        gate.wait()


async def until_all_are_back(loop):
    while loop.statistics()["aside"]:
        await asyncio.sleep(0)


# ---- what a step raises


@pytest.mark.parametrize("rescue", [False, True])
def test_an_exception_in_a_step_that_was_aside_belongs_to_its_task(gate, rescue):
    loop = everloop.EventLoop(rescue=rescue, rescue_after=0.005)

    async def block():
        if rescue:
            os.read(gate.reader, 1)
        else:
            await pass_through(gate)
        raise KeyError("after the block")

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(KeyError):
            await task
        return "went on"

    assert loop.run_until_complete(main()) == "went on"
    loop.close()


def test_an_exception_in_a_plain_callback_goes_to_the_exception_handler(loop, gate):
    contexts = []

    def block():
        with everloop.blocking():
            gate.wait()
        raise KeyError("after the block")

    loop.set_exception_handler(lambda _, context: (contexts.append(context), loop.stop()))
    loop.call_soon(block)
    loop.call_soon(gate.open)
    loop.run_forever()
    assert isinstance(contexts[0]["exception"], KeyError)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["the step that was aside", "a step on a relief thread"])
def test_an_interrupt_comes_out_of_run_forever_at_home(loop, exception, where):
    """Whichever thread raised it. The loop runs again afterwards, and what was aside goes on."""
    order = []
    with gates(2) as (first, second):

        def block(gate, name, interrupt):
            with everloop.blocking():
                gate.wait()
            order.append(name)
            if interrupt:
                raise exception

        def on_relief():
            assert threading.current_thread() is not threading.main_thread()
            first.open()
            if where == "a step on a relief thread":
                raise exception

        loop.call_soon(block, first, "first", where == "the step that was aside")
        loop.call_soon(block, second, "second", False)
        loop.call_soon(on_relief)
        second_opened = threading.Timer(0.2, second.open)  # in case the end waits for it
        second_opened.start()
        with pytest.raises(exception):
            loop.run_forever()
        second_opened.join()
        loop.run_until_complete(until_all_are_back(loop))
    assert sorted(order) == ["first", "second"]


def test_an_interrupt_on_a_relief_thread_wakes_home_from_its_poll(loop, gate):
    """Home has nothing else to do, and sleeps when a step that was aside elsewhere comes back and fails."""

    def fail():
        with everloop.blocking():
            gate.wait()
        assert threading.current_thread() is not threading.main_thread()
        raise SystemExit

    def go_aside():
        loop.call_soon(fail)
        with everloop.blocking():
            wait_until(lambda: loop.statistics()["aside"] == 2)
        opener.start()

    opener = threading.Timer(0.1, gate.open)  # home sleeps by then; if not, the test shows less
    loop.call_soon(go_aside)
    with pytest.raises(SystemExit):
        loop.run_forever()
    opener.join()


def test_an_interrupt_on_a_relief_thread_loses_no_callback(loop, gate):
    order = []

    def block():
        with everloop.blocking():
            gate.wait()
        order.append("blocked")

    def interrupt():
        gate.open()
        raise KeyboardInterrupt

    for callback in (block, interrupt, lambda: order.append("after the interrupt")):
        loop.call_soon(callback)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(until_all_are_back(loop))
    assert sorted(order) == ["after the interrupt", "blocked"]


def test_an_interrupt_on_a_relief_thread_is_raised_though_home_stops_the_loop(loop, gate):
    def block():
        with everloop.blocking():
            gate.wait()
        loop.stop()  # in the turn in which home comes back: it looks for nothing else

    def interrupt():
        gate.open()
        raise KeyboardInterrupt

    loop.call_soon(block)
    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()


# ---- cancelling


def test_cancelling_a_task_that_is_aside_is_felt_at_its_next_await(loop, gate):
    order = []

    async def block():
        await pass_through(gate)
        order.append("call returned")
        await asyncio.sleep(0)
        order.append("not reached")

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert task.cancel() is True
        await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    loop.run_until_complete(main())
    assert order == ["call returned"]


def test_a_timeout_around_a_blocked_step_is_felt_once_it_is_back(rescuing_loop, gate):
    async def block():
        os.read(gate.reader, 1)
        await asyncio.sleep(60)

    async def main():
        rescuing_loop.call_later(0.05, gate.open)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(block(), 0.02)

    rescuing_loop.run_until_complete(main())


# ---- stop and close


def test_stop_waits_for_the_steps_in_blocking_calls(loop, gate):
    order = []

    def block():
        with everloop.blocking():
            gate.wait()
        order.append("blocked")

    def stop():
        loop.stop()
        loop.call_later(0.005, gate.open)  # the loop still turns
        order.append("stop")

    loop.call_soon(block)
    loop.call_soon(stop)
    loop.run_forever()
    assert order == ["stop", "blocked"]
    assert loop.statistics()["aside"] == 0


def test_stop_from_the_step_that_was_aside(loop, gate):
    def block():
        with everloop.blocking():
            gate.wait()
        loop.stop()

    loop.call_soon(block)
    loop.call_soon(gate.open)
    loop.run_forever()
    assert not loop.is_running()


def test_stop_does_not_wait_for_a_step_in_block_on(loop):
    """It waits for the loop itself. At home its awaited task is cancelled, as the loop cannot leave that thread."""
    order = []

    async def wait():
        try:
            everloop.block_on(asyncio.Event().wait())
        except asyncio.CancelledError:
            order.append("cancelled")
            raise

    task = loop.create_task(wait())
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert order == ["cancelled"]
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.cancelled()


def test_run_until_complete_returns_while_another_task_waits_in_block_on(loop):
    async def wait(event):
        everloop.block_on(event.wait())
        return "waited"

    async def main():
        event = asyncio.Event()
        task = asyncio.create_task(wait(event))
        await asyncio.sleep(0.002)
        event.set()
        return await task

    assert loop.run_until_complete(main()) == "waited"


def test_a_run_that_ends_waits_for_a_blocked_task(gate):
    """`run` cancels what is left; a step in a blocking call feels that when the call returns."""
    order = []

    async def block():
        try:
            await pass_through(gate)
            await asyncio.sleep(60)
        finally:
            order.append("cleaned up")

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.02, gate.open)
        return task

    assert everloop.run(main()).cancelled()
    assert order == ["cleaned up"]


def test_closing_while_a_step_is_aside_ends_that_step(gate):
    """The interrupt got out, the loop was closed, and only then the call returned."""
    loop = everloop.EventLoop(rescue=False)
    errors, relief = [], []

    def block_on_relief():
        relief.append(threading.current_thread())
        try:
            with everloop.blocking():
                gate.wait()
        except RuntimeError as error:
            errors.append(str(error))

    def interrupt():
        raise KeyboardInterrupt

    with gates(1) as (first,):

        def block_at_home():
            with everloop.blocking():
                first.wait()

        def let_home_go():
            first.open()
            loop.call_soon(interrupt)

        loop.call_soon(block_at_home)
        loop.call_soon(block_on_relief)
        loop.call_soon(let_home_go)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert loop.statistics()["aside"] == 1
        loop.close()
        gate.open()
    wait_until(lambda: errors, "the step to end")
    assert errors == ["Event loop is closed"]
    assert relief != [threading.main_thread()]


@pytest.mark.parametrize("rescue", [False, True])
def test_a_step_that_keeps_the_loop_from_stopping_is_named(gate, rescue):
    """By consent or not: without a word nobody would know what the program still waits for."""
    told = []

    class Handler(logging.Handler):
        def emit(self, record):
            if "is to stop" in record.getMessage():
                told.append(record.getMessage())
                gate.open()

    async def main():
        task = asyncio.create_task(wait() if rescue else pass_through(gate), name="the last one")
        await wait_aside(asyncio.get_running_loop())
        return task

    async def wait():
        gate.wait()

    handler = Handler()
    logging.getLogger("everloop").addHandler(handler)
    try:
        with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=rescue, rescue_after=0.005)) as runner:
            runner.run(main())
    finally:
        logging.getLogger("everloop").removeHandler(handler)
    [text] = told
    assert "for a step that is blocked by os.read" in text
    assert 'task "the last one"' in text


# ---- the end of the process


def test_exit_with_a_step_that_never_returns():
    """A relief thread does not hold the interpreter up."""
    script = (
        BLOCKED_ASIDE
        + """
def interrupt():
    print("interrupted", flush=True)
    raise SystemExit(7)

loop = everloop.new_event_loop()
other = threading.Thread(target=loop.run_forever, daemon=True)  # home is not the main thread
loop.call_soon(block)
loop.call_soon(block)
met = threading.Event()
loop.call_soon(met.set)
other.start()
met.wait()
interrupt()
"""
    )
    result = run_script(script)
    assert result.returncode == 7, result.stderr
    assert result.stdout == "interrupted\n"
    assert "Fatal Python error" not in result.stderr


def test_exit_from_a_relief_thread_while_home_is_blocked_for_a_while():
    script = (
        BLOCKED_ASIDE
        + """
async def main():
    task = asyncio.create_task(blocked())
    await asyncio.sleep(0)
    assert threading.current_thread() is not threading.main_thread()
    os.write(writer, b"x")
    sys.exit(7)

everloop.run(main())
"""
    )
    result = run_script(script)
    assert result.returncode == 7, result.stderr
    assert "Fatal Python error" not in result.stderr


def test_os_exit_from_a_relief_thread():
    script = (
        BLOCKED_ASIDE
        + """
async def main():
    task = asyncio.create_task(blocked())
    await asyncio.sleep(0)
    os._exit(5)

everloop.run(main())
"""
    )
    assert run_script(script).returncode == 5


def test_a_normal_end_after_many_relief_threads():
    script = """
import asyncio, everloop, time

async def block():
    time.sleep(0.05)

async def main():
    await asyncio.gather(*(block() for _ in range(20)))
    return "done"

for _ in range(3):
    print(everloop.run(main(), rescue=True))
"""
    result = run_script(script)
    assert (result.returncode, result.stdout) == (0, "done\n" * 3), result.stderr
    assert result.stderr.replace("warning[blocked]", "") == "" or "Error" not in result.stderr


def test_a_step_that_never_returns_stops_nobody(loop):
    """The others are served as long as the loop runs; the step is told apart in the statistics."""
    with gates(1) as (never,):

        async def main():
            task = asyncio.create_task(pass_through(never))
            for _ in range(100):
                await asyncio.sleep(0)
            assert loop.statistics()["aside"] == 1
            assert not task.done()
            never.open()  # so that this test can end
            await task

        loop.run_until_complete(main())


# ---- Ctrl-C


def test_ctrl_c_while_idle():
    script = """
import asyncio, everloop

async def main():
    try:
        print("ready")
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

try:
    everloop.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    with started_script(script) as process:
        assert interrupt(process, "ready")[:2] == (0, "cleaned up\ninterrupted\n")


@pytest.mark.parametrize("how", ["everloop.blocking", "rescue"])
def test_ctrl_c_while_a_step_is_aside_at_home(how):
    """Its Python handler runs inside the blocking call, without the baton, and cancels the main task."""
    script = f"""
import asyncio, contextlib, everloop, os, threading, time

aside = everloop.blocking if {how!r} == "everloop.blocking" else contextlib.nullcontext
reader, writer = os.pipe()

async def block():
    with aside():
        os.read(reader, 1)

async def main():
    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    assert threading.current_thread() is not threading.main_thread()
    print("aside")
    try:
        await asyncio.Event().wait()
    finally:
        os.write(writer, b"x")
        print("cleaned up")

try:
    everloop.run(main(), rescue=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    with started_script(script) as process:
        status, output, errors = interrupt(process, "aside")
    assert (status, output) == (0, "cleaned up\ninterrupted\n"), errors


def test_a_second_ctrl_c_ends_the_blocking_call_itself():
    """The first one cancels the main task, as with asyncio.run; the call that never returns needs the second."""
    script = (
        BLOCKED_ASIDE
        + """
async def main():
    task = asyncio.create_task(blocked())
    await asyncio.sleep(0)
    assert threading.current_thread() is not threading.main_thread()
    print("aside")
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

try:
    everloop.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    with started_script(script) as process:
        assert process.stdout.readline() == "aside\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaned up\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "interrupted\n"), errors


def test_a_signal_handler_on_a_thread_that_is_aside_may_schedule_in_debug_mode(loop, gate):
    """asyncio.Runner's cancels the main task, while that runs on a relief thread."""
    loop.set_debug(True)
    order, handled = [], threading.Event()

    def handle(signum, frame):
        try:
            loop.call_soon(order.append, "scheduled")
        finally:
            handled.set()

    async def main():
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        handled.wait()  # with the baton
        gate.open()
        await task
        await asyncio.sleep(0)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        loop.run_until_complete(main())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert order == ["scheduled"]


def test_ctrl_c_while_a_step_is_aside_on_a_relief_thread():
    """Home is idle in the poller or waits for the baton: the interrupt is seen either way."""
    script = """
import asyncio, everloop, os, threading

first_reader, first_writer = os.pipe()
reader, writer = os.pipe()

async def block(fd):
    with everloop.blocking():
        os.read(fd, 1)

async def main():
    first = asyncio.create_task(block(first_reader))
    second = asyncio.create_task(block(reader))
    await asyncio.sleep(0)
    os.write(first_writer, b"x")
    await first
    print("aside")
    try:
        await asyncio.Event().wait()
    finally:
        os.write(writer, b"x")
        print("cleaned up")

try:
    everloop.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    with started_script(script) as process:
        status, output, errors = interrupt(process, "aside")
    assert (status, output) == (0, "cleaned up\ninterrupted\n"), errors


def test_ctrl_c_in_block_on_cancels_and_waits_for_the_clean_up():
    script = """
import asyncio, everloop

async def inner():
    try:
        print("ready")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up")

async def main():
    everloop.block_on(inner())

try:
    everloop.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    with started_script(script) as process:
        status, output, errors = interrupt(process, "ready")
    assert (status, output) == (0, "cleaned up\ninterrupted\n"), errors


def test_a_signal_handler_runs_while_home_is_aside(loop, gate):
    """add_signal_handler wakes the loop wherever it is; the blocked call at home goes on (PEP 475)."""

    async def main():
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        await seen.wait()
        assert not task.done()
        gate.open()
        await task
        while threading.current_thread() is not threading.main_thread():
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


# ---- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.parametrize("where", ["idle", "aside"])
def test_a_forked_child_can_run_a_loop_of_its_own(where):
    """The parent's threads do not exist in the child; its loop there is no longer running."""
    script = (
        BLOCKED_ASIDE
        + f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads

async def child():
    async def sleep():
        time.sleep(0.05)
        return 1
    with everloop.blocking():
        pass
    everloop.block_on(asyncio.sleep(0))
    return sum(await asyncio.gather(*(sleep() for _ in range(3))))

def fork():
    pid = os.fork()
    if not pid:
        try:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                os._exit(40 + everloop.run(child(), rescue=True))
            os._exit(1)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def main():
    if {where!r} == "aside":
        task = asyncio.create_task(blocked())
        await asyncio.sleep(0)
        print(fork())
        os.write(writer, b"x")
        await task
    else:
        print(fork())
    await asyncio.sleep(0)
    print("parent goes on")

everloop.run(main())
"""
    )
    result = run_script(script)
    assert (result.returncode, result.stdout) == (0, "43\nparent goes on\n"), result.stderr


def test_a_subprocess_started_while_aside_ends(loop, gate):
    async def main():
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
        assert await process.wait() == 3
        gate.open()
        await task

    loop.run_until_complete(main())


# ---- and again


def test_a_loop_that_was_interrupted_closes_without_a_trace():
    """The fixtures of every test look for threads and descriptors; this one only makes a mess."""
    for _ in range(20):
        with gates(3) as all_gates:

            async def main(all_gates=all_gates):
                tasks = [asyncio.create_task(pass_through(gate)) for gate in all_gates]
                await asyncio.sleep(0)
                for gate in all_gates:
                    gate.open()
                raise KeyboardInterrupt(len(tasks))

            with pytest.raises(KeyboardInterrupt):
                everloop.run(main())
    wait_until(lambda: threading.active_count() < 50, "relief threads to end")


def test_a_program_ends_while_daemon_threads_begin_one_run_after_the_other():
    """Its end waits for the watchdog's: a run that began just then set the watchdog going again."""
    script = """
        import everloop, threading

        def run_and_run():
            loop = everloop.EventLoop()
            while True:
                loop.call_soon(loop.stop)
                loop.run_forever()
                runs.release()

        runs = threading.Semaphore(0)
        for _ in range(8):
            threading.Thread(target=run_and_run, daemon=True).start()
        for _ in range(50):
            runs.acquire()
    """
    # It takes luck, so several at once: each hung in one case of four.
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        ended = list(executor.map(lambda _: run_script(script, timeout=15), range(8)))
    assert [(ran.returncode, ran.stderr) for ran in ended] == [(0, "")] * 8


def test_a_loop_that_runs_at_exit_blocks_where_it_stands():
    """Handlers of atexit that were registered before everloop's run after it: nobody takes over any more."""
    script = """
        import atexit, time

        def late():
            async def main():
                with everloop.blocking():
                    time.sleep(0.001)
                try:
                    everloop.block_on(asyncio.sleep(0))
                except RuntimeError as error:
                    print(error)
                return "done"

            print(everloop.run(main(), rescue=True))

        atexit.register(late)
        import asyncio, everloop
        everloop.run(asyncio.sleep(0))
    """
    ran = run_script(script)
    assert ran.returncode == 0, ran.stderr
    assert "the interpreter is ending" in ran.stdout
    assert ran.stdout.endswith("done\n")
