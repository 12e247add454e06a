"""Eager tasks begin in the thread that runs their loop; from any other they are refused, as by CPython 3.14.

The first step of one that began elsewhere would run beside the loop's own steps, in the place of its current task.
"""

import asyncio
import concurrent.futures
import functools
import sys

import pytest

import everloop
from support import gates

REFUSED = r"^loop <EventLoop running=True closed=False debug=False> is not the running loop$"
has_eager_start = pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task has no such argument there")


def own_factory(loop, coroutine, **options):
    return asyncio.Task(coroutine, loop=loop, **{"eager_start": True, **options})


def factory_of_partials(loop, coroutine, **options):
    return functools.partial(asyncio.Task, loop=loop, eager_start=True, **options)(coroutine)


FACTORIES = {
    "asyncio's": asyncio.eager_task_factory,
    "of Task": asyncio.create_eager_task_factory(asyncio.Task),
    "of a subclass": asyncio.create_eager_task_factory(type("Sub", (asyncio.Task,), {})),
    "of tasks in Python": asyncio.create_eager_task_factory(asyncio.tasks._PyTask),
    "own": own_factory,
    "of partials": factory_of_partials,
}


def by_factory(factory):
    def make(loop, coroutine):
        loop.set_task_factory(factory)
        try:
            return loop.create_task(coroutine)
        finally:
            loop.set_task_factory(None)

    return make


WAYS = {
    **{f"factory {name}": by_factory(factory) for name, factory in FACTORIES.items()},
    "Task": lambda loop, coroutine: asyncio.Task(coroutine, loop=loop, eager_start=True),
    "Task in Python": lambda loop, coroutine: asyncio.tasks._PyTask(coroutine, loop=loop, eager_start=True),
    "create_task": pytest.param(
        lambda loop, coroutine: loop.create_task(coroutine, eager_start=True), marks=has_eager_start
    ),
}
every_way = pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)


class Steps:
    """What the coroutine of the tasks notes, and one of it that nobody has begun."""

    def __init__(self):
        self.taken = []
        self.coroutine = self._take()

    async def _take(self):
        self.taken.append("step")
        return "done"


def refused(make, loop, match=REFUSED):
    steps = Steps()
    with pytest.raises(RuntimeError, match=match):
        make(loop, steps.coroutine)
    steps.coroutine.close()
    assert steps.taken == []


async def refused_on_a_loop_of_its_own(make, loop):
    current = asyncio.current_task()
    refused(make, loop)
    assert asyncio.current_task() is current


@pytest.fixture
def thread():
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        yield executor


@every_way
def test_another_thread_is_refused(loop, thread, make):
    async def main():
        current = asyncio.current_task()
        await asyncio.wrap_future(thread.submit(refused, make, loop))
        assert asyncio.current_task() is current
        assert asyncio.all_tasks() == {current}

    loop.run_until_complete(main())


@every_way
def test_a_thread_with_a_loop_of_its_own_is_refused(loop, thread, make):
    async def main():
        of_its_own = refused_on_a_loop_of_its_own(make, loop)
        await asyncio.wrap_future(thread.submit(everloop.run, of_its_own))

    loop.run_until_complete(main())


@every_way
def test_a_step_is_refused_where_it_lets_the_loop_run_elsewhere(loop, make):
    async def main():
        with everloop.blocking():
            refused(make, loop, match="cannot begin inside `with everloop.blocking")
        assert make(loop, asyncio.sleep(0, "done")).cancel()

    loop.run_until_complete(main())


@every_way
def test_the_thread_that_runs_the_loop_begins_at_once(run, make):
    """Home, or a relief thread."""

    async def main():
        steps = Steps()
        task = make(asyncio.get_running_loop(), steps.coroutine)
        assert steps.taken == ["step"]
        assert await task == "done"

    run(main())


@every_way
def test_a_loop_that_does_not_run_begins_later(loop, thread, make):
    steps = Steps()
    task = thread.submit(make, loop, steps.coroutine).result()
    assert steps.taken == []
    assert loop.run_until_complete(task) == "done"


def test_a_task_that_is_not_eager_may_be_made_anywhere(loop, thread):
    def factory(loop, coroutine, **options):
        assert loop.is_running()
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main():
        for each in (None, factory):
            loop.set_task_factory(each)
            task = await asyncio.wrap_future(thread.submit(loop.create_task, asyncio.sleep(0, "done")))
            assert await task == "done"

    loop.run_until_complete(main())


def test_other_threads_may_ask_whether_the_loop_runs(loop, thread):
    def ask():
        call = loop.is_running
        proxy = lambda *arguments, **options: call(*arguments, **options)  # noqa: E731
        return [loop.is_running(), call(), proxy(), getattr(loop, "is_running")(), repr(loop).count("running=True")]  # noqa: B009

    async def main():
        assert await asyncio.wrap_future(thread.submit(ask)) == [True, True, True, True, 1]

    loop.run_until_complete(main())
    assert thread.submit(loop.is_running).result() is False


def test_while_a_task_is_refused_another_goes_on(loop, thread):
    """It was lost when a foreign task took its place in its middle."""

    async def main():
        with gates(1) as [gate]:
            loop.set_task_factory(asyncio.eager_task_factory)

            async def foreign():
                gate.wait()

            def make():
                coroutine = foreign()
                with pytest.raises(RuntimeError, match=REFUSED):
                    loop.create_task(coroutine)
                coroutine.close()

            await asyncio.wrap_future(thread.submit(make))
            for _ in range(3):
                await asyncio.sleep(0)
            return "ended"

    assert loop.run_until_complete(main()) == "ended"
