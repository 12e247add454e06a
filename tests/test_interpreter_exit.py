"""The interpreter's end: no crash, no hang and no traceback, whatever threads, destructors and exit handlers do then.

Each scene is a program of its own. What is late in it happens in the destructor of an object that refers to itself: the
interpreter collects that when the program's module is gone, and no other thread gets the GIL any more.
"""

import sys

import pytest

from support import run_script, started_script

# `late(f)` has f() called at the very end, and gives other threads the time to notice.
LATE = """
import asyncio, os, sys, threading, time
import everloop

class Late:
    def __init__(self, function):
        self.function, self.me = function, self

    def __del__(self, sleep=time.sleep, is_finalizing=sys.is_finalizing):
        if not is_finalizing():
            print("too early")
        self.function()
        for _ in range(50):
            sleep(0.001)  # lets go of the GIL, which they ask for

kept = []

def late(function):
    kept.append(Late(function))

reader, writer = os.pipe()

def open_gate(write=os.write, writer=writer):
    write(writer, b"o" * 16)

begun = threading.Event()

def blocks():
    begun.set()
    os.read(reader, 1)

def computes():
    begun.set()
    while True:
        sum(range(1000))

async def step(work):
    work()
"""


def ends_well(scene, **environment):
    ran = run_script(LATE + scene, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "too early" not in ran.stdout
    return ran.stdout


@pytest.mark.parametrize("work", ["blocks", "computes"])
@pytest.mark.parametrize("rescue", [False, True], ids=["plain", "rescue"])
@pytest.mark.parametrize("where", ["thread", "portal"])
def test_a_daemon_thread_may_be_in_the_middle_of_a_step(work, rescue, where):
    ends_well(f"""
work = {work}
if {where == "portal"}:
    portal = everloop.LoopThread(rescue={rescue})
    portal.submit(step(work))
    everloop.bridge.loops.loop_thread.EXIT_PATIENCE = 0.01
else:
    threading.Thread(target=everloop.run, args=(step(work),), kwargs=dict(rescue={rescue}), daemon=True).start()
begun.wait()
late(open_gate)
""")


def test_a_step_that_is_aside_may_come_back():
    ends_well("""
async def main():
    async def block():
        with everloop.blocking():
            blocks()

    await asyncio.gather(*(block() for _ in range(4)))

threading.Thread(target=everloop.run, args=(main(),), daemon=True).start()
begun.wait()
late(open_gate)
""")


def test_a_loop_may_be_busy_with_callbacks():
    ends_well("""
def again(loop):
    begun.set()
    loop.call_soon(again, loop)

loop = everloop.new_event_loop()
loop.call_soon(again, loop)
threading.Thread(target=loop.run_forever, daemon=True).start()
begun.wait()
late(open_gate)
""")


def test_a_thread_may_be_in_python_code_that_everloop_calls():
    """It does not turn a loop: it is about to schedule something, in debug mode, where that is checked."""
    ends_well("""
class Loop(everloop.EventLoop):
    def _check_callback(self, callback, method):
        blocks()

loop = Loop()
loop.set_debug(True)
threading.Thread(target=loop.call_soon_threadsafe, args=(print,), daemon=True).start()
begun.wait()
late(open_gate)
""")


def test_a_thread_that_began_while_a_step_was_rescued_may_run():
    """While a step is aside all Python code of the process passes everloop's gate, and stays on top of it."""
    ends_well("""
async def block():
    os.read(reader, 1)

async def main(loop):
    task = asyncio.ensure_future(block())
    while not loop.statistics()["aside"]:
        await asyncio.sleep(0)
    threading.Thread(target=computes, daemon=True).start()
    begun.wait()
    open_gate()
    await task

loop = everloop.EventLoop(rescue=True, rescue_after=0.005)
loop.slow_callback_duration = 60.0
loop.run_until_complete(main(loop))
loop.close()
""")


def test_a_destructor_may_wait_for_a_loop_whose_thread_is_gone():
    """What it waits for cannot come any more: it is told."""
    out = ends_well("""
loop = everloop.new_event_loop()
loop.set_debug(False)  # where a callback was made is not to be found out any more
loop.call_soon(begun.set)
threading.Thread(target=loop.run_forever, daemon=True).start()
begun.wait()

def wait(loop=loop, sleep=asyncio.sleep, submit=everloop.bridge.loops.loop_future.submit_to):
    coroutine = sleep(0)
    try:
        submit(loop, coroutine).result()
    except RuntimeError as error:
        print(error)
    coroutine.close()

late(wait)
""")
    assert "the interpreter is ending" in out


def test_a_destructor_may_close_what_threads_have_worked_for():
    """Those threads are there no more: nobody waits for them."""
    ends_well("""
import warnings

warnings.simplefilter("ignore", ResourceWarning)  # the loops' own destructors may come first
loop = everloop.new_event_loop()
loop.run_until_complete(loop.run_in_executor(None, len, "x"))
portal = everloop.LoopThread().start()
waiting = everloop.new_event_loop()

async def block():
    everloop.block_on(asyncio.Event().wait())

task = waiting.create_task(block())
waiting.run_until_complete(asyncio.sleep(0))
task._log_destroy_pending = False

def close(loop=loop, portal=portal, waiting=waiting):
    loop.close()
    portal.close()
    waiting.close()

everloop.loop.logger.disabled = True  # which would tell of the step that is lost
late(close)
# Before the destructors of these loops, so not with them: as the last thing that the interpreter lets go of.
import builtins

builtins.last = kept.pop()
builtins.last.me = None
""")


def test_a_late_exit_handler_may_use_a_thread():
    """It was registered before everloop's own, and so runs after it. CPython 3.12 starts no thread then."""
    ran = run_script("""
        import atexit, asyncio

        def late():
            async def main():
                try:
                    return await asyncio.to_thread(len, "x")
                except RuntimeError as error:
                    return error

            print(everloop.run(main()))

        atexit.register(late)
        import everloop
    """)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == ("1\n" if sys.version_info >= (3, 13) else "can't create new thread at interpreter shutdown\n")


def test_a_late_exit_handler_may_wait_for_a_loop_on_another_thread():
    ran = run_script("""
        import atexit, asyncio, threading

        def late():
            future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "served"), loop)
            print(future.result())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

        atexit.register(late)
        import everloop

        loop = everloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "served\n", "")


@pytest.mark.parametrize("wait", ["asyncio.sleep(0)", "asyncio.Event().wait()"], ids=["many calls", "one call"])
def test_a_daemon_thread_that_uses_a_loop_thread_ends_without_a_word(wait):
    """Its loop ends before it does."""
    ran = run_script(f"""
        import atexit, asyncio, threading

        def late():
            thread.join()
            print("it has ended")

        atexit.register(late)
        import everloop

        portal = everloop.LoopThread().start()
        begun = threading.Event()

        async def call():
            begun.set()
            await {wait}

        def work():
            while True:
                portal.run(call())

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        begun.wait()
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "it has ended\n", "")


def test_threads_whose_wait_was_interrupted_are_not_waited_for_again():
    """Ctrl-C while a loop waits for its executor's threads; the interpreter's end leaves them behind."""
    ran = run_script("""
        import os, signal, sys, threading
        import everloop

        reader, writer = os.pipe()
        begun = threading.Event()

        def block():
            begun.set()
            os.read(reader, 1)

        loop = everloop.new_event_loop()
        future = loop.run_in_executor(None, block)
        begun.wait()

        handled = threading.Event()

        def once(*_):
            if not handled.is_set():
                handled.set()
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, once)

        def interrupt(main=threading.main_thread().ident):
            def names():
                frame = sys._current_frames()[main]
                while frame is not None:
                    yield frame.f_code.co_name
                    frame = frame.f_back

            while "join" not in names():  # that of the thread: only now does the wait begin
                pass
            # A signal that arrives just before the thread falls asleep in there does not wake it.
            while not handled.wait(0.01):
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        try:
            loop._pool.shutdown()
        except KeyboardInterrupt:
            print("interrupted")
        loop.close()
    """)
    assert (ran.returncode, ran.stdout) == (0, "interrupted\n")
    assert "does not wait for thread" in ran.stderr


def test_ctrl_c_at_the_end_ends_the_wait_for_threads():
    with started_script("""
        import os, threading
        import everloop

        reader, writer = os.pipe()
        begun = threading.Event()

        def block():
            begun.set()
            os.read(reader, 1)

        loop = everloop.new_event_loop()
        future = loop.run_in_executor(None, block)
        begun.wait()
        join = everloop.pool.ThreadPool._join

        def joining(pool):
            print("waits")
            join(pool)

        everloop.pool.ThreadPool._join = joining
    """) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(2)
        process.communicate()
        assert process.returncode == 0
