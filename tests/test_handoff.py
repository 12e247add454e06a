"""The hand-off: a step that says it will block lets the loop go on elsewhere, and no two steps ever run at once."""

import asyncio
import contextvars
import gc
import sys
import threading
import time

import pytest

import everloop
from everloop import _native
from support import Gate, frequent_switches, gates, hand_offs, wait_until


async def pass_through(gate):
    """A step that blocks at the gate by consent."""
    with everloop.blocking():
        gate.wait()


# ---- blocking()


def test_the_loop_goes_on_while_a_step_blocks(loop, gate):
    async def main():
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)  # frozen here on any other loop
        assert not task.done()
        assert loop.statistics()["aside"] == 1
        gate.open()
        await task
        assert loop.statistics()["aside"] == 0
        assert loop.statistics()["releases"] == 1

    loop.run_until_complete(main())


def test_timers_readers_and_other_threads_are_served_meanwhile(loop, gate):
    with gates(1) as (read,):

        async def main():
            timer, reader, thread = asyncio.Event(), asyncio.Event(), asyncio.Event()
            blocked = asyncio.create_task(pass_through(gate))
            await asyncio.sleep(0)
            loop.call_later(0.001, timer.set)
            await timer.wait()
            loop.add_reader(read.reader, lambda: (read.wait(), loop.remove_reader(read.reader), reader.set()))
            read.open()
            await reader.wait()
            caller = threading.Thread(target=loop.call_soon_threadsafe, args=(thread.set,))
            caller.start()
            await thread.wait()
            caller.join()
            gate.open()
            await blocked

        loop.run_until_complete(main())


def test_a_plain_callback_can_block_too(loop, gate):
    order = []

    def block():
        with everloop.blocking():
            gate.wait()
        order.append("blocked")
        loop.stop()

    loop.call_soon(block)
    loop.call_soon(order.append, "next")
    loop.call_soon(gate.open)
    loop.run_forever()
    assert order == ["next", "blocked"]


def test_a_timer_a_reader_and_a_done_callback_can_block(loop):
    with gates(3) as (of_timer, of_reader, of_future):
        came = []

        def block(name, gate):
            if name == "reader":
                loop.remove_reader(of_reader.reader)
            with everloop.blocking():
                gate.wait()
            came.append(name)
            if len(came) == 3:
                loop.stop()

        future = loop.create_future()
        future.add_done_callback(lambda _: block("future", of_future))
        future.set_result(None)
        loop.call_later(0.001, block, "timer", of_timer)
        of_reader.open()
        loop.add_reader(of_reader.reader, block, "reader", of_reader)

        def release():
            if loop.statistics()["aside"] < 2:  # the reader's gate is open already
                return loop.call_soon(release)
            of_future.open()
            of_timer.open()

        loop.call_soon(release)
        loop.run_forever()
        assert sorted(came) == ["future", "reader", "timer"]


def test_the_blocked_step_stays_on_its_thread(loop, gate):
    local = threading.local()

    async def block():
        local.value, thread = "mine", threading.current_thread()
        with everloop.blocking():
            gate.wait()
        assert threading.current_thread() is thread
        return local.value

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        assert threading.current_thread().name.startswith("everloop-relief-")
        assert threading.current_thread().daemon
        gate.open()
        return await task

    assert loop.run_until_complete(main()) == "mine"


def test_the_loop_comes_home(loop, gate):
    async def main():
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        gate.open()
        await task
        while threading.current_thread() is not threading.main_thread():
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_blocked_tasks_end_in_the_order_of_their_calls_not_of_a_stack(loop):
    with gates(8) as all_gates:

        async def main():
            tasks = [asyncio.create_task(pass_through(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            assert loop.statistics()["aside"] == 8
            for gate, task in zip(all_gates, tasks, strict=True):
                gate.open()
                await task  # a stack of loops would have to end the last one first

        loop.run_until_complete(main())


def test_blocked_tasks_end_in_any_order(loop):
    with gates(8) as all_gates:

        async def main():
            tasks = [asyncio.create_task(pass_through(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            for number in (3, 7, 0, 1, 6, 5, 2, 4):
                assert not tasks[number].done()
                all_gates[number].open()
                await tasks[number]

        loop.run_until_complete(main())


def test_an_exception_passes_through_blocking(loop, peer):
    async def block():
        with everloop.blocking():
            peer.connection.recv(1)

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        peer.reset()
        with pytest.raises(ConnectionResetError):
            await task

    loop.run_until_complete(main())


def test_nested_blocking_counts(loop):
    with gates(2) as (inner, outer):

        async def block():
            with everloop.blocking():
                with everloop.blocking():
                    inner.wait()
                outer.wait()  # still aside: else nobody opens this

        async def main():
            task = asyncio.create_task(block())
            await asyncio.sleep(0)
            inner.open()
            await asyncio.sleep(0)
            outer.open()
            await task
            assert loop.statistics()["releases"] == 1

        loop.run_until_complete(main())


def test_blocking_decorates_a_function(loop):
    @everloop.blocking()
    def read(gate, *, times=1):
        """Read."""
        return b"".join(gate.wait() for _ in range(times))

    async def block(gate):
        return read(gate, times=2)

    with gates(3) as all_gates:

        async def main():
            tasks = [asyncio.create_task(block(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            for gate in all_gates:
                gate.open()
                gate.open()
            return await asyncio.gather(*tasks)

        assert loop.run_until_complete(main()) == [b"oo"] * 3
    assert (read.__name__, read.__doc__) == ("read", "Read.")


def test_a_decorated_function_raises_what_it_raises(loop):
    @everloop.blocking()
    def divide():
        return 1 / 0

    async def main():
        with pytest.raises(ZeroDivisionError):
            divide()

    loop.run_until_complete(main())
    with pytest.raises(ZeroDivisionError):
        divide()


def test_one_blocking_object_can_be_entered_again_and_by_many(loop):
    shared = everloop.blocking()
    with gates(4) as all_gates:

        async def block(gate):
            with shared:
                gate.wait()
            with shared, shared:
                gate.wait()

        async def main():
            tasks = [asyncio.create_task(block(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            for gate in (*all_gates, *all_gates):
                gate.open()
            await asyncio.gather(*tasks)

        loop.run_until_complete(main())


def test_a_coroutine_function_cannot_be_decorated():
    async def coroutine_function():
        pass

    with pytest.raises(TypeError):
        everloop.blocking()(coroutine_function)


def test_an_await_inside_a_blocking_body_is_an_error(loop):
    async def wrong():
        with everloop.blocking():
            await asyncio.sleep(0)

    async def main():
        with pytest.raises(RuntimeError):
            await asyncio.create_task(wrong())
        while loop.statistics()["aside"]:  # its next step may run before the one that awaited has the baton back
            await asyncio.sleep(0)
        with everloop.blocking():
            pass
        await asyncio.sleep(0)
        return "usable"

    assert loop.run_until_complete(main()) == "usable"


def test_outside_a_step_blocking_does_nothing(loop):
    with everloop.blocking():
        pass
    with everloop.blocking(), everloop.blocking():
        time.sleep(0)

    async def on_asyncio():
        with everloop.blocking():
            return asyncio.current_task() is not None

    with asyncio.Runner() as runner:
        assert runner.run(on_asyncio()) is True

    def on_a_thread():
        with everloop.blocking():
            return threading.get_ident()

    async def main():
        thread = await asyncio.to_thread(on_a_thread)
        await loop.shutdown_default_executor()
        return thread

    assert loop.run_until_complete(main()) != threading.get_ident()
    assert hand_offs(loop) == 0


def test_call_soon_from_inside_a_blocking_body_reaches_the_loop(loop, gate):
    """The thread does not hold the baton then: the call goes to the inbox, and wakes the loop."""

    async def main():
        with everloop.blocking():
            loop.call_soon(gate.open)
            gate.wait()
        with everloop.blocking():
            loop.call_later(0.001, gate.open)
            gate.wait()

    loop.set_debug(False)
    loop.run_until_complete(main())


def test_a_short_blocking_body_moves_nothing(loop):
    """Nobody need be woken for a call that returns at once."""

    async def main():
        for _ in range(100):
            with everloop.blocking():
                pass
        return threading.current_thread()

    assert loop.run_until_complete(main()) is threading.main_thread()


# ---- what a step sees


def test_the_current_task_is_right_on_both_sides(loop):
    async def block(gate):
        me = asyncio.current_task()
        with everloop.blocking():
            gate.wait()
        assert asyncio.current_task() is me
        await asyncio.sleep(0)
        assert asyncio.current_task() is me
        return me

    async def meanwhile():
        me = asyncio.current_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is me
        assert me in asyncio.all_tasks()

    with gates(3) as all_gates:

        async def main():
            me = asyncio.current_task()
            tasks = [asyncio.create_task(block(gate)) for gate in all_gates]
            await asyncio.sleep(0)
            assert asyncio.current_task() is me
            await asyncio.create_task(meanwhile())
            for gate in all_gates:
                gate.open()
            assert await asyncio.gather(*tasks) == tasks

        loop.run_until_complete(main())


def test_all_tasks_are_seen_from_every_thread_of_the_loop(loop, gate):
    """CPython 3.14 keeps them by the thread on which they were made."""

    async def block():
        with everloop.blocking():
            gate.wait()
        return asyncio.all_tasks()

    async def main():
        at_home = asyncio.create_task(block())
        await asyncio.sleep(0)
        on_relief = asyncio.create_task(asyncio.Event().wait())
        everybody = {asyncio.current_task(), at_home, on_relief}
        assert asyncio.all_tasks() == everybody
        assert asyncio.all_tasks() == await asyncio.to_thread(asyncio.all_tasks, loop)
        gate.open()
        assert await at_home == everybody
        on_relief.cancel()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_plain_callback_has_no_current_task_meanwhile(loop, gate):
    seen = []

    async def main():
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        gate.open()
        await task

    loop.run_until_complete(main())
    assert seen == [None]


def test_context_variables_are_right_on_both_sides(loop):
    variable = contextvars.ContextVar("variable")

    async def block(gate, name):
        variable.set(name)
        with everloop.blocking():
            gate.wait()
            variable.set(name + " inside")
        assert variable.get() == name + " inside"
        await asyncio.sleep(0)
        return variable.get()

    with gates(3) as all_gates:

        async def main():
            variable.set("main")
            tasks = [asyncio.create_task(block(gate, name)) for gate, name in zip(all_gates, "abc", strict=True)]
            await asyncio.sleep(0)
            assert variable.get() == "main"
            for gate in all_gates:
                gate.open()
            assert await asyncio.gather(*tasks) == ["a inside", "b inside", "c inside"]
            assert variable.get() == "main"

        loop.run_until_complete(main())


def test_the_running_loop_is_right_on_both_sides(loop, gate):
    async def block():
        with everloop.blocking():
            gate.wait()
        return asyncio.get_running_loop()

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()
        gate.open()
        assert await task is loop

    loop.run_until_complete(main())


def test_generators_of_a_relief_thread_are_closed_by_the_loop(loop, gate):
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(asyncio.get_running_loop())

    async def main():
        hooks = sys.get_asyncgen_hooks()
        assert hooks.finalizer is not None
        task = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        assert sys.get_asyncgen_hooks() == hooks
        abandoned = numbers()
        assert await anext(abandoned) == 1
        del abandoned
        gc.collect()
        while not closed:
            await asyncio.sleep(0)
        gate.open()
        await task
        assert sys.get_asyncgen_hooks() == hooks

    loop.run_until_complete(main())
    assert closed == [loop]
    assert sys.get_asyncgen_hooks().finalizer is None


def test_debug_mode_knows_the_relief_thread(loop, gate):
    """The thread that holds the baton may call call_soon, whichever it is; every other one is refused."""
    refused = []

    async def block():
        with everloop.blocking():
            gate.wait()
        loop.call_soon(int)

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        loop.call_soon(int)
        await asyncio.sleep(0)
        gate.open()
        await task

        def call():
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                loop.call_soon(int)
            refused.append(True)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    loop.set_debug(True)
    loop.run_until_complete(main())
    assert refused == [True]


def test_a_callback_in_the_context_of_a_blocked_step_waits_for_it(loop, gate):
    """A Context can be entered once at a time: elsewhere `cannot enter context` would be raised."""
    order = []
    context = contextvars.copy_context()

    def block():
        with everloop.blocking():
            gate.wait()
        order.append("blocked")

    def open_gate():
        order.append("other context")
        gate.open()

    loop.call_soon(block, context=context)
    loop.call_soon(order.append, "same context", context=context)
    loop.call_soon(order.append, "same context again", context=context)
    loop.call_soon(lambda: order.append("same context, last") or loop.stop(), context=context)
    loop.call_soon(open_gate)
    loop.run_forever()
    assert order == ["other context", "blocked", "same context", "same context again", "same context, last"]


def test_a_task_that_shares_the_context_of_a_blocked_one_waits_for_it(loop, gate):
    order = []

    async def block():
        await pass_through(gate)
        order.append("blocked")

    async def same():
        order.append("same context")

    async def main():
        context = contextvars.copy_context()
        tasks = [loop.create_task(block(), context=context), loop.create_task(same(), context=context)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == []
        gate.open()
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert order == ["blocked", "same context"]


# ---- exclusion


def test_a_resumed_step_waits_for_the_step_that_let_it_go(loop, gate, witness):
    async def block():
        with everloop.blocking():
            gate.wait()
        with witness:
            return "resumed"

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        witness.open_and_linger(gate.open)
        return await task

    assert loop.run_until_complete(main()) == "resumed"


@pytest.mark.patience(60)
def test_no_two_steps_run_at_once(loop, witness):
    """Tens of thousands of steps that block at random on many threads; each is counted without any lock."""
    tasks, rounds = 60, 200

    async def work(random):
        for _ in range(rounds):
            with witness:
                pass
            match random.randrange(8):
                case 0:
                    with everloop.blocking():
                        time.sleep(random.random() / 5000)
                case 1:
                    with everloop.blocking():
                        pass
                case 2:
                    everloop.block_on(asyncio.sleep(0))
                case 3:
                    await asyncio.sleep(random.random() / 5000)
                case _:
                    await asyncio.sleep(0)
            with witness:
                pass

    async def main():
        with frequent_switches() as random:
            await asyncio.gather(*(work(random) for _ in range(tasks)))

    loop.run_until_complete(main())
    assert witness.entries == 2 * tasks * rounds
    assert loop.statistics()["steps"] > 10_000
    assert hand_offs(loop) > 1000


def test_loops_on_several_threads_hand_off_side_by_side():
    """A step of one loop that is aside holds nothing of another loop on another thread up."""

    async def main():
        task = asyncio.create_task(pass_through(own := Gate()))
        await asyncio.sleep(0)
        own.open()
        await task
        own.close()
        return asyncio.get_running_loop()

    loops = []
    threads = [threading.Thread(target=lambda: loops.append(everloop.run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 4


# ---- relief threads (how many there may be: test_progress.py)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_step_whose_relief_thread_cannot_be_started_keeps_the_baton(error, monkeypatch):
    """A signal handler may raise just then, or the system refuse a thread to a loop that nobody watches."""
    after, told = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))

    class Loop(everloop.EventLoop):
        def _start_relief(self):
            raise error

    def step():
        try:
            with everloop.blocking():
                after.append(("blocked", _native.is_in_step()))
        except KeyboardInterrupt:
            after.append("interrupted")
        after.append(_native.is_in_step())
        loop.stop()

    _native.watch_loops(error is KeyboardInterrupt)
    try:
        loop = Loop(rescue=False)
        loop.call_soon(step)
        loop.run_forever()
    finally:
        _native.watch_loops(True)
    assert after == [{KeyboardInterrupt: "interrupted", RuntimeError: ("blocked", True)}[error], True]
    assert told == ([RuntimeError] if error is RuntimeError else [])
    assert loop.statistics()["aside"] == 0
    loop.close()


def test_a_step_that_is_aside_may_schedule_in_debug_mode_too(loop, gate):
    """Ctrl-C runs asyncio's signal handler in the middle of a blocking call, and that cancels the main task."""
    loop.set_debug(True)

    async def main():
        waiting = asyncio.create_task(asyncio.Event().wait())
        other = asyncio.create_task(pass_through(gate))
        await asyncio.sleep(0)
        with everloop.blocking():
            wait_until(lambda: loop._thread_id != threading.get_ident())
            waiting.cancel()
        gate.open()
        await other
        with pytest.raises(asyncio.CancelledError):
            await waiting

    loop.run_until_complete(main())


def test_the_task_is_not_lost_if_the_baton_comes_back_while_its_relief_thread_is_being_started():
    """Python's own code starts the thread; a call in it may be a learned site, and let go of the baton once more."""

    class Loop(everloop.EventLoop):
        def _start_relief(self):
            super()._start_relief()
            wait_until(_native.is_in_step, "the baton")
            with everloop.blocking():
                pass

    async def main():
        everloop.block_on(asyncio.sleep(0))
        assert asyncio.current_task() is task
        assert loop.statistics()["aside"] == 0

    loop = Loop(rescue=False)
    task = loop.create_task(main())
    loop.run_until_complete(task)
    loop.close()


def test_relief_threads_are_reused(loop):
    """Blocking again and again needs one relief thread, not one each time."""
    relief = set()

    async def main():
        for _ in range(50):
            with gates(1) as (gate,):
                task = asyncio.create_task(pass_through(gate))
                await asyncio.sleep(0)
                relief.add(threading.current_thread().name)
                gate.open()
                await task
        assert loop.statistics()["relief_threads"] < 10

    loop.run_until_complete(main())
    assert len(relief - {"MainThread"}) < 10
