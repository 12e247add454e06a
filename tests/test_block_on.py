"""block_on: wait for a coroutine from synchronous code, wherever that code runs."""

import asyncio
import contextlib
import contextvars
import signal
import sys
import threading

import pytest

import everloop
from support import catch_two_cancels, hand_offs, wait_until


def foreign_thread(target):
    """A thread that knows nothing of the loop it was started from; from 3.14 on one may inherit the context."""
    if sys.version_info >= (3, 14):
        return threading.Thread(target=target, context=contextvars.Context())
    return threading.Thread(target=target)


async def answer(value=42):
    await asyncio.sleep(0)
    return value


async def fail():
    await asyncio.sleep(0)
    raise KeyError("the very same object")


# ---- inside a step


def test_a_step_waits_for_a_coroutine(loop, one_look):
    async def main():
        return everloop.block_on(answer())

    assert loop.run_until_complete(main()) == 42
    assert loop.statistics()["releases"] == 1


def test_a_plain_callback_waits_for_a_coroutine(loop):
    seen = []
    loop.call_soon(lambda: (seen.append(everloop.block_on(answer())), loop.stop()))
    loop.run_forever()
    assert seen == [42]


def test_a_coroutine_that_suspends_often_and_long(loop):
    async def slow():
        for _ in range(100):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        return await loop.run_in_executor(None, int, "42")

    async def main():
        value = everloop.block_on(slow())
        await loop.shutdown_default_executor()
        return value

    assert loop.run_until_complete(main()) == 42


def test_other_tasks_go_on_meanwhile(loop):
    async def main():
        event = asyncio.Event()
        loop.call_soon(event.set)
        everloop.block_on(event.wait())
        other = asyncio.create_task(answer())
        everloop.block_on(asyncio.sleep(0.002))
        return other.done()

    assert loop.run_until_complete(main()) is True


@pytest.mark.parametrize("kind", ["coroutine", "task", "done task", "future", "done future", "awaitable"])
def test_anything_awaitable_will_do(loop, kind):
    class Awaitable:
        def __await__(self):
            return answer().__await__()

    async def main():
        future = loop.create_future()
        match kind:
            case "coroutine":
                return everloop.block_on(answer())
            case "task":
                return everloop.block_on(loop.create_task(answer()))
            case "done task":
                task = loop.create_task(answer())
                await task
                return everloop.block_on(task)
            case "future":
                loop.call_later(0.001, future.set_result, 42)
                return everloop.block_on(future)
            case "done future":
                future.set_result(42)
                return everloop.block_on(future)
            case "awaitable":
                return everloop.block_on(Awaitable())

    assert loop.run_until_complete(main()) == 42


def test_the_exception_is_the_same_object(loop):
    error = KeyError("the very same object")

    async def raise_it():
        raise error

    async def main():
        with pytest.raises(KeyError) as caught:
            everloop.block_on(raise_it())
        assert caught.value is error

    loop.run_until_complete(main())


def test_the_coroutine_runs_as_a_task_of_the_loop_in_a_copy_of_the_context(loop):
    variable = contextvars.ContextVar("variable")

    async def inner():
        assert asyncio.get_running_loop() is loop
        inside = variable.get()
        variable.set("changed inside")
        return asyncio.current_task(), inside

    async def main():
        variable.set("outside")
        task, inside = everloop.block_on(inner())
        assert isinstance(task, asyncio.Task)
        assert task is not asyncio.current_task()
        assert inside == "outside"
        assert variable.get() == "outside"
        everloop.block_on(inner())

    loop.run_until_complete(main())


def test_the_current_task_is_right_after_it(loop):
    async def main():
        me, thread = asyncio.current_task(), threading.get_ident()
        everloop.block_on(asyncio.sleep(0.001))
        assert asyncio.current_task() is me
        assert threading.get_ident() == thread
        await asyncio.sleep(0)
        assert asyncio.current_task() is me

    loop.run_until_complete(main())


def test_fifty_deep(loop):
    """Each waits in a frame of the one before; every wait has its own thread, and all come back."""

    async def descend(depth):
        await asyncio.sleep(0)
        return depth if depth == 50 else everloop.block_on(descend(depth + 1))

    assert loop.run_until_complete(descend(0)) == 50
    assert loop.statistics()["aside"] == 0


def test_fifty_side_by_side(loop):
    async def main():
        async def wait():
            return everloop.block_on(asyncio.sleep(0.005, "slept"))

        return await asyncio.gather(*(wait() for _ in range(50)))

    assert loop.run_until_complete(main()) == ["slept"] * 50


def test_ten_wait_for_the_same_task(loop):
    async def main():
        task = asyncio.create_task(asyncio.sleep(0.002, "slept"))

        async def wait():
            return everloop.block_on(task)

        return await asyncio.gather(*(wait() for _ in range(10)))

    assert loop.run_until_complete(main()) == ["slept"] * 10


def test_a_synchronous_callback_in_the_middle_of_a_library_can_wait(loop):
    """A sort key, a __str__, a property: frames that cannot be made async."""

    class Lazy:
        def __str__(self):
            return everloop.block_on(answer("text"))

    async def main():
        return sorted([3, 1, 2], key=lambda number: everloop.block_on(answer(number))), f"{Lazy()}"

    assert loop.run_until_complete(main()) == ([1, 2, 3], "text")


def test_inside_blocking_it_waits_too(loop):
    async def main():
        with everloop.blocking():
            value = everloop.block_on(answer())
        return value

    assert loop.run_until_complete(main()) == 42


# ---- timeouts and cancelling


def test_a_timeout_cancels_and_waits_for_the_clean_up(loop):
    order = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            order.append("cleaned up")

    async def main():
        with pytest.raises(TimeoutError):
            everloop.block_on(slow(), timeout=0.002)
        order.append("went on")

    loop.run_until_complete(main())
    assert order == ["cleaned up", "went on"]


def test_a_timeout_that_is_long_enough_changes_nothing(loop):
    async def main():
        return everloop.block_on(answer(), timeout=60)

    assert loop.run_until_complete(main()) == 42
    assert everloop.block_on(answer(), timeout=60) == 42


def test_a_timeout_counts_without_a_loop_too():
    order = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            order.append("cleaned up")

    with pytest.raises(TimeoutError):
        everloop.block_on(slow(), timeout=0.002)
    assert order == ["cleaned up"]


def test_cancelling_the_waiting_task_cancels_the_awaited_one(loop):
    order = []

    async def awaited():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            order.append("awaited cancelled")
            raise

    async def waiting():
        try:
            everloop.block_on(awaited())
        except asyncio.CancelledError:
            order.append("waiting cancelled")
            raise

    async def main():
        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    loop.run_until_complete(main())
    assert order == ["awaited cancelled", "waiting cancelled"]


def test_a_clean_up_that_takes_long_is_cancelled_once(loop):
    """Longer than the first looks for a cycle, after each of which the wait begins anew."""
    order = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.3)
            order.append("cleaned up")

    async def main():
        asyncio.get_running_loop().call_later(0.01, asyncio.current_task().cancel)
        everloop.block_on(slow())

    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(main())
    assert order == ["cleaned up"]


def test_each_cancel_of_the_waiting_task_is_passed_on(loop):
    """As by an await: what catches the first one gets the second."""
    seen = []

    async def stubborn():
        await catch_two_cancels(seen, waiting.cancel)
        await asyncio.sleep(0)

    async def wait():
        everloop.block_on(stubborn())

    async def main():
        nonlocal waiting
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    waiting = None
    assert loop.run_until_complete(main()) is True
    assert seen == ["first", "second"]


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_cancel_reaches_the_wait_that_it_is_meant_for(loop, cancelled):
    """Three steps wait for the same task, which does not let itself be cancelled."""
    told = []

    async def stubborn():
        while len(told) < 2:
            try:
                await event.wait()
            except asyncio.CancelledError:
                told.append(len(told))
                if len(told) == 1:
                    for _ in range(10):
                        await asyncio.sleep(0)
        return "done"

    async def wait():
        try:
            everloop.block_on(task)
        finally:
            waits.append(asyncio.current_task())

    async def main():
        nonlocal event, task
        event, task = asyncio.Event(), asyncio.create_task(stubborn())
        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        while loop.statistics()["aside"] < 3:
            await asyncio.sleep(0)
        tasks[cancelled].cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert told == [0]  # once, and not in each turn
        tasks[(cancelled + 1) % 3].cancel()  # not taken for the one that was passed on
        await asyncio.gather(*tasks, return_exceptions=True)

    event = task = None
    waits = []
    loop.run_until_complete(main())
    assert told == [0, 1]
    assert len(waits) == 3


def test_a_step_that_was_cancelled_waits_for_its_clean_up(loop):
    """What one wait has been told of is no business of the next, but a new cancel is."""
    order = []

    async def clean_up():
        await asyncio.sleep(0.002)
        order.append("cleaned up")

    async def wait():
        try:
            everloop.block_on(asyncio.Event().wait())
        finally:
            everloop.block_on(clean_up())
            loop.call_soon(asyncio.current_task().cancel)
            with pytest.raises(asyncio.CancelledError):
                everloop.block_on(asyncio.Event().wait())
            order.append("cancelled again")

    async def main():
        task = asyncio.create_task(wait())
        while loop.statistics()["aside"] == 0:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert loop.run_until_complete(main()) is True
    assert order == ["cleaned up", "cancelled again"]


def test_time_outs_one_after_the_other_in_one_step_each_end_their_wait(loop):
    ended = []

    async def main():
        for number in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    everloop.block_on(asyncio.Event().wait())
            ended.append(number)

    # Up to 3.12 the task is told of its cancel once more: see "Limits" in ARCHITECTURE.md.
    with contextlib.nullcontext() if sys.version_info >= (3, 13) else pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(main())
    assert ended == [0, 1, 2]


def test_a_cancel_that_was_caught_and_never_taken_back_is_not_passed_on(loop):
    """Older libraries catch the CancelledError of their time-out, and leave the task's count as it is."""

    async def wait():
        task = asyncio.current_task()
        loop.call_soon(task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert task.cancelling() == 1
        return everloop.block_on(answer())

    async def main():
        assert await asyncio.create_task(wait()) == 42

        async def wait_and_be_cancelled():
            task = asyncio.current_task()
            loop.call_soon(task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            loop.call_soon(task.cancel)
            everloop.block_on(asyncio.Event().wait())

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(wait_and_be_cancelled())

    loop.run_until_complete(main())


def test_a_clean_up_that_needs_who_waits_for_it_is_a_deadlock(loop):
    """The time is up, and the wait for the clean-up could not end."""

    async def inner(outer):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(outer)

    async def main():
        task = asyncio.create_task(inner(asyncio.current_task()))
        await asyncio.sleep(0)
        with pytest.raises(everloop.DeadlockError):
            everloop.block_on(task, timeout=0)

    loop.run_until_complete(main())


def test_an_awaited_task_that_is_cancelled_raises_cancelled(loop):
    async def main():
        task = asyncio.create_task(asyncio.Event().wait())
        loop.call_later(0.001, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            everloop.block_on(task)
        assert not asyncio.current_task().cancelling()

    loop.run_until_complete(main())


def test_an_interrupt_cancels_and_waits_for_the_clean_up():
    """Ctrl-C while a plain thread of control waits: the coroutine is not left behind."""
    order = []

    async def slow():
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            order.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        everloop.block_on(slow())
    assert order == ["cleaned up"]


# ---- cycles


def test_waiting_for_oneself_is_a_deadlock(loop):
    async def main():
        asyncio.current_task().set_name("ouroboros")
        with pytest.raises(everloop.DeadlockError, match="ouroboros"):
            everloop.block_on(asyncio.current_task())
        return "told"

    assert loop.run_until_complete(main()) == "told"
    assert issubclass(everloop.DeadlockError, RuntimeError)


def test_waiting_for_who_waits_for_me_is_a_deadlock(loop):
    tasks = {}

    async def first():
        everloop.block_on(tasks["second"])

    async def second():
        await asyncio.sleep(0)
        everloop.block_on(tasks["first"])

    async def main():
        tasks["first"] = asyncio.create_task(first(), name="alpha")
        tasks["second"] = asyncio.create_task(second(), name="omega")
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        return [error for error in results if isinstance(error, everloop.DeadlockError)]

    errors = loop.run_until_complete(main())
    assert errors
    assert "alpha" in str(errors[0])
    assert "omega" in str(errors[0])


def test_waiting_for_who_awaits_me_is_a_deadlock(loop):
    """The outer task awaits the inner one in the usual way; a cycle all the same."""

    async def inner(outer):
        with pytest.raises(everloop.DeadlockError):
            everloop.block_on(outer)
        return "told"

    async def main():
        return await asyncio.create_task(inner(asyncio.current_task()))

    assert loop.run_until_complete(main()) == "told"


def test_a_deadlock_through_three_is_seen(loop):
    tasks = []

    async def link(number):
        while len(tasks) < 3:
            await asyncio.sleep(0)
        everloop.block_on(tasks[(number + 1) % 3])

    async def main():
        tasks.extend([asyncio.create_task(link(number)) for number in range(3)])
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(error, everloop.DeadlockError) for error in results)

    loop.run_until_complete(main())


def test_waiting_in_a_row_is_no_deadlock(loop):
    async def main():
        first = asyncio.create_task(asyncio.sleep(0.002, "slept"))

        async def wait(task):
            return everloop.block_on(task)

        second = asyncio.create_task(wait(first))
        third = asyncio.create_task(wait(second))
        return everloop.block_on(third)

    assert loop.run_until_complete(main()) == "slept"


# ---- elsewhere than in a step


def test_without_any_loop_it_runs_one():
    async def main():
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop())

    assert everloop.block_on(main()) is everloop.EventLoop
    with pytest.raises(KeyError, match="the very same object"):
        everloop.block_on(fail())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_foreign_thread_without_context_runs_its_own_loop(loop):
    seen = []

    async def which():
        return asyncio.get_running_loop()

    async def main():
        thread = foreign_thread(lambda: seen.append(everloop.block_on(which())))
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
        thread.join()

    loop.run_until_complete(main())
    assert isinstance(seen[0], everloop.EventLoop)
    assert seen[0] is not loop


def test_a_worker_thread_of_to_thread_waits_on_the_loop_it_came_from(loop):
    variable = contextvars.ContextVar("variable")

    async def which():
        return asyncio.get_running_loop(), variable.get()

    async def main():
        variable.set("carried")
        found = await asyncio.to_thread(lambda: everloop.block_on(which()))
        with pytest.raises(KeyError):
            await asyncio.to_thread(lambda: everloop.block_on(fail()))
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(lambda: everloop.block_on(asyncio.sleep(60), timeout=0.002))
        await loop.shutdown_default_executor()
        return found

    assert loop.run_until_complete(main()) == (loop, "carried")
    assert hand_offs(loop) == 0


def test_a_worker_thread_of_anyio_waits_on_the_loop_it_came_from():
    import anyio.to_thread

    async def which():
        return asyncio.get_running_loop()

    async def main():
        return await anyio.to_thread.run_sync(lambda: everloop.block_on(which())), asyncio.get_running_loop()

    found, loop = everloop.run(main())
    assert found is loop


def test_a_worker_thread_that_outlives_its_loop_runs_its_own(loop):
    context = []

    async def main():
        context.append(contextvars.copy_context())

    loop.run_until_complete(main())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(context[0].run(everloop.block_on, answer())))
    thread.start()
    thread.join()
    assert seen == [42]


def test_a_future_is_awaited_on_its_own_running_loop_from_any_thread(loop):
    seen = []

    async def main():
        future = loop.create_future()
        task = asyncio.create_task(asyncio.sleep(0.002, "slept"))
        threads = [foreign_thread(lambda what=what: seen.append(everloop.block_on(what))) for what in (future, task)]
        for thread in threads:
            thread.start()
        loop.call_later(0.001, future.set_result, "set")
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)
        for thread in threads:
            thread.join()

    loop.run_until_complete(main())
    assert sorted(seen) == ["set", "slept"]


def test_many_threads_wait_at_once(loop):
    async def main():
        results = await asyncio.gather(*(asyncio.to_thread(everloop.block_on, answer(number)) for number in range(100)))
        await loop.shutdown_default_executor()
        return results

    assert loop.run_until_complete(main()) == list(range(100))


# ---- what cannot be


@pytest.mark.parametrize("thing", [42, None, answer, "text"])
def test_what_is_not_awaitable_is_a_type_error(loop, thing):
    async def main():
        with pytest.raises(TypeError):
            everloop.block_on(thing)

    loop.run_until_complete(main())
    with pytest.raises(TypeError):
        everloop.block_on(thing)
    assert hand_offs(loop) == 0


def test_a_future_of_another_loop_is_refused_with_the_way_out(loop):
    other = everloop.EventLoop()
    future = other.create_future()

    async def main():
        with pytest.raises(RuntimeError, match="loop") as caught:
            everloop.block_on(future)
        assert "run_coroutine_threadsafe" in str(caught.value) or "await" in str(caught.value)

    loop.run_until_complete(main())
    other.close()


def test_a_future_of_another_running_loop_is_refused_too(loop):
    ready, futures = threading.Event(), []
    other = everloop.EventLoop()

    def serve():
        futures.append(other.create_future())
        other.call_soon(ready.set)
        other.run_forever()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()

    async def main():
        with pytest.raises(RuntimeError):
            everloop.block_on(futures[0])

    loop.run_until_complete(main())
    other.call_soon_threadsafe(other.stop)
    thread.join()
    other.close()


def test_on_a_running_loop_of_asyncio_it_is_refused():
    async def main():
        coroutine = answer()
        with pytest.raises(RuntimeError):
            everloop.block_on(coroutine)
        coroutine.close()
        return "still running"

    with asyncio.Runner() as runner:
        assert runner.run(main()) == "still running"


def test_a_loop_that_is_over_says_so(loop):
    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError):
        everloop.block_on(future)


def test_the_awaited_task_survives_an_error_elsewhere(loop):
    """An exception in one waiter leaves the other's coroutine alone."""

    async def main():
        async def waiter(coroutine):
            return everloop.block_on(coroutine)

        results = await asyncio.gather(waiter(fail()), waiter(answer()), return_exceptions=True)
        assert isinstance(results[0], KeyError)
        return results[1]

    assert loop.run_until_complete(main()) == 42
    wait_until(lambda: loop.statistics()["aside"] == 0)
