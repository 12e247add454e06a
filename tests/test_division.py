"""`rescue="all"`: a step that computes in Python for long is divided, and other tasks run in between."""

import asyncio
import contextlib
import contextvars
import copy
import gc
import importlib
import json
import logging
import sys
import threading
import weakref

import pytest

import everloop
from everloop import _native
from support import PATIENCE, rescuing_loop, run_script, spin

LONG = 0.1  # seconds: many times what a step may last before it is divided


@pytest.fixture
def dividing_loop(_no_leftovers):
    """A loop that divides a step which computes for 5 ms."""
    loop = rescuing_loop(rescue="all")
    yield loop
    loop.close()


class Ticker:
    """A task that counts how often it runs. `with ticker:` around what is to run beside it."""

    def __init__(self):
        self.ticks = 0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc_info):
        self._task.cancel()

    async def _run(self):
        while True:
            self.ticks += 1
            await asyncio.sleep(0.001)

    def more(self, count):
        """A function that tells whether the task has run so many times more. Whoever computes until then never ends,
        unless it is divided."""
        enough = self.ticks + count
        return lambda: self.ticks >= enough


def loop_until(enough):
    rounds = 0
    while not enough():
        rounds += 1
    return rounds


# ---- what computes


def recursion(enough):
    def fibonacci(number):
        return number if number < 2 or enough() else fibonacci(number - 1) + fibonacci(number - 2)

    while not enough():
        fibonacci(30)


def short_calls(enough):
    def call():
        return enough()

    while not call():
        pass


def generators(enough):
    def count():
        while not enough():
            yield 1

    return sum(count())


def sorting(enough):
    def key(number):
        loop_until(enough)
        return -number

    return sorted(range(5), key=key)


def exceptions(enough):
    def fail():
        raise ValueError

    while not enough():
        with contextlib.suppress(ValueError):
            fail()


def comprehension(enough):
    while not enough():
        [number + 1 for number in range(100)]


def methods(enough):
    class Number:
        def __eq__(self, other):
            loop_until(enough)
            return False

        def __hash__(self):
            return 1

    return len({Number(), Number()})


def listed_library(enough):
    """Code of the library that only computes on what it is given."""
    data = [[number] for number in range(100)]
    while not enough():
        copy.deepcopy(data)


def called_by_listed_library(enough):
    return json.dumps(object(), default=lambda _: loop_until(enough))


def generated_code(enough):
    exec(compile("while not enough(): pass", "<string>", "exec"), {"enough": enough})


def other_library(enough):
    """It is divided when it is back in the program's own code."""
    while not enough():
        logging.getLogger("nobody").debug("%s", 1)


COMPUTATIONS = [
    loop_until,
    recursion,
    short_calls,
    generators,
    sorting,
    exceptions,
    comprehension,
    methods,
    listed_library,
    called_by_listed_library,
    generated_code,
    other_library,
]


@pytest.mark.parametrize("compute", COMPUTATIONS, ids=lambda function: function.__name__)
def test_a_task_runs_many_times_while_a_step_computes(dividing_loop, compute):
    async def main():
        async with Ticker() as ticker:
            compute(ticker.more(10))

    dividing_loop.run_until_complete(main())
    statistics = dividing_loop.statistics()
    assert statistics["divided"] >= 1
    assert statistics["aside"] == 0


@pytest.mark.parametrize("count", [4, 16])
def test_a_task_runs_while_many_steps_compute_and_each_of_them_gets_on(dividing_loop, count):
    rounds = [0] * count

    async def main():
        async def compute(index):
            await asyncio.sleep(0)
            while not enough():
                rounds[index] += 1

        async with Ticker() as ticker:
            enough = ticker.more(3 * count)
            async with asyncio.TaskGroup() as group:
                for index in range(count):
                    group.create_task(compute(index))

    dividing_loop.run_until_complete(main())
    assert all(rounds)


def test_a_step_is_divided_inside_what_awaits_it(dividing_loop):
    """asyncio's own coroutines expect that others run while they await."""

    async def main():
        async def compute():
            loop_until(ticker.more(5))

        async with Ticker() as ticker:
            await asyncio.wait_for(compute(), PATIENCE)

    dividing_loop.run_until_complete(main())


def test_a_busy_loop_and_a_step_that_computes_both_get_on(dividing_loop):
    """A loop that always has something to do leaves the step its share."""
    turns = 0

    async def main():
        def turn():
            nonlocal turns
            turns += 1
            if not done:
                dividing_loop.call_soon(turn)

        done = False
        turn()
        for _ in range(5):
            enough = turns + 1
            while turns < enough:
                pass
        done = True

    dividing_loop.run_until_complete(main())


def test_where_a_step_was_divided_the_next_one_is_divided_earlier(dividing_loop):
    def compute(enough):
        while not enough():
            pass

    async def main():
        async with Ticker() as ticker:
            compute(ticker.more(3))

    dividing_loop.run_until_complete(main())
    patient = rescuing_loop(rescue="all", rescue_after=3600)
    try:
        patient.run_until_complete(main())
        _native.forget_sites()

        async def spins():
            async with Ticker() as ticker:
                before = ticker.ticks
                spin(LONG)
                assert ticker.ticks == before

        patient.run_until_complete(spins())
    finally:
        patient.close()


# ---- what stays as it was


def test_no_two_steps_run_at_once(dividing_loop):
    """What a step sees of the others' progress does not move while it looks on."""
    rounds = [0] * 4

    async def main():
        async def compute(index):
            while not done:
                rounds[index] += 1

        done = False
        tasks = [asyncio.create_task(compute(index)) for index in range(len(rounds))]
        for _ in range(10):
            await asyncio.sleep(0.001)
            with everloop.whole():
                before = rounds.copy()
                spin(0.01)
                assert rounds == before
        done = True
        await asyncio.gather(*tasks)

    dividing_loop.run_until_complete(main())
    assert dividing_loop.statistics()["divided"] >= 10


def test_the_task_its_context_and_its_thread_are_the_same_on_both_sides(dividing_loop):
    variable = contextvars.ContextVar("variable")

    async def main():
        async def compute(index, ticker):
            variable.set(index)
            task, thread = asyncio.current_task(), threading.get_ident()
            enough = ticker.more(5)
            while not enough():
                assert asyncio.current_task() is task
                assert threading.get_ident() == thread
                assert variable.get() == index
                assert asyncio.get_running_loop() is dividing_loop
            await asyncio.sleep(0)
            assert (asyncio.current_task(), variable.get()) == (task, index)

        async with Ticker() as ticker:
            await asyncio.gather(*(compute(index, ticker) for index in range(3)))

    dividing_loop.run_until_complete(main())


def test_a_cancellation_reaches_a_divided_step_at_its_next_await(dividing_loop):
    async def main():
        async def compute():
            loop_until(ticker.more(5))
            reached.append("the end")
            await asyncio.sleep(PATIENCE)

        reached = []
        async with Ticker() as ticker:
            task = asyncio.create_task(compute())
            await asyncio.sleep(0.005)
            assert not reached
            assert task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert reached == ["the end"]

    dividing_loop.run_until_complete(main())


def test_a_loop_that_is_stopped_lets_a_divided_step_come_to_its_end(dividing_loop):
    reached = []

    async def compute():
        stopped = threading.Event()
        dividing_loop.call_soon(dividing_loop.stop)
        dividing_loop.call_soon(stopped.set)
        loop_until(stopped.is_set)
        spin(LONG)
        reached.append("the end")

    task = dividing_loop.create_task(compute())
    dividing_loop.run_forever()
    assert reached == ["the end"]
    dividing_loop.run_until_complete(task)


def test_an_exception_after_a_division_is_the_steps_own(dividing_loop):
    async def main():
        async with Ticker() as ticker:
            loop_until(ticker.more(5))
            raise LookupError("its own")

    with pytest.raises(LookupError, match="its own"):
        dividing_loop.run_until_complete(main())


def test_a_callback_is_divided_as_a_task_is(dividing_loop):
    async def main():
        done = asyncio.Event()

        def compute():
            loop_until(ticker.more(5))
            done.set()

        async with Ticker() as ticker:
            dividing_loop.call_soon(compute)
            await done.wait()

    dividing_loop.run_until_complete(main())


def test_a_divided_step_may_block_and_wait(dividing_loop, gate):
    async def main():
        async with Ticker() as ticker:
            loop_until(ticker.more(3))
            with everloop.blocking():
                threading.Timer(0.01, gate.open).start()
                gate.wait()
            loop_until(ticker.more(3))
            assert everloop.block_on(asyncio.sleep(0, "done")) == "done"
            loop_until(ticker.more(3))
            threading.Timer(0.01, gate.open).start()
            gate.wait()
            loop_until(ticker.more(3))

    dividing_loop.run_until_complete(main())


def test_an_exception_of_a_signal_handler_comes_out_of_a_divided_step():
    source = """
import asyncio, everloop, os, signal
async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            if ticks in (10, 20):  # at the first one the main task is cancelled, as on asyncio
                os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.001)
    task = asyncio.create_task(tick())
    try:
        while True:
            pass
    finally:
        print("left after", ticks >= 20)
try:
    everloop.run(main(), rescue="all")
except KeyboardInterrupt:
    print("interrupted")
"""
    finished = run_script(source)
    assert finished.stdout.split("\n")[:2] == ["left after True", "interrupted"], finished.stderr


# ---- where a step is not divided


def undivided(compute):
    """Runs `compute(spin)` in a step beside a task that runs whenever it can, and shows that this did not run while
    `spin()` did, but before and afterwards."""

    async def main():
        async with Ticker() as ticker:
            spins = 0

            def undivided_spin(*_):
                nonlocal spins
                before = ticker.ticks
                spin(LONG)
                assert ticker.ticks == before
                spins += 1

            loop_until(ticker.more(2))
            await compute(undivided_spin)
            assert spins
            loop_until(ticker.more(2))

    loop = rescuing_loop(rescue="all")
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_whole_is_not_divided_nor_what_it_calls():
    async def compute(spin):
        with everloop.whole():
            spin()
            with everloop.whole():
                spin()
            spin()
            await asyncio.sleep(0.002)
            spin()

    undivided(compute)


def test_whole_is_not_put_aside_where_it_blocks(rescuing_loop, gate):
    async def main():
        async with Ticker() as ticker:
            threading.Timer(LONG, gate.open).start()
            with everloop.whole():
                before = ticker.ticks
                gate.wait()
                assert ticker.ticks == before

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["rescues"] == 0


def test_whole_belongs_to_its_task_and_to_none_that_it_makes(dividing_loop):
    async def main():
        async def compute():
            loop_until(ticker.more(5))

        async with Ticker() as ticker:
            with everloop.whole():
                await asyncio.create_task(compute())

    dividing_loop.run_until_complete(main())


def test_whole_does_nothing_outside_a_loop():
    whole = everloop.whole()
    with whole, whole:
        spin(0.001)


def test_a_module_that_is_being_imported_is_not_divided(tmp_path, monkeypatch):
    (tmp_path / "slow_module.py").write_text("import builtins\nbuiltins.slow_spin()\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def compute(spin):
        monkeypatch.setattr("builtins.slow_spin", spin, raising=False)
        importlib.import_module("slow_module")

    undivided(compute)
    del sys.modules["slow_module"]


def test_a_finalizer_is_not_divided():
    class Slow:
        def __init__(self, spin):
            self.spin = spin

        def __del__(self):
            self.spin()

    async def compute(spin):
        slow = Slow(spin)
        del slow

    undivided(compute)


def test_a_callback_of_a_weak_reference_is_not_divided():
    class Slow:
        pass

    async def compute(spin):
        slow = Slow()
        reference = weakref.ref(slow, lambda reference: spin())
        del slow
        assert reference() is None
        slow = Slow()
        weakref.finalize(slow, spin)
        del slow
        gc.collect()

    undivided(compute)


def test_what_asyncio_calls_is_not_divided():
    async def compute(spin):
        class Queue(asyncio.Queue):
            def _put(self, item):
                spin()

        Queue().put_nowait(1)

    undivided(compute)


def test_what_the_library_calls_is_not_divided():
    async def compute(spin):
        class Handler(logging.Handler):
            def emit(self, record):
                spin()  # it has the handler's lock

        log = logging.getLogger("test_division")
        handler = Handler()
        log.addHandler(handler)
        try:
            log.error("something")
        finally:
            log.removeHandler(handler)

    undivided(compute)


def test_rescue_alone_divides_nothing(rescuing_loop):
    async def main():
        async with Ticker() as ticker:
            before = ticker.ticks
            spin(LONG)
            assert ticker.ticks == before

    rescuing_loop.run_until_complete(main())
    assert rescuing_loop.statistics()["divided"] == 0


def test_without_a_free_tool_id_nothing_is_divided_and_a_warning_says_so():
    source = """
import asyncio, sys, time, warnings
for tool in (3, 4, 5):
    sys.monitoring.use_tool_id(tool, "somebody else")
import everloop
async def main():
    ticks = 0
    def tick():
        nonlocal ticks
        ticks += 1
    asyncio.get_running_loop().call_soon(tick)
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    print(ticks, asyncio.get_running_loop().statistics()["divided"])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    everloop.run(main(), rescue="all")
print("rescue is off" in str(caught[0].message))
"""
    finished = run_script(source)
    assert finished.stdout.split() == ["0", "0", "True"], finished.stderr


# ---- the option


def test_the_option_is_what_was_set():
    loop = everloop.EventLoop(rescue="all")
    try:
        assert loop.rescue == "all"
        for value in (True, False, "all", False):
            loop.rescue = value
            assert loop.rescue is value or loop.rescue == value == "all"
        with pytest.raises(TypeError, match="rescue must be True, False or 'all', not 'some'"):
            loop.rescue = "some"
        assert loop.rescue is False
    finally:
        loop.close()


def test_the_environment_variable_may_say_all(monkeypatch):
    monkeypatch.setenv("EVERLOOP_RESCUE", "all")
    loop = everloop.EventLoop()
    assert loop.rescue == "all"
    loop.close()
    monkeypatch.setenv("EVERLOOP_RESCUE", "some")
    with pytest.raises(ValueError, match="or all to divide"):
        everloop.EventLoop()
