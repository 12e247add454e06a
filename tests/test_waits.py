"""The wait graph: who waits for itself is told, with the lines of all who take part, instead of hanging."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import re
import sys
import threading

import pytest

import everloop
from everloop.bridge.deadlocks import edges
from everloop.bridge.deadlocks import waiting as waits
from support import wait_until


def outcome(future):
    """What a future holds, deadlocks included; nothing here may hang."""
    try:
        return future.result()
    except BaseException as error:
        return error


def deadlocks(outcomes):
    return [error for error in outcomes if isinstance(error, everloop.DeadlockError)]


@contextlib.contextmanager
def portals(count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(everloop.LoopThread()) for _ in range(count)]


def this_line():
    """The line of the caller, for a look at the message."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# ---- cycles that a wait closes


def test_the_message_names_all_members_and_their_lines(loop):
    tasks, lines = {}, []

    async def first():
        lines.append(this_line()), everloop.block_on(tasks["second"])

    async def second():
        await asyncio.sleep(0)
        lines.append(this_line()), everloop.block_on(tasks["first"])

    async def main():
        tasks["first"] = asyncio.create_task(first(), name="alpha")
        tasks["second"] = asyncio.create_task(second(), name="omega")
        return deadlocks(await asyncio.gather(*tasks.values(), return_exceptions=True))

    message = str(loop.run_until_complete(main())[0])
    assert len(lines) == 2
    for line in lines:
        assert f"at {line}" in message
    assert re.search(r"'alpha' \(.*first\) waits for task 'omega'", message)
    assert re.search(r"'omega' \(.*second\) waits for task 'alpha'", message)


def test_a_job_of_an_executor_that_waits_for_a_task_that_waits_for_it(loop):
    """Pool to loop to pool."""

    async def main():
        job = None

        async def wait_for_the_job():
            return await job

        def work():
            return everloop.block_on(wait_for_the_job())

        job = asyncio.ensure_future(asyncio.to_thread(work))
        with pytest.raises(everloop.DeadlockError, match="wait_for_the_job"):
            await job
        await loop.shutdown_default_executor()
        return "told"

    assert loop.run_until_complete(main()) == "told"


def test_a_job_that_waits_for_a_step_that_waits_for_it(loop):
    """The same, with a step that blocks where the task above awaits."""

    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:

            async def wait_for_the_job():
                return everloop.block_on(asyncio.wrap_future(job))

            started = asyncio.Event()

            def work():
                loop.call_soon_threadsafe(started.set)
                return everloop.block_on(wait_for_the_job())

            job = pool.submit(contextvars.copy_context().run, work)
            await started.wait()
            with pytest.raises(everloop.DeadlockError):
                await asyncio.wrap_future(job)
        return "told"

    assert loop.run_until_complete(main()) == "told"


def test_two_loops_whose_steps_wait_for_each_other():
    with portals(2) as (a, b):
        futures = {}
        both = threading.Barrier(2)

        async def wait_for(name):
            with everloop.blocking():
                both.wait()
            return futures[name].result()

        futures["first"] = a.submit(wait_for("second"))
        futures["second"] = b.submit(wait_for("first"))
        outcomes = [outcome(future) for future in futures.values()]
    assert deadlocks(outcomes)
    assert "wait_for" in str(deadlocks(outcomes)[0])


def test_a_step_that_waits_for_another_loop_s_task_that_awaits_it():
    """The cycle is closed by an `await`, after the wait has begun: it is seen soon after."""
    with portals(2) as (a, b):
        ready = threading.Event()
        futures = {}

        async def await_the_first():
            return await asyncio.wrap_future(futures["first"])

        async def first():
            with everloop.blocking():
                ready.wait()
            return b.run(await_the_first())

        futures["first"] = a.submit(first())
        ready.set()
        with pytest.raises(everloop.DeadlockError, match="await_the_first") as caught:
            futures["first"].result()
    assert "in first" in str(caught.value)


def test_through_shields_gathers_and_groups(loop):
    async def main():
        async def inner(outer):
            everloop.block_on(outer)

        def chains(outer):
            async def shielded():
                await asyncio.shield(inner(outer))

            async def gathered():
                await asyncio.gather(asyncio.sleep(0), inner(outer))

            async def grouped():
                async with asyncio.TaskGroup() as group:
                    group.create_task(inner(outer))

            return shielded, gathered, grouped

        for number in range(3):
            started = asyncio.Event()

            async def outer(number=number, started=started):
                await started.wait()
                await chains(asyncio.current_task())[number]()

            task = asyncio.create_task(outer())
            started.set()
            [error] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            assert isinstance(error, everloop.DeadlockError), number

    loop.run_until_complete(main())


@pytest.mark.parametrize("return_when", [asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED])
def test_through_asyncio_wait(loop, return_when):
    async def main():
        this = asyncio.current_task()

        async def waits_for_main():
            await asyncio.sleep(0)  # until main waits
            everloop.block_on(this)

        tasks = [asyncio.create_task(waits_for_main()) for _ in range(2)]
        await asyncio.wait(tasks, return_when=return_when)
        await asyncio.wait(tasks)
        return deadlocks(await asyncio.gather(*tasks, return_exceptions=True))

    assert len(loop.run_until_complete(main())) >= 1


def test_an_asyncio_wait_that_something_else_ends_is_no_deadlock(loop):
    async def main():
        this = asyncio.current_task()

        async def waits_for_main():
            await asyncio.sleep(0)
            everloop.block_on(this)

        waiting = asyncio.create_task(waits_for_main())
        await asyncio.wait([waiting, asyncio.create_task(asyncio.sleep(0.2))], return_when=asyncio.FIRST_COMPLETED)
        assert not waiting.done()
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        return waiting

    waiting = loop.run_until_complete(main())
    loop.run_until_complete(waiting)


def test_a_standing_loop_of_asyncio_s_that_waits_for_one_that_needs_it():
    with portals(1) as [portal]:

        async def nothing():
            pass

        async def needs(loop):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(nothing(), loop))

        async def main():
            coroutine = needs(asyncio.get_running_loop())
            with pytest.raises(everloop.DeadlockError, match="stands still"):
                portal.run(coroutine)
            return "told"

        assert asyncio.run(main()) == "told"


def test_a_thread_that_iterates_for_a_task_that_waits_for_that_task(loop):
    async def main():
        me = asyncio.current_task()

        def items():
            yield everloop.block_on(me)

        with pytest.raises(everloop.DeadlockError, match="everloop-iterate"):
            await anext(everloop.aiterate(items))
        return "told"

    assert loop.run_until_complete(main()) == "told"


# ---- loops that stand


def test_a_wait_for_a_loop_that_nobody_runs_says_so_and_goes_on(caplog):
    """asyncio waits for ever, and says nothing. Somebody may still come and run it."""
    loop = everloop.new_event_loop()
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "at last"), loop)
    results = []
    thread = threading.Thread(target=lambda: results.append(future.result()), name="in-vain")
    thread.start()
    wait_until(lambda: caplog.messages, "the warning")
    assert "thread in-vain waits for a coroutine" in caplog.text
    assert "which is not running: run that loop, or close it" in caplog.text
    loop.run_until_complete(asyncio.to_thread(thread.join))
    loop.close()
    assert results == ["at last"]


# ---- no cycles


def test_a_wait_that_a_time_out_ends_is_no_deadlock(loop):
    """Neither at its beginning nor later."""

    async def main():
        async def awaits(outer, ready):
            ready.set()
            try:
                async with asyncio.timeout(0.2):
                    await asyncio.shield(outer)
            except TimeoutError:
                return "in time"

        async def outer():
            ready = asyncio.Event()
            inner = asyncio.create_task(awaits(asyncio.current_task(), ready))
            return everloop.block_on(inner)

        return await asyncio.create_task(outer())

    assert loop.run_until_complete(main()) == "in time"


def test_long_waits_that_end_are_left_alone(loop):
    """Longer than the first two looks for a cycle."""
    with portals(1) as [portal]:

        async def main():
            return everloop.block_on(asyncio.to_thread(portal.run, asyncio.sleep(0.2, "slept")))

        assert loop.run_until_complete(main()) == "slept"


def test_an_executor_of_the_program_s_own_whose_threads_all_wait_for_one(loop):
    """concurrent.futures and asyncio hang here."""

    def through_to_executor(executor, function, *args):
        return everloop.to_executor(executor, function, *args)

    async def probe(call):
        async def inner(number):
            return await call(executor, abs, -number)

        def outer(number):
            return asyncio.run_coroutine_threadsafe(inner(number), loop).result()

        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            calls = [call(executor, outer, number) for number in range(8)]
            return await asyncio.gather(*calls, return_exceptions=True)

    for call in (through_to_executor, loop.run_in_executor):
        outcomes = loop.run_until_complete(probe(call))
        told = deadlocks(outcomes)
        assert told
        assert "a thread of <concurrent.futures.thread.ThreadPoolExecutor" in str(told[0])
        assert str(told[0]).count("in outer") == 2  # who waits on each of the threads
        assert [each for number, each in enumerate(outcomes) if each not in (number, *told)] == []


def test_of_two_who_see_a_cycle_the_one_goes_on_when_the_other_has_given_up(loop, monkeypatch):
    tell, is_seen, has_given_up = waits._tell, threading.Event(), threading.Event()

    def tell_late(cycle):
        if not is_seen.is_set():
            is_seen.set()
            assert has_given_up.wait(10)
        return tell(cycle)

    monkeypatch.setattr(waits, "_tell", tell_late)

    async def inner(number):
        return await everloop.to_executor(executor, abs, -number)

    def outer(number):
        try:
            return asyncio.run_coroutine_threadsafe(inner(number), loop).result()
        except everloop.DeadlockError:
            has_given_up.set()
            raise

    async def probe():
        calls = [everloop.to_executor(executor, outer, number) for number in range(2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        outcomes = loop.run_until_complete(probe())
    [told] = deadlocks(outcomes)
    assert str(told).count("in outer") == 2
    assert [each for number, each in enumerate(outcomes) if each not in (number, told)] == []


def test_a_free_thread_of_an_executor_ends_the_wait(loop):
    async def main():
        async def inner():
            return await everloop.to_executor(executor, threading.get_ident)

        def outer():
            return asyncio.run_coroutine_threadsafe(inner(), loop).result(), threading.get_ident()

        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            return await everloop.to_executor(executor, outer)

    inner, outer = loop.run_until_complete(main())
    assert inner != outer


def test_nothing_is_remembered_of_waits_that_are_over(loop):
    async def main():
        everloop.block_on(asyncio.sleep(0.001))
        with pytest.raises(TimeoutError):
            everloop.block_on(asyncio.sleep(60), timeout=0.001)

        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 42), loop).result() == 42
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            await everloop.to_executor(executor, int)

    loop.run_until_complete(main())
    gc.collect()
    assert edges.waits == {}
    assert len(edges.links) == 0
    assert len(everloop.pool._executors) == 0


# ---- what others write


def test_who_works_for_a_future_waits_on_its_behalf():
    job, other = concurrent.futures.Future(), concurrent.futures.Future()
    edges.link(other, job)
    with waits.working(job), pytest.raises(everloop.DeadlockError, match="Future"), waits.waiting(other):
        pass
    with waits.waiting(other):  # no longer for the job
        pass
    assert edges.waits == {}


def test_a_nested_wait_gives_back_what_was_there():
    outer, inner = concurrent.futures.Future(), concurrent.futures.Future()
    with waits.waiting(outer) as wait:
        with waits.waiting(inner):
            pass
        assert edges.waits[threading.get_ident()] is wait


def test_the_pauses_make_the_time_out():
    assert list(waits.pauses(0.02)) == [0.02]
    assert sum(waits.pauses(10)) == pytest.approx(10)
    pauses = waits.pauses(None)
    assert max(next(pauses) for _ in range(30)) == 60
