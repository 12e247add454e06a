"""iterate and aiterate: a `for` over what is asynchronous, and an `async for` over what is not."""

import asyncio
import contextlib
import contextvars
import gc
import signal
import sqlite3
import threading

import pytest

import everloop
from support import catch_two_cancels, everloop_threads, gates, wait_until
from test_fork import in_child

variable = contextvars.ContextVar("variable", default="unset")


class Counting:
    """An asynchronous generator that tells where it ran and how it ended."""

    def __init__(self, count=3):
        self.count = count
        self.loops = set()
        self.tasks = set()
        self.closed = threading.Event()

    async def __call__(self):
        try:
            for number in range(self.count):
                await asyncio.sleep(0)
                self.loops.add(asyncio.get_running_loop())
                self.tasks.add(asyncio.current_task())
                yield number
        finally:
            await asyncio.sleep(0)
            self.closed.set()


def on_a_plain_thread(function, until=None):
    function()


def in_a_step(function, until=None):
    async def main():
        function()
        await see(until)

    everloop.run(main())


def on_a_thread_of_a_loop(function, until=None):
    async def main():
        await asyncio.to_thread(function)
        await see(until)

    everloop.run(main())


def inside_blocking(function, until=None):
    async def main():
        with everloop.blocking():
            function()
        await see(until)

    everloop.run(main())


async def see(condition):
    while condition is not None and not condition():
        await asyncio.sleep(0)


EVERYWHERE = pytest.mark.parametrize(
    "here", [on_a_plain_thread, in_a_step, on_a_thread_of_a_loop, inside_blocking], ids=lambda here: here.__name__
)


# ---- iterate


@EVERYWHERE
def test_all_items_come_from_one_task_of_one_loop(here):
    counting = Counting()
    items = []
    here(lambda: items.extend(everloop.iterate(counting())))
    assert items == [0, 1, 2]
    assert counting.closed.is_set()
    assert len(counting.loops) == len(counting.tasks) == 1


@EVERYWHERE
@pytest.mark.parametrize("leave", ["close", "break", "forget", "with"])
def test_left_half_way_the_generator_is_closed(here, leave):
    counting = Counting()

    def use():
        if leave == "break":
            for _item in everloop.iterate(counting()):
                break
            return
        iterator = everloop.iterate(counting())
        assert next(iterator) == 0
        match leave:
            case "close":
                iterator.close()
                assert counting.closed.is_set()
                assert next(iterator, "over") == "over"
                iterator.close()
            case "with":
                with iterator:
                    assert next(iterator) == 1
                assert counting.closed.is_set()

    here(use, until=counting.closed.is_set)
    assert counting.closed.is_set()


def test_forgotten_in_a_step_of_another_loop_it_is_closed(loop):
    counting = Counting()
    iterators = [everloop.iterate(counting())]
    assert next(iterators[0]) == 0

    async def main():
        iterators.clear()

    loop.run_until_complete(main())
    assert counting.closed.wait(20)
    wait_until(lambda: not any(thread.name == "everloop-last" for thread in threading.enumerate()))


def test_a_step_lets_others_go_on_between_the_items(loop):
    async def main():
        event = asyncio.Event()
        loop.call_soon(event.set)

        async def patient():
            await event.wait()
            yield "set"

        return list(everloop.iterate(patient()))

    assert loop.run_until_complete(main()) == ["set"]


@EVERYWHERE
def test_exceptions_come_after_the_items_before_them(here):
    async def failing():
        yield 1
        raise KeyError("of the generator")

    def use():
        iterator = everloop.iterate(failing())
        assert next(iterator) == 1
        with pytest.raises(KeyError, match="of the generator"):
            next(iterator)
        assert next(iterator, "over") == "over"

    here(use)


@EVERYWHERE
def test_a_time_out_around_several_items_is_one_of_one_task(here):
    """`asyncio.timeout` and task groups must be left by the task that entered them."""

    async def grouped():
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "of the group"))
            yield 1
            yield await task

    here(lambda: list(everloop.iterate(grouped())) == [1, "of the group"] or pytest.fail("not the items"))


@EVERYWHERE
def test_context_variables_stay_between_the_items(here):
    async def setting():
        yield variable.get()
        variable.set("by the generator")
        yield None
        yield variable.get()

    def use():
        variable.set("by the caller")
        assert list(everloop.iterate(setting())) == ["by the caller", None, "by the generator"]
        assert variable.get() == "by the caller"

    contextvars.copy_context().run(here, use)


def test_an_iterator_of_another_class_goes_on_after_an_error():
    class Flaky:
        count = 0

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.count += 1
            if self.count == 2:
                raise OSError("for once")
            if self.count == 4:
                raise StopAsyncIteration
            return self.count

    iterator = everloop.iterate(Flaky())
    assert next(iterator) == 1
    with pytest.raises(OSError, match="for once"):
        next(iterator)
    assert list(iterator) == [3]


def test_what_cannot_be_iterated_is_told_the_way_out():
    coroutine = asyncio.sleep(0)
    with pytest.raises(TypeError, match="block_on"):
        everloop.iterate(coroutine)
    coroutine.close()
    with pytest.raises(TypeError, match="list"):
        everloop.iterate([1, 2])


def test_inside_a_loop_of_asyncio_s_it_is_refused():
    async def main():
        with pytest.raises(RuntimeError, match="everloop"):
            next(everloop.iterate(Counting()()))

    asyncio.run(main())


def test_begun_without_a_loop_it_does_not_go_on_inside_one(loop):
    with everloop.iterate(Counting()()) as iterator:
        next(iterator)

        async def main():
            with pytest.raises(RuntimeError, match="began"):
                next(iterator)

        loop.run_until_complete(main())
        assert next(iterator) == 1


def test_a_loop_that_ends_before_its_iterator_closes_the_generator():
    counting = Counting()
    iterators = []

    async def main():
        iterators.append(everloop.iterate(counting()))
        next(iterators[0])

    everloop.run(main())
    assert counting.closed.is_set()
    with pytest.raises(RuntimeError):
        next(iterators[0])
    iterators[0].close()


def test_a_loop_that_stands_is_named_instead_of_waited_for(loop):
    counting = Counting()

    async def main():
        iterator = everloop.iterate(counting())
        next(iterator)
        return iterator

    iterator = loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match="the event loop on which this object began to work has ended"):
        next(iterator)
    del iterator
    assert loop.run_until_complete(asyncio.to_thread(counting.closed.wait, 10))


def test_a_loop_that_ends_in_the_middle_of_an_item_ends():
    """Its end cancels all tasks, and must not wait for the one that serves the iterator."""

    async def stuck():
        yield 1
        await asyncio.Event().wait()

    async def main():
        iterator = everloop.iterate(stuck())
        next(iterator)
        waiting = asyncio.create_task(asyncio.to_thread(next, iterator))
        await asyncio.sleep(0.002)
        return waiting

    with contextlib.suppress(asyncio.CancelledError, RuntimeError):
        everloop.run(main())


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_a_loop_that_ends_while_several_steps_wait_for_items_ends(steps):
    """The serving tasks are cancelled twice: by the end of the loop, and by who asks them."""
    begun, ended = [], []

    async def stuck():
        begun.append(asyncio.current_task())
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(asyncio.current_task())

    async def consume():
        for _ in everloop.iterate(stuck()):
            pass

    async def main():
        tasks = [asyncio.create_task(consume()) for _ in range(steps)]
        await see(lambda: len(begun) == steps)
        return tasks

    tasks = everloop.run(main())
    assert all(task.cancelled() for task in tasks)
    assert {*ended} == {*begun}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_loop_that_ends_while_several_steps_enter_a_context_ends(steps):
    order = []

    @everloop.syncify
    @contextlib.asynccontextmanager
    async def stuck(inside):
        order.append("entered")
        try:
            if inside:
                yield
            else:
                await asyncio.Event().wait()
                yield
        finally:
            await asyncio.sleep(0)
            order.append("left")

    async def enter(inside):
        with stuck(inside):
            everloop.block_on(asyncio.Event().wait())

    async def main():
        tasks = [asyncio.create_task(enter(number % 2)) for number in range(steps)]
        await see(lambda: len(order) == steps)
        return tasks

    assert all(task.cancelled() for task in everloop.run(main()))
    assert order == ["entered"] * steps + ["left"] * steps


def test_each_cancel_of_who_iterates_reaches_the_generator(loop):
    seen = []

    async def stubborn():
        await catch_two_cancels(seen, consumer.cancel)
        yield 1

    async def consume():
        for _ in everloop.iterate(stubborn()):
            pass

    async def main():
        nonlocal consumer
        consumer = asyncio.create_task(consume())
        while loop.statistics()["aside"] == 0:
            await asyncio.sleep(0)
        consumer.cancel()
        await asyncio.wait([consumer])
        assert consumer.cancelled()

    consumer = None
    loop.run_until_complete(main())
    assert seen == ["first", "second"]


@EVERYWHERE
def test_a_time_out_that_takes_its_cancel_never_back_leaves_the_iterator_usable(here):
    """As older libraries have them."""

    async def items():
        for number in range(3):
            task = asyncio.current_task()
            timer = asyncio.get_running_loop().call_soon(task.cancel)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield number
            timer.cancel()

    seen = []
    here(lambda: seen.extend(everloop.iterate(items())))
    assert seen == [0, 1, 2]


def test_an_interrupt_cancels_the_step_and_waits_for_its_clean_up():
    order = []

    async def interrupted():
        try:
            yield 1
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("cleaned up")

    iterator = everloop.iterate(interrupted())
    assert next(iterator) == 1
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert order == ["cleaned up"]


# ---- aiterate


def count_on(threads, count=3):
    try:
        for number in range(count):
            threads.append(threading.current_thread())
            yield number
    finally:
        threads.append(threading.current_thread())


def test_one_thread_makes_advances_and_closes_the_iterator(run):
    threads = []

    def make():
        threads.append(threading.current_thread())
        return count_on(threads)

    async def main():
        return [item async for item in everloop.aiterate(make)]

    assert run(main()) == [0, 1, 2]
    assert len(threads) == 5
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_sqlite3_is_content(run):
    def rows():
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("create table numbers (n)")
            connection.executemany("insert into numbers values (?)", [(n,) for n in range(500)])
            for (number,) in connection.execute("select n from numbers order by n"):
                yield number

    async def main():
        return [number async for number in everloop.aiterate(rows, block=7)]

    assert run(main()) == list(range(500))


def test_the_first_item_does_not_wait_for_a_block(run):
    async def main():
        with gates(1) as [gate]:

            def slow():
                yield "first"
                gate.wait()
                yield "second"

            iterator = everloop.aiterate(slow)
            first = await anext(iterator)
            gate.open()
            return [first, *[item async for item in iterator]]

    assert run(main()) == ["first", "second"]


@pytest.mark.parametrize("block", [1, 5])
def test_the_thread_runs_ahead_by_a_block_and_no_more(loop, block):
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    async def main():
        iterator = everloop.aiterate(items, block)
        assert await anext(iterator) == 0
        while len(made) < block + 1:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(made) <= block + 2
        rest = [item async for item in iterator]
        assert rest == list(range(1, 100))

    loop.run_until_complete(main())


def test_items_that_are_there_already_do_not_keep_others_from_running(loop):
    async def main():
        ticks = []

        async def tick():
            while True:
                ticks.append(None)
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async for _ in everloop.aiterate(range(2000), block=10):
            pass
        ticking.cancel()
        return len(ticks)

    assert loop.run_until_complete(main()) >= 200


@pytest.mark.parametrize("error", [KeyError, StopAsyncIteration, SystemExit])
def test_exceptions_come_behind_the_items_before_them(loop, error):
    class Failing:
        count = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.count += 1
            if self.count < 3:
                return self.count
            raise error("of the iterator")

    async def main():
        seen = []
        iterator = everloop.aiterate(Failing())
        try:
            async for item in iterator:
                seen.append(item)
        except BaseException as raised:
            seen.append(type(raised))
        assert await anext(iterator, "over") == "over"
        return seen

    expected = RuntimeError if error is StopAsyncIteration else error
    assert loop.run_until_complete(main()) == [1, 2, expected]


@pytest.mark.parametrize("leave", ["aclose", "break", "forget", "cancel"])
def test_left_half_way_the_iterator_is_closed_on_its_thread(run, leave):
    threads = []

    async def main():
        iterator = everloop.aiterate(count_on(threads, 1000), block=2)
        match leave:
            case "aclose":
                assert await anext(iterator) == 0
                await iterator.aclose()
                assert threads[-1] is threads[0]
                assert await anext(iterator, "over") == "over"
                await iterator.aclose()
            case "break":
                async for _ in iterator:
                    break
            case "forget":
                await anext(iterator)
            case "cancel":
                begun = asyncio.Event()

                async def consume(iterator):
                    async for _ in iterator:
                        begun.set()
                        await asyncio.Event().wait()

                task = asyncio.create_task(consume(iterator))
                await begun.wait()
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                del task

    run(main())
    gc.collect()
    wait_until(lambda: threads and not threads[0].is_alive(), "the end of the thread")
    assert len(set(threads)) == 1
    assert 3 <= len(threads) < 1000


def test_a_cancelled_wait_loses_no_item(loop):
    async def main():
        with gates(1) as [gate]:

            def slow():
                gate.wait()
                yield "first"
                yield "second"

            iterator = everloop.aiterate(slow)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(iterator), 0.002)
            gate.open()
            return [item async for item in iterator]

    assert loop.run_until_complete(main()) == ["first", "second"]


def test_two_tasks_cannot_wait_at_once(loop):
    async def main():
        with gates(1) as [gate]:
            iterator = everloop.aiterate(lambda: [gate.wait()])
            first = asyncio.ensure_future(anext(iterator))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(iterator)
            gate.open()
            return await first

    assert loop.run_until_complete(main()) == b"o"


def test_all_of_it_runs_in_one_copy_of_the_context(loop):
    def setting():
        yield variable.get()
        variable.set("by the generator")
        yield None
        yield variable.get()

    async def main():
        variable.set("by the caller")
        items = [item async for item in everloop.aiterate(setting)]
        return items, variable.get()

    assert loop.run_until_complete(main()) == (["by the caller", None, "by the generator"], "by the caller")


def test_the_iterator_may_wait_for_coroutines_of_the_loop(loop):
    async def where():
        return asyncio.get_running_loop()

    def asking():
        yield everloop.block_on(where())

    async def main():
        return [item async for item in everloop.aiterate(asking)]

    assert loop.run_until_complete(main()) == [loop]


def test_there_and_back(loop):
    """iterate over aiterate over iterate."""

    async def main():
        return [item async for item in everloop.aiterate(lambda: everloop.iterate(everloop.aiterate(range(200))))]

    assert loop.run_until_complete(main()) == list(range(200))


def test_an_error_of_closing_reaches_who_closes(loop):
    def failing():
        try:
            yield 1
            yield 2
            yield 3
        finally:
            raise KeyError("of the clean-up")

    async def main():
        iterator = everloop.aiterate(failing, block=1)
        await anext(iterator)
        with pytest.raises(KeyError, match="of the clean-up"):
            await iterator.aclose()

    loop.run_until_complete(main())


def test_it_was_never_begun(loop):
    async def main():
        iterator = everloop.aiterate([1])
        await iterator.aclose()
        return [item async for item in iterator]

    assert loop.run_until_complete(main()) == []
    assert everloop_threads() == {}


def test_in_a_forked_child_it_says_where_its_thread_is():
    async def begin():
        iterator = everloop.aiterate(range(1000))
        await anext(iterator)
        return iterator

    async def finish():
        return [item async for item in iterator]

    def child():
        with pytest.raises(RuntimeError, match="exists only in the parent process"):
            everloop.run(finish())
        return "told"

    loop = everloop.new_event_loop()
    iterator = loop.run_until_complete(begin())
    assert in_child(child) == repr("told")
    loop.run_until_complete(iterator.aclose())
    loop.close()


@pytest.mark.parametrize("thing", [42, Counting()(), asyncio.sleep, Counting().__call__], ids=repr)
def test_what_it_cannot_take_is_a_type_error(thing):
    with pytest.raises(TypeError):
        everloop.aiterate(thing)


def test_a_block_has_room_for_one_at_least():
    with pytest.raises(ValueError, match="1 or more"):
        everloop.aiterate([], block=0)
