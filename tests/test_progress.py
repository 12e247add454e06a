"""However many steps are blocked, the loop goes on: what they wait for may be a step that has no thread yet.

`max_relief_threads` bounds the threads that are started at once; past it they come one at a time. Without them each of
these tests hangs, and the hard timeout of `conftest.py` fails it.
"""

import asyncio
import contextlib
import queue
import re
import threading

import pytest

import everloop
from everloop import _native
from support import gates, interrupt, rescuing_loop, run_script, started_script, wait_until


def lock_over_an_await():
    lock = threading.Lock()

    async def step():
        with lock:
            await asyncio.sleep(0)

    return step


def semaphore_over_an_await():
    semaphore = threading.Semaphore(3)

    async def step():
        with semaphore:
            await asyncio.sleep(0)

    return step


def pool_of_connections():
    connections = queue.Queue()
    for number in range(5):
        connections.put(number)

    async def step():
        connection = connections.get()
        await asyncio.sleep(0)
        connections.put(connection)

    return step


def two_locks_one_after_the_other():
    first, second = threading.Lock(), threading.Lock()

    async def step():
        with first:
            await asyncio.sleep(0)
        with second:
            await asyncio.sleep(0)

    return step


BLOCKING = [lock_over_an_await, semaphore_over_an_await, pool_of_connections, two_locks_one_after_the_other]


def run_many(loop, make, count):
    step = make()

    async def main():
        await asyncio.gather(*(step() for _ in range(count)))
        return loop.statistics()["relief_threads"]

    threads = loop.run_until_complete(main())
    assert loop.statistics()["aside"] == 0
    return threads


# ---- steps that wait for steps


@pytest.mark.parametrize(("make", "count"), [(lock_over_an_await, 200), (pool_of_connections, 300)])
def test_on_default_bounds_any_number_of_steps_may_wait_for_one_without_a_thread(make, count):
    loop = rescuing_loop()
    try:
        assert run_many(loop, make, count) > loop.max_relief_threads
    finally:
        loop.close()


@pytest.mark.parametrize("bound", [0, 1, 3])
@pytest.mark.parametrize("make", BLOCKING)
def test_the_step_that_the_others_wait_for_gets_a_thread_past_the_bound(make, bound):
    loop = rescuing_loop(max_relief_threads=bound)
    try:
        run_many(loop, make, 12)
    finally:
        loop.close()


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_steps_in_blocking_wait_for_each_other_past_the_bound_on_a_loop_without_rescue(bound):
    loop = everloop.EventLoop(rescue=False, max_relief_threads=bound)
    lock = threading.Lock()

    def make():
        async def step():
            with everloop.blocking():
                lock.acquire()
            await asyncio.sleep(0)
            lock.release()

        return step

    try:
        run_many(loop, make, 8)
    finally:
        loop.close()


def test_a_step_that_wants_the_baton_back_does_not_wait_behind_one_that_needs_what_it_holds():
    """The lock's owner has slept, and wants the baton. Who has it waits for the lock; all threads are taken."""
    loop = rescuing_loop(max_relief_threads=1)
    lock = threading.Lock()
    inside = []

    async def own(gate):
        with lock:
            inside.append(gate)
            gate.wait()

    async def main():
        with gates(5) as all_gates:
            steps = [asyncio.ensure_future(own(gate)) for gate in all_gates]
            for gate in all_gates:
                gate.open()
            await asyncio.gather(*steps)

    try:
        loop.run_until_complete(main())
        assert len(inside) == 5
    finally:
        loop.close()


def test_block_on_in_each_of_many_steps_goes_on_past_the_bound():
    loop = everloop.EventLoop(rescue=False, max_relief_threads=2)

    async def main():
        released = asyncio.Event()

        async def step():
            everloop.block_on(released.wait())

        steps = [asyncio.create_task(step()) for _ in range(6)]
        await asyncio.sleep(0)
        released.set()
        await asyncio.gather(*steps)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


# ---- what is told, and what may be refused


async def pass_through(gate):
    """A step that blocks at the gate by consent."""
    with everloop.blocking():
        gate.wait()


def block_at_all(loop, count):
    """Have so many steps block at once, while another one goes on."""

    async def main():
        with gates(count) as all_gates:
            steps = [asyncio.create_task(pass_through(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            assert loop.statistics()["aside"] == count
            for gate in all_gates:
                gate.open()
            await asyncio.gather(*steps)
            assert loop.statistics()["relief_threads"] == count

    loop.run_until_complete(main())


def test_that_the_bound_is_reached_is_told_once(caplog):
    loop = everloop.EventLoop(rescue=False, max_relief_threads=2)
    block_at_all(loop, 5)
    loop.close()
    told = [record.getMessage() for record in caplog.records if "max_relief_threads" in record.getMessage()]
    assert len(told) == 1
    assert "all 2 relief threads" in told[0]
    assert all(name in loop.statistics() for name in re.findall(r"\w+_\w+", told[0]) if name != "max_relief_threads")


def test_a_bound_of_none_means_that_each_thread_comes_past_it():
    loop = everloop.EventLoop(rescue=False, max_relief_threads=0)
    block_at_all(loop, 2)
    loop.close()


def test_a_loop_that_nobody_watches_starts_threads_past_the_bound_at_once():
    _native.watch_loops(False)
    try:
        loop = everloop.EventLoop(rescue=False, max_relief_threads=1)
        block_at_all(loop, 4)
        loop.close()
    finally:
        _native.watch_loops(True)


@pytest.mark.parametrize("asks", [False, True])
def test_once_the_system_gives_threads_again_the_loop_goes_on(asks, monkeypatch, caplog):
    """The blocked step waits for one that comes after it: it does not come back by itself."""
    start, refused = threading.Thread.start, []

    def refuse(thread):
        if "relief" in thread.name and len(refused) < 3:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    loop = everloop.EventLoop(rescue=False) if asks else rescuing_loop()
    with gates(1) as [gate]:

        async def main():
            def block():
                with everloop.blocking() if asks else contextlib.nullcontext():
                    gate.wait()

            loop.call_soon(block)
            await asyncio.sleep(0)
            gate.open()

        loop.run_until_complete(main())
    loop.close()
    assert len(refused) == 3
    assert caplog.text.count("no thread could be started") == 1


class Refusal:
    """Stands for the system, which refuses relief threads: the first so many, or all."""

    def __init__(self, monkeypatch, count=10**9):
        self.start, self.count, self.refused = threading.Thread.start, count, 0
        monkeypatch.setattr(threading.Thread, "start", lambda thread: self.answer(thread))

    def answer(self, thread):
        if "relief" in thread.name and self.refused < self.count:
            self.refused += 1
            raise RuntimeError("can't start new thread")
        self.start(thread)


@pytest.mark.parametrize("bound", [0, 128])
def test_block_on_waits_until_the_system_gives_a_thread(bound, monkeypatch, caplog):
    refusal = Refusal(monkeypatch, 3)

    async def main():
        return everloop.block_on(asyncio.sleep(0, "done"))

    with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(max_relief_threads=bound)) as runner:
        assert runner.run(main()) == "done"
    assert refusal.refused == 3
    assert caplog.text.count("no thread could be started") == 1


@pytest.mark.parametrize("home", [True, False])
@pytest.mark.usefixtures("one_look")
def test_block_on_that_no_thread_comes_for_raises_and_the_loop_goes_on(home, monkeypatch):
    ended = []

    async def awaited():
        try:
            await asyncio.sleep(0)
        finally:
            ended.append("awaited")

    async def step():
        if not home:
            assert threading.current_thread() is not threading.main_thread()
        Refusal(monkeypatch)
        with pytest.raises(RuntimeError, match="the system refuses one: let the process have more threads"):
            everloop.block_on(awaited())
        await asyncio.sleep(0)
        ended.append("step")

    async def main():
        if home:
            return await step()
        task = asyncio.create_task(step())
        everloop.block_on(task)

    everloop.run(main())
    assert ended == ["step"]  # the coroutine was cancelled before it began


def test_a_step_in_block_on_goes_on_when_one_that_blocks_comes_back_and_has_a_thread_for_it(loop, gate, monkeypatch):
    async def main():
        blocked = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)  # that has taken a thread from here on
        refusal = Refusal(monkeypatch)
        opener = threading.Thread(target=lambda: (wait_until(lambda: refusal.refused >= 2), gate.open()))
        opener.start()
        result = everloop.block_on(asyncio.sleep(0, "done"))
        await blocked
        opener.join()
        return result

    assert loop.run_until_complete(main()) == "done"


def test_block_on_on_a_loop_that_nobody_watches_raises_at_once(loop, monkeypatch):
    refusal = Refusal(monkeypatch)

    async def main():
        with pytest.raises(RuntimeError, match="the system refuses one") as raised:
            everloop.block_on(asyncio.sleep(0))
        assert str(raised.value.__cause__) == "can't start new thread"

    _native.watch_loops(False)
    try:
        loop.run_until_complete(main())
    finally:
        _native.watch_loops(True)
    assert refusal.refused == 1


NO_STACK = str(1 << 47)  # no system has room for it


@pytest.mark.parametrize("what", ["time.sleep(0.1)", "everloop.block_on(asyncio.sleep(0.1))"])
@pytest.mark.parametrize("refused", ["the watchdog's", "all"])
def test_what_the_system_refuses_is_said_and_the_program_runs_to_its_end(what, refused):
    script = f"""
        import asyncio, logging, sys, threading, time
        import everloop

        logging.basicConfig(stream=sys.stdout, format="told: %(message).31s")
        if sys.argv[1] == "all":
            threading.stack_size({NO_STACK})

        def say(text):  # a print() is two writes, and another thread logs
            sys.stdout.write(text + "\\n")

        async def main():
            asyncio.get_running_loop().call_soon(say, "other")
            try:
                {what}
            except RuntimeError as error:
                say(str(error)[:64])
            await asyncio.sleep(0)
            say("end")

        everloop.run(main(), rescue=True)
    """
    ran = run_script(script, refused, RUST_MIN_STACK=NO_STACK)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert "told: no thread could be started to w" in lines
    error = "block_on() needs another thread to go on with the loop, and the "
    assert [line for line in lines if "told" not in line] == (
        [error, "other", "end"] if refused == "all" and "block_on" in what else ["other", "end"]
    )


# ---- Ctrl-C


def test_ctrl_c_is_heard_while_steps_wait_for_each_other_for_ever():
    """A task holds a lock that all others wait for, and nothing wakes it but the cancel."""
    script = """
import asyncio, everloop, threading

lock = threading.Lock()

async def own(entered):
    with lock:
        entered.set()
        await asyncio.Event().wait()

async def use():
    with lock:
        pass

async def main():
    loop = asyncio.get_running_loop()
    entered = asyncio.Event()
    owner = asyncio.create_task(own(entered))
    await entered.wait()
    users = [asyncio.create_task(use()) for _ in range(6)]
    while loop.statistics()["aside"] < 6:
        assert not any(task.done() for task in [owner, *users]), [owner, *users]
        await asyncio.sleep(0.001)
    print("blocked")
    try:
        await owner
    finally:
        await asyncio.gather(*users)
        print("cleaned up")

try:
    with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=True, max_relief_threads=2)) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    with started_script(script) as process:
        status, output, errors = interrupt(process, "blocked")
    assert (status, output) == (0, "cleaned up\ninterrupted\n"), errors
