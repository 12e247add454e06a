"""Rescue: a step that blocks without saying so is put aside, and goes on exactly where it was, alone.

Every test that calls a blocking function of the system opens it from another task: without a rescue it hangs.
"""

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import linecache
import os
import queue
import random
import socket
import sys
import threading
import time
import weakref

import pytest

import everloop
from support import (
    Gate,
    frequent_switches,
    gates,
    hand_offs,
    rescuing_loop,
    run_against,
    run_script,
    spin,
    wait_aside,
    wait_until,
)

# ---- what is rescued


def test_sleeping_in_a_coroutine_does_not_stop_the_others(rescuing_loop):
    flag = []

    async def sleep():
        while not flag:  # for ever, on a loop that freezes
            time.sleep(0.05)

    async def main():
        task = asyncio.create_task(sleep())
        await asyncio.sleep(0)
        flag.append("set meanwhile")
        await task

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] >= 1


def test_a_blocked_read_is_rescued(rescuing_loop, gate, witness):
    assert run_against(rescuing_loop, witness, gate.wait, gate.open) == b"o"
    assert rescuing_loop.statistics()["rescues"] >= 1
    assert rescuing_loop.statistics()["aside"] == 0


@pytest.mark.parametrize("waits", ["a lock", "a queue", "an event"])
def test_a_wait_for_another_thread_is_rescued_while_a_third_one_computes(rescuing_loop, witness, waits):
    """A thread that waits for the GIL, which the third one has nearly always, stands at a lock too."""
    lock, items, event, done = threading.Lock(), queue.Queue(), threading.Event(), []
    lock.acquire()
    wait, end = {
        "a lock": (lock.acquire, lock.release),
        "a queue": (items.get, lambda: items.put(True)),
        "an event": (event.wait, event.set),
    }[waits]

    def compute():
        while not done:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert run_against(rescuing_loop, witness, wait, end) is True
    finally:
        done.append(True)
        thread.join()
    assert rescuing_loop.statistics()["rescues"] >= 1


@pytest.mark.parametrize("learned", [False, True])
def test_nobody_runs_in_the_middle_of_what_asyncio_itself_does(learned, rescuing_loop, monkeypatch):
    """In debug mode asyncio reads source files while it makes a future: between its look at an event and its wait."""
    names = {"check": linecache.checkcache, "sleep": time.sleep}
    code = "def checkcache(*arguments):\n    sleep(0.05)\n    return check(*arguments)"
    exec(compile(code, linecache.__file__, "exec"), names)

    async def main():
        if learned:
            names["checkcache"](__file__)  # called by the program, it is put aside
            assert rescuing_loop.statistics()["rescues"] == 1
        rescuing_loop.set_debug(True)
        monkeypatch.setattr(linecache, "checkcache", names["checkcache"])
        event = asyncio.Event()
        rescuing_loop.call_soon(event.set)
        await event.wait()
        monkeypatch.undo()
        assert rescuing_loop.statistics()["rescues"] == learned

    rescuing_loop.slow_callback_duration = 60  # no reports
    rescuing_loop.run_until_complete(main())


@pytest.mark.parametrize("others", [0, 3])
def test_what_computes_without_the_gil_is_rescued_however_little_of_a_processor_it_gets(others):
    """All share one processor; on a loop that waits for a larger share, the first step would go on for ever."""
    script = f"""
import asyncio, everloop, hashlib, os, subprocess, sys

os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
busy_for_a_while = "import signal; signal.alarm(30); exec('while True: pass')"
busy = [subprocess.Popen([sys.executable, "-S", "-c", busy_for_a_while]) for _ in range({others})]
ended = []

async def compute():
    while not ended:
        hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 100_000)

async def main():
    task = asyncio.create_task(compute())
    await asyncio.sleep(0)
    ended.append("meanwhile")
    await task

try:
    everloop.run(main(), rescue=True)
finally:
    for process in busy:
        process.kill()
        process.wait()
print(ended)
"""
    result = run_script(script)
    assert (result.returncode, result.stdout) == (0, "['meanwhile']\n"), result.stderr


def test_a_step_that_computes_again_and_again_in_short_calls_is_rescued_in_one_of_them(rescuing_loop):
    async def main():
        other_ran = asyncio.Event()

        async def compute():
            while not other_ran.is_set():
                # longer than from one look to the next, and too short for a proof by one call alone
                hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 20_000)

        computing = asyncio.create_task(compute())
        asyncio.get_running_loop().call_soon(other_ran.set)
        await computing

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] >= 1


def test_eight_blocked_steps_of_one_function_end_one_by_one(rescuing_loop, witness):
    with gates(8) as all_gates:

        async def block(gate):
            assert os.read(gate.reader, 1) == b"o"
            with witness:
                return asyncio.current_task()

        async def main():
            tasks = [asyncio.create_task(block(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop, 8)
            for number in (3, 7, 0, 1, 6, 5, 2, 4):
                witness.open_and_linger(all_gates[number].open)
                assert await tasks[number] is tasks[number]
                assert rescuing_loop.statistics()["aside"] == sum(not task.done() for task in tasks)

        rescuing_loop.run_until_complete(main())


@pytest.mark.parametrize("catches", ["the same frame", "an outer frame", "the task"])
def test_a_step_whose_call_raises_resumes_before_its_next_line(rescuing_loop, peer, witness, catches):
    """Where the frame of the call does not catch, the next line that runs is another frame's."""

    def receive():
        return peer.connection.recv(1)

    def receive_and_catch():
        try:
            return peer.connection.recv(1)
        except ConnectionResetError:
            with witness:
                return "caught"

    def call_and_catch():
        try:
            return receive()
        except ConnectionResetError:
            with witness:
                return "caught"

    call = {"the same frame": receive_and_catch, "an outer frame": call_and_catch, "the task": receive}[catches]
    if catches == "the task":
        with pytest.raises(ConnectionResetError):
            run_against(rescuing_loop, witness, call, peer.reset)
    else:
        assert run_against(rescuing_loop, witness, call, peer.reset) == "caught"
    assert hand_offs(rescuing_loop) >= 1


def test_a_socket_timeout_that_is_caught_outside_resumes(rescuing_loop, witness):
    left, right = socket.socketpair()
    left.settimeout(0.05)

    def receive():
        return left.recv(1)

    async def block():
        try:
            receive()
        except TimeoutError:
            with witness:
                return "timed out"

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        while not task.done():
            with witness:
                spin(0.001)
            await asyncio.sleep(0)
        return await task

    assert rescuing_loop.run_until_complete(main()) == "timed out"
    left.close()
    right.close()


def test_an_exception_that_leaves_the_step_ends_it_alone(rescuing_loop, peer, witness):
    """No frame of the step runs another line: the task's own end waits for the baton."""

    async def block():
        peer.connection.recv(1)

    def note(task):
        with witness:
            noted.append(type(task.exception()))

    noted = []

    async def main():
        task = asyncio.create_task(block())
        task.add_done_callback(note)
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        witness.open_and_linger(peer.reset)
        with contextlib.suppress(ConnectionResetError):
            await task

    rescuing_loop.run_until_complete(main())
    assert noted == [ConnectionResetError]


def test_a_step_without_any_python_frame_is_rescued(rescuing_loop, gate, witness):
    """`os.read` itself is the callback: the end of the step is where it waits."""

    async def main():
        rescuing_loop.call_soon(os.read, gate.reader, 1)
        rescuing_loop.call_soon(functools.partial(os.read, gate.reader), 1)
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop, 2)
        for left in (1, 0):
            witness.open_and_linger(gate.open)
            while rescuing_loop.statistics()["aside"] > left:
                await asyncio.sleep(0)
                with witness:
                    pass

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] >= 2


def test_a_step_blocked_in_its_last_call_is_rescued(rescuing_loop, gate):
    order = []

    def block():
        os.read(gate.reader, 1)

    async def main():
        rescuing_loop.call_soon(block)
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        order.append("meanwhile")
        gate.open()
        while rescuing_loop.statistics()["aside"]:
            await asyncio.sleep(0)
        order.append("back")

    rescuing_loop.run_until_complete(main())
    assert order == ["meanwhile", "back"]


def test_a_step_blocked_in_a_destructor_is_rescued(rescuing_loop, gate, witness):
    class Connection:
        def __del__(self):
            os.read(gate.reader, 1)
            with witness:
                pass

    def use():
        connection = Connection()
        return connection is None  # it goes with the frame

    assert run_against(rescuing_loop, witness, use, gate.open) is False


@pytest.mark.parametrize("kind", [asyncio.Lock, threading.Lock, threading.RLock], ids=["asyncio", "Lock", "RLock"])
def test_only_an_rlock_that_is_held_over_an_await_is_lost_with_its_thread(kind, rescuing_loop, gate):
    """As the README says. A step that blocks has sent the task to another thread, and takes it back."""
    lock = kind()
    held = asyncio.Event()

    async def hold():
        async with contextlib.AsyncExitStack() as stack:
            if kind is asyncio.Lock:
                await stack.enter_async_context(lock)
            else:
                stack.enter_context(lock)
            gate.open()
            await held.wait()

    async def block():
        gate.wait()
        held.set()

    async def main():
        return await asyncio.gather(block(), hold(), return_exceptions=True)

    _, error = rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] == 1
    assert isinstance(error, RuntimeError if kind is threading.RLock else type(None))


@pytest.mark.parametrize("learned", [False, True])
def test_nobody_runs_in_the_middle_of_lines_in_which_the_collector_runs_a_finalizer(learned, rescuing_loop):
    """It may run anywhere, between two lines that call nothing."""
    order = []

    class Garbage:
        def __del__(self):
            time.sleep(0.05)
            order.append("finalized")

    def finalize_at_once():
        Garbage()

    async def count():
        garbage, kept = Garbage(), []
        garbage.itself = garbage
        del garbage
        order.append("before")
        while order[-1] == "before":
            kept.append([])  # until the collector comes
        order.append("after")

    async def other():
        order.append("other")

    async def main():
        if learned:
            finalize_at_once()
            assert rescuing_loop.statistics()["rescues"] == 1
        await asyncio.gather(count(), other())

    rescuing_loop.run_until_complete(main())
    assert order[-4:] == ["before", "finalized", "after", "other"]
    assert hand_offs(rescuing_loop) == learned


def test_python_called_back_by_the_blocking_call_runs_alone(rescuing_loop, gate, witness):
    """`map` is C and blocks in the file, and then calls Python without returning to the frame that called it."""

    def on_line(line):
        with witness:
            return line

    def read_lines():
        with os.fdopen(os.dup(gate.reader), "rb") as lines:
            return list(map(on_line, iter(functools.partial(lines.raw.read, 1), b"o")))

    def release():
        os.write(gate.writer, b"x")
        spin(0.02)
        gate.open()

    assert run_against(rescuing_loop, witness, read_lines, release) == [b"x"]


def test_a_for_loop_over_a_slow_iterator_is_rescued(rescuing_loop, gate, witness):
    """No CALL instruction blocks here but FOR_ITER."""
    seen = []

    def read_lines():
        with os.fdopen(os.dup(gate.reader), "rb", 0) as lines:
            for line in lines:
                with witness:
                    seen.append(line)
                if len(seen) == 2:
                    return seen

    async def block():
        return read_lines()

    async def main():
        task = asyncio.create_task(block())
        for number in range(2):
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop)
            witness.open_and_linger(lambda: os.write(gate.writer, b"line\n"))
            while len(seen) <= number:  # else it would be found aside at the line that it has been given already
                await asyncio.sleep(0.001)
        return await task

    assert rescuing_loop.run_until_complete(main()) == [b"line\n"] * 2
    assert hand_offs(rescuing_loop) >= 2


def test_entering_a_lock_is_rescued(rescuing_loop, witness):
    lock = threading.Lock()

    def enter():
        with lock, witness:
            return "entered"

    lock.acquire()
    assert run_against(rescuing_loop, witness, enter, lock.release) == "entered"


def test_a_lock_held_across_a_blocking_call_does_not_deadlock(rescuing_loop, witness):
    """Who waits for the lock is itself seen as blocked, so its owner gets the baton back."""
    lock = threading.Lock()
    order = []

    async def work(number, gate):
        with lock:
            order.append(("in", number))
            gate.wait()
            with witness:
                order.append(("out", number))

    with gates(4) as all_gates:

        async def main():
            tasks = [asyncio.create_task(work(number, gate)) for number, gate in enumerate(all_gates)]
            await asyncio.sleep(0)
            for gate in all_gates:
                gate.open()
            await asyncio.gather(*tasks)

        rescuing_loop.run_until_complete(main())
    assert [number for _, number in order[::2]] == [number for _, number in order[1::2]]
    assert [place for place, _ in order] == ["in", "out"] * 4


def test_a_generator_that_blocks_is_rescued(rescuing_loop, gate, witness):
    def numbers():
        yield 1
        gate.wait()
        with witness:
            yield 2

    assert run_against(rescuing_loop, witness, lambda: list(numbers()), gate.open) == [1, 2]


def test_waiting_for_a_thread_s_queue_or_event_is_rescued(rescuing_loop, witness):
    items, event = queue.SimpleQueue(), threading.Event()
    assert run_against(rescuing_loop, witness, items.get, lambda: items.put("item")) == "item"
    assert run_against(rescuing_loop, witness, event.wait, event.set) is True


def test_waiting_for_the_own_loop_ends(rescuing_loop):
    """The classic silent deadlock: run_coroutine_threadsafe(...).result() on the loop's own thread."""

    async def answer():
        await asyncio.sleep(0.001)
        return 42

    async def main():
        return asyncio.run_coroutine_threadsafe(answer(), rescuing_loop).result()

    rescuing_loop.set_debug(False)
    assert rescuing_loop.run_until_complete(main()) == 42


def test_what_a_step_sees_is_right_after_a_rescue(rescuing_loop, gate):
    local = threading.local()

    async def block():
        local.value = "mine"
        me, thread = asyncio.current_task(), threading.current_thread()
        os.read(gate.reader, 1)
        assert asyncio.current_task() is me
        assert asyncio.get_running_loop() is rescuing_loop
        assert threading.current_thread() is thread
        await asyncio.sleep(0)
        assert asyncio.current_task() is me
        return local

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        assert asyncio.current_task() is not task
        assert not hasattr(local, "value")
        gate.open()
        await task

    rescuing_loop.run_until_complete(main())


@pytest.mark.patience(60)
def test_no_two_steps_run_at_once_under_rescue(witness):
    """Blocking calls of all lengths, raising or not, at shared and learned sites, on many threads."""
    loop = rescuing_loop(rescue_after=0.0005)
    left, right = socket.socketpair()

    def sleep(seconds):
        time.sleep(seconds)

    def time_out(seconds):
        with left.dup() as own:
            own.settimeout(seconds)
            own.recv(1)

    async def work(random):
        for _ in range(60):
            with witness:
                pass
            match random.randrange(6):
                case 0:
                    sleep(random.random() / 300)
                case 1:
                    sleep(0)
                case 2:
                    with contextlib.suppress(TimeoutError):
                        time_out(random.random() / 300 + 0.0001)
                case 3:
                    with everloop.blocking():
                        time.sleep(random.random() / 1000)
                case _:
                    await asyncio.sleep(0)
            with witness:
                pass

    async def main():
        with frequent_switches() as random:
            await asyncio.gather(*(work(random) for _ in range(40)))

    loop.run_until_complete(main())
    loop.close()
    left.close()
    right.close()
    assert witness.entries == 40 * 60 * 2
    assert loop.statistics()["rescues"] > 0


def test_random_gates_open_in_random_order(rescuing_loop, witness):
    """All together: many blocked steps, each through another frame, released by tasks and by threads."""
    numbers = list(range(12))
    random.Random(7).shuffle(numbers)
    with gates(12) as all_gates:

        async def block(number):
            gate: Gate = all_gates[number]
            match number % 4:
                case 0:
                    os.read(gate.reader, 1)
                case 1:
                    with everloop.blocking():
                        gate.wait()
                case 2:
                    everloop.block_on(asyncio.to_thread(gate.wait))
                case 3:
                    await asyncio.to_thread(gate.wait)
            with witness:
                return number

        def open_gates():
            for number in numbers:
                all_gates[number].open()
                time.sleep(0.001)

        async def main():
            tasks = [asyncio.create_task(block(number)) for number in range(12)]
            await asyncio.sleep(0)
            await wait_aside(rescuing_loop, 9)
            opener = threading.Thread(target=open_gates)
            opener.start()
            assert await asyncio.gather(*tasks) == list(range(12))
            opener.join()
            await rescuing_loop.shutdown_default_executor()

        rescuing_loop.run_until_complete(main())
        wait_until(lambda: rescuing_loop.statistics()["aside"] == 0)


class Local:
    """Tells on which thread it was finalized."""

    def __init__(self, ended):
        self.ended = ended

    def __del__(self):
        self.ended.append(threading.current_thread())


@pytest.mark.parametrize("reports", [False, True])
def test_what_a_step_s_variables_name_ends_with_its_function(rescuing_loop, reports):
    """Whoever keeps a frame, to look at it again, keeps all of that, and may be the one that finalizes it."""
    rescuing_loop.slow_callback_duration = 0.01 if reports else 60
    ended = []

    def compute():
        local = Local(ended)
        spin(0.03)
        return weakref.ref(local)

    async def main():
        for number in range(1, 11):
            assert compute()() is None
            assert ended == [threading.current_thread()] * number
            await asyncio.sleep(0)

    rescuing_loop.run_until_complete(main())


def test_an_asynchronous_generator_that_is_left_ends_in_the_context_of_its_task(rescuing_loop):
    variable, seen = contextvars.ContextVar("variable", default="lost"), []

    async def count():
        try:
            while True:
                yield
        finally:
            await asyncio.sleep(0)
            seen.append(variable.get())

    async def leave(number):
        variable.set(number)
        counting = count()
        await anext(counting)
        spin(0.02)

    async def main():
        for number in range(10):
            await asyncio.create_task(leave(number))
        while len(seen) < 10:
            await asyncio.sleep(0)

    rescuing_loop.run_until_complete(main())
    assert sorted(seen) == list(range(10))


# ---- what is not rescued


def test_without_rescue_a_blocked_step_stops_the_loop(loop, gate):
    order = []

    async def block():
        os.read(gate.reader, 1)
        order.append("blocked")

    async def main():
        opener = threading.Timer(0.1, gate.open)
        opener.start()
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        order.append("after")
        await task
        opener.join()

    loop.run_until_complete(main())
    assert order == ["blocked", "after"]
    assert hand_offs(loop) == 0


def test_rescue_can_be_switched_while_the_loop_lives(loop, gate, witness):
    loop.rescue, loop.rescue_after = True, 0.005
    run_against(loop, witness, gate.wait, gate.open)
    before = hand_offs(loop)
    assert before >= 1
    loop.rescue = False

    async def block():
        time.sleep(0.05)

    loop.run_until_complete(block())
    assert hand_offs(loop) == before


@pytest.mark.parametrize("work", ["python", "C that holds the GIL"])
def test_a_busy_step_is_not_taken_for_a_blocked_one(rescuing_loop, work):
    """It would run beside the next step, as nothing stops it from running on."""
    order = []

    async def busy():
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            if work != "python":
                sum(range(200_000))
        order.append("busy")

    async def main():
        task = asyncio.create_task(busy())
        await asyncio.sleep(0)
        order.append("after")
        await task

    noise = threading.Thread(target=spin, args=(0.3,))  # makes the busy step wait for the GIL
    noise.start()
    rescuing_loop.run_until_complete(main())
    noise.join()
    assert order == ["busy", "after"]
    assert hand_offs(rescuing_loop) == 0


def test_blocking_on_another_thread_is_nobody_s_business(rescuing_loop):
    together = threading.Barrier(4)

    def sleep():
        time.sleep(0.03)

    async def on_four_threads(function):
        await asyncio.gather(*(asyncio.to_thread(function) for _ in range(4)))

    async def main():
        # They are started: that takes as long as the system likes, and is a wait too.
        await on_four_threads(together.wait)
        before = hand_offs(rescuing_loop)
        await on_four_threads(sleep)
        assert hand_offs(rescuing_loop) == before
        await rescuing_loop.shutdown_default_executor()

    rescuing_loop.run_until_complete(main())


def test_without_a_free_tool_id_there_is_one_warning_and_no_rescue():
    script = """
        import asyncio, logging, sys, threading, time, warnings
        for tool in range(6):
            if sys.monitoring.get_tool(tool) is None:
                sys.monitoring.use_tool_id(tool, "somebody else")
        import everloop

        logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(name)s %(message)s")
        order = []

        async def block():
            time.sleep(0.3)
            order.append("blocked")

        async def main():
            task = asyncio.create_task(block())
            await asyncio.sleep(0)
            order.append("after")
            await task

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            everloop.run(main(), rescue=True)
        assert [warning.category for warning in caught] == [RuntimeWarning], caught
        assert "sys.monitoring" in str(caught[0].message), caught[0].message
        assert order == ["blocked", "after"], order
    """
    result = run_script(script)
    assert result.returncode == 0, result.stderr
    assert "everloop warning[blocked]" in result.stdout


def test_exceptions_are_watched_in_the_blocked_code_alone_where_that_is_possible(rescuing_loop, gate, witness):
    monitoring, code = sys.monitoring, gate.wait.__func__.__code__

    def look_and_open():
        (tool,) = (tool for tool in range(6) if monitoring.get_tool(tool) == "everloop")
        seen.append((monitoring.get_events(tool), monitoring.get_local_events(tool, code) & monitoring.events.RAISE))
        gate.open()

    seen = []
    run_against(rescuing_loop, witness, gate.wait, look_and_open)
    everywhere, locally = (monitoring.events.RAISE, 0)
    if sys.version_info >= (3, 15):
        everywhere, locally = locally, everywhere
    assert seen == [(everywhere, locally)]


def test_a_run_that_ends_right_after_a_step_in_c_leaves_no_events_behind(rescuing_loop):
    """Its next instruction was to be noted, and there was none: nobody would have taken the events back."""
    rescuing_loop.rescue_after = 1.0  # looked at, but not rescued
    rescuing_loop.call_soon(functools.partial(hashlib.pbkdf2_hmac, "sha256", b"word", b"salt", 300_000))
    rescuing_loop.call_soon(rescuing_loop.stop)
    rescuing_loop.run_forever()
    tools = [tool for tool in range(6) if sys.monitoring.get_tool(tool) == "everloop"]
    assert [sys.monitoring.get_events(tool) for tool in tools] == [0]
