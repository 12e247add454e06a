"""Tasks of every make: factories, eager ones, those that block in their first part, and what becomes of generators."""

import asyncio
import contextvars
import functools
import gc
import os
import sys
import threading
import weakref

import pytest

import everloop
from support import gates, hand_offs, wait_aside

variable = contextvars.ContextVar("variable", default="outside")


# ---- factories


def test_a_factory_gets_the_loop_the_coroutine_and_the_context(run):
    async def main():
        loop = asyncio.get_running_loop()
        calls = []

        def factory(loop, coroutine, **options):
            calls.append((loop, options))
            return asyncio.Task(coroutine, loop=loop, **options)

        with pytest.raises(TypeError, match="task factory must be a callable or None"):
            loop.set_task_factory(1)
        loop.set_task_factory(factory)
        context = contextvars.copy_context()
        context.run(variable.set, "given")

        async def ask():
            return variable.get()

        assert await loop.create_task(ask(), name="named", context=context) == "given"
        loop.set_task_factory(None)
        assert await loop.create_task(ask()) == "outside"
        [(its_loop, options)] = calls
        assert its_loop is loop
        assert options["context"] is context

    run(main())


def test_a_factory_that_refers_to_its_loop_goes_with_it():
    loop = everloop.new_event_loop()

    def factory(of, loop, coroutine, **options):
        assert of is loop
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(functools.partial(factory, loop))
    assert loop._task_factory is loop.get_task_factory()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.get_task_factory() is not None  # as asyncio has it
    reference = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None


def test_a_task_of_one_s_own_class_runs(run):
    class Task(asyncio.Task):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, **options: Task(coroutine, loop=loop, **options))

        async def ask():
            return type(asyncio.current_task())

        assert await asyncio.create_task(ask()) is Task
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask())
        assert task.result() is Task

    run(main())


def test_a_task_in_pure_python_runs(run):
    # since 3.14 the two kinds of tasks do not know of each other
    current_task = asyncio.tasks._py_current_task if sys.version_info >= (3, 14) else asyncio.current_task

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, **options: asyncio.tasks._PyTask(coroutine, loop=loop, **options))

        async def ask(number):
            await asyncio.sleep(0)
            assert type(current_task()) is asyncio.tasks._PyTask
            return number

        assert await asyncio.gather(*map(ask, range(10))) == list(range(10))

    run(main())


def test_tasks_in_pure_python_go_aside(loop):
    current_task = asyncio.tasks._py_current_task if sys.version_info >= (3, 14) else asyncio.current_task

    async def block(gate):
        before = current_task()
        with everloop.blocking():
            gate.wait()
        assert current_task() is before
        await asyncio.sleep(0)
        assert current_task() is before

    async def main():
        loop.set_task_factory(lambda loop, coroutine, **options: asyncio.tasks._PyTask(coroutine, loop=loop, **options))
        with gates(3) as three:
            tasks = [asyncio.create_task(block(gate)) for gate in three]
            for gate in reversed(three):
                await asyncio.sleep(0)
                gate.open()
            await asyncio.gather(*tasks)

    loop.run_until_complete(main())


# ---- eager tasks


def eager(loop):
    loop.set_task_factory(asyncio.eager_task_factory)


def test_an_eager_task_that_never_waits_takes_no_turn(run):
    async def main():
        eager(asyncio.get_running_loop())

        async def quick():
            return asyncio.current_task()

        outer = asyncio.current_task()
        task = asyncio.create_task(quick())
        assert task.done()
        assert task.result() is task
        assert asyncio.current_task() is outer
        assert await task is task

    run(main())


def test_an_eager_task_that_waits_goes_on_later(run):
    async def main():
        eager(asyncio.get_running_loop())
        order, before = [], asyncio.all_tasks()

        async def child(number):
            order.append(f"{number} begins")
            await asyncio.sleep(0)
            order.append(f"{number} ends")

        tasks = [asyncio.create_task(child(number)) for number in range(2)]
        order.append("made")
        assert asyncio.all_tasks() == {*tasks, *before}
        await asyncio.gather(*tasks)
        assert order == ["0 begins", "1 begins", "made", "0 ends", "1 ends"]
        assert asyncio.all_tasks() == before

    run(main())


def test_an_eager_task_that_raises_is_done(run):
    async def main():
        eager(asyncio.get_running_loop())

        async def fail():
            raise ValueError("at once")

        task = asyncio.create_task(fail())
        assert task.done()
        with pytest.raises(ValueError, match="at once"):
            await task

    run(main())


def test_eager_tasks_nest(run):
    async def main():
        eager(asyncio.get_running_loop())

        async def down(depth):
            me = asyncio.current_task()
            below = await asyncio.create_task(down(depth - 1)) if depth else 0
            assert asyncio.current_task() is me
            return below + 1

        assert await asyncio.create_task(down(50)) == 51

    run(main())


def test_an_eager_task_keeps_its_context(run):
    async def main():
        eager(asyncio.get_running_loop())

        async def child():
            before = variable.get()
            variable.set("of the child")
            await asyncio.sleep(0)
            return before, variable.get()

        variable.set("of main")
        assert await asyncio.create_task(child()) == ("of main", "of the child")
        assert variable.get() == "of main"

    run(main())


@pytest.mark.parametrize("how", ["blocking", "rescue"])
def test_an_eager_task_may_block_in_its_eager_part(rescuing_loop, how):
    """The step that made it is aside with it; others go on, and both come back as what they were."""
    rescuing_loop.rescue = how == "rescue"

    async def main():
        with gates(1) as [gate]:

            async def child():
                me = asyncio.current_task()
                if how == "rescue":
                    gate.wait()
                else:
                    with everloop.blocking():
                        gate.wait()
                assert asyncio.current_task() is me
                await asyncio.sleep(0)
                assert asyncio.current_task() is me
                return threading.current_thread()

            async def other():
                await asyncio.sleep(0)
                assert asyncio.current_task() is not None
                await wait_aside(rescuing_loop)
                seen.append(asyncio.current_task())
                gate.open()

            seen = []
            opener = rescuing_loop.create_task(other())
            await asyncio.sleep(0)
            eager(rescuing_loop)
            outer = asyncio.current_task()
            task = rescuing_loop.create_task(child())
            assert asyncio.current_task() is outer
            assert seen == [opener]
            await task
            assert asyncio.current_task() is outer
            await opener

    rescuing_loop.run_until_complete(main())
    assert hand_offs(rescuing_loop)


def test_many_eager_tasks_block_at_once(rescuing_loop):
    eager(rescuing_loop)

    async def main():
        with gates(5) as opened:
            results = []

            async def child(gate):
                gate.wait()
                results.append(asyncio.current_task())
                await asyncio.sleep(0)
                assert results[-1] is not None

            async def make(gate):
                await asyncio.sleep(0)
                task = asyncio.create_task(child(gate))
                await task
                return task

            making = [asyncio.create_task(make(gate)) for gate in opened]
            await wait_aside(rescuing_loop, 5)
            for gate in opened:
                gate.open()
            assert set(await asyncio.gather(*making)) == set(results)

    rescuing_loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="eager_start came with 3.14")
def test_a_task_can_be_started_eagerly_by_itself(run):
    async def main():
        async def quick():
            return "done"

        assert asyncio.create_task(quick(), eager_start=True).done()
        task = asyncio.create_task(quick(), eager_start=False)
        assert not task.done()
        await task

    run(main())


# ---- steps that are aside as their task is left


class Pipe:
    """A pipe that nobody reads until `drain()`, after which a thread reads all of it."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self._thread = threading.Thread(target=self._read)

    def _read(self):
        while os.read(self.reader, 65536):
            pass
        os.close(self.reader)

    def drain(self):
        self._thread.start()

    def file(self):
        """Full of what its destructor will have to write: that blocks, in C code that runs after all Python code."""
        file = open(self.writer, "wb", buffering=1 << 20)  # noqa: SIM115 - its destructor is to close it
        file.write(bytes(200_000))
        return file

    def end(self):
        self._thread.join()


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.end()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("eagerly", [False, True], ids=["task", "eager task"])
def test_a_task_may_block_in_the_destructor_of_its_last_object(rescuing_loop, pipe, eagerly, caplog):
    """The coroutine has ended, and asyncio has yet to leave its task."""

    async def write():
        file = pipe.file()
        return file is not None

    async def step(number):
        for _ in range(5):
            await asyncio.sleep(0)
        return asyncio.current_task().get_name(), number

    async def drain():
        others = [asyncio.Task(step(number), name=f"other {number}") for number in range(3)]
        await wait_aside(rescuing_loop)
        pipe.drain()
        return await asyncio.gather(*others)

    async def main():
        draining = asyncio.Task(drain())
        await asyncio.sleep(0)
        me = asyncio.current_task()
        options = {"eager_start": True, "loop": rescuing_loop} if eagerly else {}
        assert await asyncio.Task(write(), **options)
        assert asyncio.current_task() is me
        return await draining

    assert rescuing_loop.run_until_complete(main()) == [(f"other {number}", number) for number in range(3)]
    assert "Leaving task" not in caplog.text
    assert rescuing_loop.statistics()["rescues"] >= 1


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_plain_callback_may_block_in_the_destructor_of_its_argument(rescuing_loop, pipe):
    files = [pipe.file()]

    async def main():
        rescuing_loop.call_soon(files.clear)
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        pipe.drain()
        return await asyncio.create_task(asyncio.sleep(0, "done"))

    assert rescuing_loop.run_until_complete(main()) == "done"


def test_a_step_that_ends_inside_blocking_leaves_its_own_task(loop, gate, caplog):
    """An await ends it, and others have run meanwhile."""

    async def block():
        with everloop.blocking():
            gate.wait()
            await asyncio.sleep(0)

    async def main():
        blocking = asyncio.create_task(block())
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(RuntimeError, match="there was an await inside"):
            await blocking
        return asyncio.current_task().get_name()

    assert loop.run_until_complete(asyncio.Task(main(), name="main", loop=loop)) == "main"
    assert "Leaving task" not in caplog.text


def test_looking_a_loop_up_inside_blocking_does_not_end_that(loop, gate):
    async def block():
        with everloop.blocking():
            assert {loop: "found"}[loop] == "found"
            gate.wait()
        return "done"

    async def main():
        blocking = asyncio.create_task(block())
        await asyncio.sleep(0)
        gate.open()
        return await blocking

    assert loop.run_until_complete(main()) == "done"


# ---- asynchronous generators


async def numbers(closed, name="one"):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        closed.append((name, asyncio.get_running_loop()))


def test_generators_that_are_left_are_closed_by_shutdown(run):
    async def main():
        loop = asyncio.get_running_loop()
        closed = []
        kept = [numbers(closed, number) for number in range(3)]
        for generator in kept:
            assert await anext(generator) == 0
        await loop.shutdown_asyncgens()
        assert sorted(closed) == [(number, loop) for number in range(3)]
        late = numbers(closed, "late")
        with pytest.warns(ResourceWarning, match=r"was scheduled after loop.shutdown_asyncgens\(\) call"):
            await anext(late)
        await late.aclose()

    run(main())


def test_an_error_of_a_generator_in_shutdown_is_told(run):
    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context))

        async def fail():
            try:
                yield 1
            finally:
                raise ValueError("in the end")

        kept = fail()
        await anext(kept)
        await loop.shutdown_asyncgens()
        [context] = told
        assert context["message"].startswith("an error occurred during closing of asynchronous generator")
        assert context["asyncgen"] is kept
        assert str(context["exception"]) == "in the end"

    run(main())


def test_an_abandoned_generator_is_closed_while_others_go_on(run):
    async def main():
        loop = asyncio.get_running_loop()
        closed = []
        generator = numbers(closed)
        await anext(generator)
        del generator
        gc.collect()
        while not closed:
            await asyncio.sleep(0)
        assert closed == [("one", loop)]

    run(main())


def test_a_generator_begun_at_home_and_left_on_a_relief_thread_is_closed(loop, gate):
    async def main():
        async def block():
            with everloop.blocking():
                gate.wait()

        closed = []
        generator = numbers(closed)
        await anext(generator)
        blocked = asyncio.create_task(block())
        await wait_aside(loop)
        assert threading.current_thread() is not threading.main_thread()
        del generator
        gc.collect()
        while not closed:
            await asyncio.sleep(0)
        other = numbers(closed, "other")
        await anext(other)
        gate.open()
        await blocked
        while threading.current_thread() is not threading.main_thread():
            await asyncio.sleep(0)
        await loop.shutdown_asyncgens()
        assert closed == [("one", loop), ("other", loop)]

    loop.run_until_complete(main())


# ---- create_task is native where nothing is asked for but a task


def test_create_task_takes_what_asyncio_s_takes(loop):
    context = contextvars.copy_context()
    context.run(variable.set, "inside")

    async def look():
        return variable.get(), asyncio.current_task().get_name()

    async def main():
        named = loop.create_task(look(), name="mine", context=context)
        unnamed = loop.create_task(coro=look(), name=None, context=None)
        return await named, (await unnamed)[0], type(named), unnamed.get_name().startswith("Task-")

    assert loop.run_until_complete(main()) == (("inside", "mine"), "outside", asyncio.Task, True)


def test_create_task_refuses_what_asyncio_s_refuses(loop):
    async def main():
        for arguments, keywords in (((None,), {}), ((), {}), ((None, None), {}), ((None,), {"colour": "red"})):
            errors = []
            for create_task in (loop.create_task, functools.partial(asyncio.BaseEventLoop.create_task, loop)):
                with pytest.raises(TypeError) as caught:
                    create_task(*arguments, **keywords)
                errors.append(str(caught.value))
            assert errors[0] == errors[1]

    loop.run_until_complete(main())


def test_create_task_makes_what_the_program_has_put_in_asyncio_s_place(loop, monkeypatch):
    class Task(asyncio.Task):
        pass

    async def answer():
        return 42

    async def main():
        monkeypatch.setattr(asyncio.tasks, "Task", Task)
        task = loop.create_task(answer())
        monkeypatch.undo()
        return type(task), await task

    assert loop.run_until_complete(main()) == (Task, 42)


def test_create_task_on_a_closed_loop_is_asyncio_s_error():
    loop = everloop.new_event_loop()
    loop.close()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()
