"""syncify and asyncify: a synchronous face for what is asynchronous, and the other way round."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import sqlite3
import threading

import pytest

import everloop
from support import everloop_threads, gates, wait_until
from test_fork import in_child
from test_iterate import EVERYWHERE

variable = contextvars.ContextVar("variable", default="unset")


# ---- what is asynchronous


async def double(number: int, *, times: int = 1) -> int:
    """Doubles."""
    await asyncio.sleep(0)
    return number * 2**times


async def count(end):
    for number in range(end):
        await asyncio.sleep(0)
        yield number


@contextlib.asynccontextmanager
async def heartbeat(events):
    """Has a task of its own in the background, entered and left by one task."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        beating = asyncio.Event()

        async def beat():
            while True:
                await asyncio.sleep(0)
                beating.set()

        task = group.create_task(beat())
        events.append("entered")
        try:
            yield beating
        except KeyError as error:
            events.append(error)
        finally:
            task.cancel()
            events.append("left")


class Client:
    """A client as libraries have them: made in a loop, with a task of its own, and all kinds of methods."""

    kind = "asynchronous"

    def __init__(self, name="client"):
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.inbox = asyncio.Queue()
        self.served = 0
        self.server = None

    @classmethod
    async def connect(cls, name):
        return cls(name)

    async def __aenter__(self):
        self.server = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *exc_info):
        self.server.cancel()
        self.server = None

    async def _serve(self):
        while True:
            answer = await self.inbox.get()
            self.served += 1
            answer.set_result(self.served)

    async def ask(self):
        answer = self.loop.create_future()
        self.put(answer)
        return await answer

    def put(self, answer):
        assert asyncio.get_running_loop() is self.loop
        self.inbox.put_nowait(answer)

    async def stream(self, end):
        for _ in range(end):
            yield await self.ask()

    @contextlib.asynccontextmanager
    async def session(self):
        yield asyncio.get_running_loop() is self.loop

    def __len__(self):
        return 3

    async def __aiter__(self):
        yield self.name


# ---- syncify


@EVERYWHERE
def test_a_coroutine_function_gets_a_synchronous_twin(here):
    twin = everloop.syncify(double)

    def use():
        assert twin(4) == 8
        assert twin(4, times=2) == 16

    here(use)


def test_the_twin_looks_like_the_original():
    twin = everloop.syncify(double)
    assert (twin.__name__, twin.__doc__) == ("double", "Doubles.")
    assert inspect.signature(twin) == inspect.signature(double)
    assert not inspect.iscoroutinefunction(twin)


def test_the_twin_of_a_function_that_is_marked_as_a_coroutine_function_is_not_one():
    @inspect.markcoroutinefunction
    def marked():
        return double(21)

    class Thing:
        method = inspect.markcoroutinefunction(lambda self: double(4))

    thing = everloop.syncify(Thing)()
    assert inspect.iscoroutinefunction(marked)
    assert not inspect.iscoroutinefunction(everloop.syncify(marked))
    assert not inspect.iscoroutinefunction(thing.method)
    assert (everloop.syncify(marked)(), thing.method()) == (42, 8)


def test_methods_and_partials_have_twins_too():
    class Doubler:
        async def __wrapped(self, number):
            return await double(number)

        method = everloop.syncify(__wrapped)

    assert Doubler().method(4) == 8
    assert everloop.syncify(functools.partial(double, 4))(times=3) == 32


@EVERYWHERE
def test_an_asynchronous_generator_function_is_gone_through(here):
    items = []
    here(lambda: items.extend(everloop.syncify(count)(3)))
    assert items == [0, 1, 2]


@EVERYWHERE
def test_a_context_manager_is_entered_and_left_by_one_task(here):
    events = []
    twin = everloop.syncify(heartbeat)

    def use():
        with twin(events):
            events.append("inside")
        with twin(events):
            raise KeyError("goes in, and no further")

    here(use)
    assert events[:4] == ["entered", "inside", "left", "entered"]
    assert isinstance(events[4], KeyError)
    assert everloop_threads() == {}


def test_its_background_tasks_run_while_the_caller_does_something_else():
    with everloop.syncify(heartbeat)([]) as beating:
        wait_until(beating.is_set, "a beat")


def test_a_context_that_cannot_be_entered_leaves_nothing_behind():
    @everloop.syncify
    @contextlib.asynccontextmanager
    async def broken():
        raise OSError("closed today")
        yield

    with pytest.raises(OSError, match="closed today"), broken():
        pass
    assert everloop_threads() == {}


@EVERYWHERE
def test_a_class_is_synchronous_and_its_objects_live_on_one_loop(here):
    def use():
        with everloop.syncify(Client)("mine") as client:
            assert [client.ask(), client.ask()] == [1, 2]
            assert list(client.stream(2)) == [3, 4]
            with client.session() as at_home:
                assert at_home
            assert (client.name, client.kind, client.served, len(client)) == ("mine", "asynchronous", 4, 3)
            assert list(client) == ["mine"]
            client.name = "yours"
            assert list(client) == ["yours"]
            assert "ask" in dir(client)
            assert "Client" in repr(client)

    here(use)
    gc.collect()
    wait_until(lambda: everloop_threads() == {}, "the end of the object's thread")


def test_an_object_that_cannot_be_made_leaves_nothing_behind():
    with pytest.raises(TypeError):
        everloop.syncify(Client)(no="such argument")
    assert everloop_threads() == {}


def test_a_class_method_makes_an_object():
    client = everloop.syncify(Client).connect("connected")
    assert client.name == "connected"
    with client as entered:
        assert entered is client
        assert client.ask() == 1


def test_an_object_that_is_there_already():
    queue = asyncio.Queue()
    twin = everloop.syncify(queue)
    twin.put_nowait(1)
    twin.put(2)
    assert (twin.get(), twin.get_nowait(), twin.qsize()) == (1, 2, 0)


def test_what_is_synchronous_already_is_told_so():
    for thing in (len, sorted, lambda: None, functools.partial(int, "1")):
        with pytest.raises(TypeError, match="call it as it is"):
            everloop.syncify(thing)
    for thing in ([1, 2], dict):
        with pytest.raises(TypeError, match="nothing asynchronous"):
            everloop.syncify(thing)
    with pytest.raises(TypeError, match=r"everloop\.block_on"):
        everloop.syncify(asyncio.sleep(0))


# ---- asyncify


def test_a_function_runs_in_a_thread_with_the_context(run):
    def where(*, word):
        return threading.current_thread(), variable.get(), word

    async def main():
        variable.set("of the task")
        return await everloop.asyncify(where)(word="given")

    thread, value, word = run(main())
    assert thread is not threading.current_thread()
    assert (value, word) == ("of the task", "given")


def test_the_asynchronous_twin_looks_like_the_original():
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    twin = everloop.asyncify(add)
    assert inspect.signature(twin) == inspect.signature(add)
    assert inspect.iscoroutinefunction(twin)
    assert twin.__doc__ == "Adds."


def test_a_generator_function_becomes_an_asynchronous_one(run):
    threads = set()

    @everloop.asyncify
    def numbers(end):
        for number in range(end):
            threads.add(threading.current_thread())
            yield number

    async def main():
        return [number async for number in numbers(100)]

    assert run(main()) == list(range(100))
    assert len(threads) == 1


def test_a_context_manager_is_entered_and_left_on_one_thread(run):
    threads = []

    @everloop.asyncify
    @contextlib.contextmanager
    def connection():
        threads.append(threading.current_thread())
        with contextlib.closing(sqlite3.connect(":memory:")) as opened:
            try:
                yield opened
            except KeyError:
                opened.execute("select 1")
            threads.append(threading.current_thread())

    async def main():
        async with connection():
            pass
        async with connection():
            raise KeyError("goes in, and no further")

    run(main())
    assert len(threads) == 4
    assert threads[0] is threads[1]
    assert threads[2] is threads[3]


def test_a_context_that_is_entered_too_late_is_left_again(loop):
    events = []

    async def main():
        with gates(1) as [gate]:

            @everloop.asyncify
            @contextlib.contextmanager
            def slow():
                events.append("begun")
                gate.wait()
                yield
                events.append("left")

            async def enter():
                async with slow():
                    events.append("inside")

            task = asyncio.create_task(enter())
            while not events:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await task

    loop.run_until_complete(main())
    assert events == ["begun", "left"]


@pytest.mark.parametrize("at", ["enter", "exit", "call"])
def test_a_second_cancel_does_not_leave_the_thread_alone(loop, at):
    """Both come while the thread is at work: the task ends when that is done."""
    events = []

    async def main():
        with gates(1) as [gate]:

            def work(where):
                if where == at:
                    events.append("begun")
                    gate.wait()
                    events.append("done")

            class Box:
                def __enter__(self):
                    work("enter")

                def __exit__(self, *exc_info):
                    work("exit")
                    events.append("left")

                def call(self):
                    work("call")

            async def use():
                async with everloop.asyncify(Box()) as box:
                    if at == "call":
                        await box.call()

            if at == "call":
                Box.__enter__ = lambda self: self
            task = asyncio.create_task(use())
            while not events:
                await asyncio.sleep(0)
            for _ in range(3):
                task.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            assert not task.done()
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await task

    loop.run_until_complete(main())
    assert events == (["begun", "done", "left"])


def test_an_object_of_a_class_lives_on_one_thread(run):
    """A connection of sqlite3 refuses every other thread; so do its cursors."""

    async def main():
        connection = everloop.asyncify(sqlite3.Connection)(":memory:")
        await connection.execute("create table numbers (n)")
        async with connection as entered:
            assert entered is connection
            await connection.executemany("insert into numbers values (?)", [(n,) for n in range(200)])
        cursor = await connection.execute("select n from numbers order by n")
        first = await cursor.fetchone()
        rest = [number async for (number,) in cursor]
        await connection.close()
        return first, rest

    first, rest = run(main())
    assert first == (0,)
    assert rest == list(range(1, 200))
    gc.collect()
    wait_until(lambda: everloop_threads() == {}, "the end of the object's thread")


def test_an_object_of_a_class_is_made_when_it_is_awaited(loop):
    class Box:
        size = 3

        def __init__(self):
            self.made_on = threading.current_thread()

        def where(self):
            return threading.current_thread()

    async def main():
        box = everloop.asyncify(Box)()
        with pytest.raises(AttributeError, match="await it"):
            _ = box.made_on
        assert await box is box
        return box.made_on, await box.where(), box.size

    made_on, called_on, size = loop.run_until_complete(main())
    assert made_on is called_on is not threading.current_thread()
    assert size == 3


def test_an_error_behind_some_items_comes_behind_them(loop):
    class Rows:
        def __iter__(self):
            yield 1
            yield 2
            raise KeyError("the third")

    async def main():
        seen = []
        try:
            async for row in everloop.asyncify(Rows)():
                seen.append(row)
        except KeyError as error:
            seen.append(error.args)
        return seen

    assert loop.run_until_complete(main()) == [1, 2, ("the third",)]


def test_what_is_asynchronous_already_is_told_so():
    things = (double, count, heartbeat, asyncio.sleep, Doubler(), functools.partial(Doubler(), 21), asyncio.sleep(0))
    for thing in things:
        with pytest.raises(TypeError, match="asynchronous already"):
            everloop.asyncify(thing)


@pytest.mark.parametrize("thing", [None, 42, "text"])
def test_what_cannot_block_is_refused(thing):
    with pytest.raises(TypeError, match="functions, classes and objects that block"):
        everloop.asyncify(thing)


class Doubler:
    async def __call__(self, number):
        return await double(number)


class Tripler:
    def __call__(self, number):
        return 3 * number, threading.current_thread() is threading.main_thread()


def test_objects_that_are_called_have_twins_too(loop):
    assert everloop.syncify(Doubler())(21) == 42
    assert everloop.syncify(functools.partial(Doubler(), 21))() == 42

    async def main():
        return await everloop.asyncify(Tripler())(14), await everloop.asyncify(functools.partial(Tripler(), 14))()

    assert loop.run_until_complete(main()) == ((42, False), (42, False))
    assert not callable(everloop.asyncify(threading.Lock()))


# ---- who waits for itself, and what a fork leaves behind


class Chain:
    """Its only thread waits for a coroutine that needs the same thread."""

    def begin(self):
        return everloop.block_on(self.face.end())

    def end(self):
        return "ended"


def test_an_object_that_waits_for_its_own_thread_is_told_so(loop):
    chain = Chain()

    async def main():
        chain.face = everloop.asyncify(chain)
        with pytest.raises(everloop.DeadlockError, match="in begin"):
            await chain.face.begin()
        return await chain.face.end()

    assert loop.run_until_complete(main()) == "ended"


def test_in_a_forked_child_objects_say_where_their_threads_are():
    synchronous, asynchronous = everloop.syncify(asyncio.Queue)(), everloop.asyncify(Chain())
    assert synchronous.qsize() == 0

    async def end():
        return await asynchronous.end()

    assert everloop.run(end()) == "ended"

    def child():
        with pytest.raises(RuntimeError, match="belongs to the parent process"):
            synchronous.qsize()
        with pytest.raises(RuntimeError, match="exists only in the parent process"):
            everloop.run(end())
        return "told"

    assert in_child(child) == repr("told")
    assert synchronous.qsize() == 0


def test_there_and_back(loop):
    async def main():
        return await everloop.asyncify(everloop.syncify(double))(21)

    assert loop.run_until_complete(main()) == 42
