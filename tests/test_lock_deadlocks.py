"""Steps that hold locks and wait for each other's for ever: a DeadlockError in one of them, once nobody is left.

Each scene is a program of its own, where no thread is but those that it has. All of them run at once, since each has to
stand still for longer than the watchdog waits.
"""

import os
import subprocess
import sys
import textwrap

import pytest

from support import PATIENCE

PROLOGUE = """
import asyncio, everloop, logging, os, queue, signal, subprocess, sys, threading, time
from everloop import DeadlockError

STILL = 1.6  # seconds: longer than the watchdog waits
reports = []

class Keep(logging.Handler):
    def emit(self, record):
        if record.everloop["state"] == "deadlock":
            reports.append(record.everloop)
            on_report(record)

def on_report(record):
    assert record.levelname == "ERROR"

logging.getLogger("everloop").addHandler(Keep())

def run(main, **options):
    with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(**{"rescue": True, **options})) as runner:
        runner.run(main())
    everloop._native.write_notes()

async def take(*locks):
    if locks:
        with locks[0]:
            await asyncio.sleep(0.01)
            await take(*locks[1:])

def tell(outcomes):
    print(*sorted(type(outcome).__name__ for outcome in outcomes))

async def outcomes(*steps):
    tell(await asyncio.gather(*steps, return_exceptions=True))
"""

# What is stuck for ever, and what the program tells.
STUCK = {
    "two_locks_in_two_orders": (
        """
        async def main():
            one, two = threading.Lock(), threading.Lock()
            await outcomes(take(one, two), take(two, one))
        run(main)
        print(reports[0]["count"], reports[0]["raised"])
        """,
        "DeadlockError NoneType\n2 True\n",
    ),
    "three_in_a_circle": (
        """
        async def use(own, other):
            own.acquire()
            try:
                await asyncio.sleep(0.01)
                other.acquire()
                other.release()
            finally:
                own.release()
        async def main():
            locks = [threading.Lock() for _ in range(3)]
            await outcomes(*(use(locks[n], locks[n - 1]) for n in range(3)))
        run(main)
        print(reports[0]["count"], len(reports))
        """,
        "DeadlockError NoneType NoneType\n3 1\n",
    ),
    "one_lock_twice": (
        """
        async def main():
            lock = threading.Lock()
            lock.acquire()
            try:
                lock.acquire()
            except DeadlockError as error:
                tell([error])
                line = error.__traceback__.tb_lineno
                assert str(error).endswith(f"\\n  task 'Task-1' is blocked\\n    at <string>:{line} in main"), error
            lock.release()
            with lock:
                await asyncio.sleep(0)
        run(main)
        """,
        "DeadlockError\n",
    ),
    "a_circle_at_sites_that_are_learned_by_now": (
        """
        async def main():
            one, two = threading.Lock(), threading.Semaphore()
            for _ in range(2):
                await outcomes(take(one, two), take(two, one))
        run(main)
        print(len(reports))
        """,
        "DeadlockError NoneType\nDeadlockError NoneType\n2\n",
    ),
    "steps_that_say_that_they_block": (
        """
        async def use(own, other):
            with own:
                await asyncio.sleep(0.01)
                with everloop.blocking():
                    other.acquire()
                other.release()
        async def main():
            one, two = threading.Semaphore(), threading.Semaphore()
            await outcomes(use(one, two), use(two, one))
        run(main, rescue=False)
        """,
        "DeadlockError NoneType\n",
    ),
    "queues_and_events_that_nobody_serves": (
        """
        async def main():
            for wait in threading.Event().wait, queue.Queue().get, queue.SimpleQueue().get:
                try:
                    wait()
                except DeadlockError as error:
                    await asyncio.sleep(0)
                    tell([error])
        run(main)
        """,
        "DeadlockError\n" * 3,
    ),
    "a_thread_that_waits_as_well": (
        """
        async def main():
            lock = threading.Lock()
            lock.acquire()
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            try:
                thread.join()
            except DeadlockError as error:
                await asyncio.sleep(0)
                tell([error])
            lock.release()
            thread.join()
        run(main)
        """,
        "DeadlockError\n",
    ),
    "more_steps_than_are_told_of": (
        """
        async def main():
            lock = threading.Lock()
            lock.acquire()
            async def use():
                try:
                    with lock:
                        pass
                except DeadlockError as error:
                    lock.release()
                    print(str(error).splitlines()[-1])
            await asyncio.gather(*(use() for _ in range(12)))
        run(main)
        print(reports[0]["count"], len(reports[0]["steps"]))
        """,
        "  and 2 more\n12 10\n",
    ),
    "steps_on_other_threads_than_home_which_are_only_reported": (
        """
        def on_report(record):
            print(record.everloop["count"], record.everloop["raised"], flush=True)
            os._exit(0)
        reader, writer = os.pipe()
        async def block():
            os.read(reader, 1)
        async def main():
            loop = asyncio.get_running_loop()
            home = asyncio.create_task(block())
            await asyncio.sleep(0)
            one, two = threading.Lock(), threading.Lock()
            steps = [asyncio.create_task(take(one, two)), asyncio.create_task(take(two, one))]
            while loop.statistics()["aside"] < 3:
                await asyncio.sleep(0.001)
            os.write(writer, b"o")
            await asyncio.gather(home, *steps)
        run(main)
        """,
        "2 False\n",
    ),
}

OWNER = """
async def use(lock):
    with lock:
        return "used"

async def own(lock, until):
    with lock:
        users = [asyncio.create_task(use(lock)) for _ in range(2)]
        await until()
    print(*await asyncio.gather(*users), len(reports))
"""

# What something ends in the end: a step that waits for the owner of the lock, who waits for `until`.
ENDING = {
    "a_timer": """
        async def main():
            await own(threading.Lock(), lambda: asyncio.sleep(STILL))
        run(main)
        """,
    "a_file": """
        async def main():
            done = asyncio.Event()
            with subprocess.Popen(["sh", "-c", f"sleep {STILL}; echo"], stdout=subprocess.PIPE) as process:
                asyncio.get_running_loop().add_reader(process.stdout, done.set)
                await own(threading.Lock(), done.wait)
                asyncio.get_running_loop().remove_reader(process.stdout)
        run(main)
        """,
    "a_thread_of_the_pool": """
        async def main():
            await own(threading.Lock(), lambda: asyncio.to_thread(time.sleep, STILL))
        run(main)
        """,
    "another_thread": """
        async def main():
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            def end():
                time.sleep(STILL)
                loop.call_soon_threadsafe(done.set)
            threading.Thread(target=end).start()
            await own(threading.Lock(), done.wait)
        run(main)
        """,
    "another_loop": """
        async def main():
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            async def end():
                await asyncio.sleep(STILL)
                loop.call_soon_threadsafe(done.set)
            threading.Thread(target=asyncio.run, args=[end()]).start()
            await own(threading.Lock(), done.wait)
        run(main)
        """,
    "a_step_that_blocks_elsewhere": """
        async def main():
            async def block():
                time.sleep(STILL)
            await own(threading.Lock(), block)
        run(main)
        """,
    "a_time_out": """
        async def main():
            lock = threading.Lock()
            lock.acquire()
            assert not lock.acquire(timeout=STILL)
            lock.release()
            await own(lock, lambda: asyncio.sleep(0))
        run(main)
        """,
    "a_handler_of_a_signal_in_the_loop": """
        async def main():
            done = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, done.set)
            with subprocess.Popen(["sh", "-c", f"sleep {STILL}; kill -USR1 $PPID"]):
                await own(threading.Lock(), done.wait)
        run(main)
        """,
    "a_handler_of_a_signal_on_the_main_thread": """
        async def main():
            lock = threading.Lock()
            lock.acquire()
            signal.signal(signal.SIGALRM, lambda signum, frame: lock.release())
            signal.setitimer(signal.ITIMER_REAL, STILL)
            with lock:
                await asyncio.sleep(0)
            await own(lock, lambda: asyncio.sleep(0))
        run(main)
        """,
}


@pytest.fixture(scope="module")
def programs():
    """All scenes, as processes that have been started."""
    scenes = {name: scene for name, (scene, _) in STUCK.items()}
    scenes |= {name: OWNER + textwrap.dedent(scene) for name, scene in ENDING.items()}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", PROLOGUE + textwrap.dedent(scene)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for name, scene in scenes.items()
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", STUCK)
def test_steps_that_wait_for_each_other_for_ever_are_told(name, programs):
    output, errors = programs[name].communicate(timeout=PATIENCE)
    assert (programs[name].returncode, output) == (0, STUCK[name][1]), errors


@pytest.mark.parametrize("name", ENDING)
def test_a_wait_that_something_may_end_is_left_alone(name, programs):
    output, errors = programs[name].communicate(timeout=PATIENCE)
    assert (programs[name].returncode, output) == (0, "used used 0\n"), errors
