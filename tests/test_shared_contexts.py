"""Tasks and callbacks that were given one context: a step that waits in the bridge leaves it to the others."""

import asyncio
import contextvars
import signal
import socket
import threading

import pytest

import everloop
from support import gates

variable = contextvars.ContextVar("variable", default="unset")


def with_context(function, context):
    """A task of a coroutine function that is given its own context."""
    return asyncio.get_running_loop().create_task(function(context), context=context)


async def answer():
    await asyncio.sleep(0)
    variable.set(f"{variable.get()}, answered")
    return 42


def task_of(context):
    return asyncio.get_running_loop().create_task(answer(), context=context)


# ---- each way to wait


def by_block_on(context):
    return everloop.block_on(task_of(context))


def by_block_on_in_blocking(context):
    task = task_of(context)
    with everloop.blocking():
        return everloop.block_on(task)


def by_a_coroutine_that_awaits_it(context):
    async def chain():
        return await task_of(context)

    return everloop.block_on(chain())


def by_run_coroutine_threadsafe(context):
    async def chain():
        return await task_of(context)

    return asyncio.run_coroutine_threadsafe(chain(), asyncio.get_running_loop()).result()


def by_run_coroutine_threadsafe_in_blocking(context):
    async def chain():
        return await task_of(context)

    with everloop.blocking():
        return asyncio.run_coroutine_threadsafe(chain(), asyncio.get_running_loop()).result()


def by_iterate(context):
    async def items():
        yield await task_of(context)

    [item] = everloop.iterate(items())
    return item


def by_syncify(context):
    @everloop.syncify
    async def twin():
        return await task_of(context)

    return twin()


def by_a_loop_thread(context):
    loop = asyncio.get_running_loop()

    async def chain():
        return await task_of(context)

    async def there():
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(chain(), loop))

    with everloop.LoopThread() as portal:
        return portal.run(there())


def by_a_thread(context):
    async def chain():
        return await asyncio.to_thread(lambda: everloop.block_on(threads_part()))

    async def threads_part():
        return await task_of(context)

    return everloop.block_on(chain())


def by_a_thread_in_the_context(context):
    """A function that is run on a thread in the very context."""

    async def chain():
        return await asyncio.get_running_loop().run_in_executor(None, context.run, lambda: 42)

    return everloop.block_on(chain())


def inside_the_context_once_more(context):
    other = contextvars.copy_context()
    return other.run(by_block_on, context)


def by_an_eager_task(context):
    async def eager():
        return everloop.block_on(task_of(context))

    return everloop.block_on(asyncio.Task(eager(), loop=asyncio.get_running_loop(), eager_start=True))


WAYS = [
    by_block_on,
    by_block_on_in_blocking,
    by_a_coroutine_that_awaits_it,
    by_run_coroutine_threadsafe,
    by_run_coroutine_threadsafe_in_blocking,
    by_iterate,
    by_syncify,
    by_a_loop_thread,
    by_a_thread,
    by_a_thread_in_the_context,
    inside_the_context_once_more,
    by_an_eager_task,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_step_waits_for_what_shares_its_context(loop, way):
    async def outer(context):
        variable.set("set by the step")
        outcome = way(context)
        assert variable.get().startswith("set by the step")
        variable.set("set after it")
        return outcome

    async def main():
        context = contextvars.copy_context()
        outcome = await with_context(outer, context)
        assert context[variable] == "set after it"
        await loop.shutdown_default_executor()
        return outcome

    assert loop.run_until_complete(main()) == 42


def test_they_see_each_other_s_variables_as_at_an_await(loop):
    async def outer(context):
        variable.set("set by the step")
        assert everloop.block_on(task_of(context)) == 42
        token = variable.set("and again")
        assert everloop.block_on(task_of(context)) == 42
        variable.reset(token)
        return variable.get()

    async def main():
        return await with_context(outer, contextvars.copy_context())

    assert loop.run_until_complete(main()) == "set by the step, answered"


def test_a_chain_of_steps_with_one_context(loop):
    async def step(context, depth):
        if depth == 0:
            return await answer()
        return everloop.block_on(loop.create_task(step(context, depth - 1), context=context))

    async def main():
        context = contextvars.copy_context()
        return await loop.create_task(step(context, 10), context=context)

    assert loop.run_until_complete(main()) == 42


@pytest.mark.parametrize("kind", ["call_soon", "call_later", "add_done_callback"])
def test_a_callback_that_was_given_the_context(loop, kind):
    async def outer(context):
        future, other = loop.create_future(), loop.create_future()
        match kind:
            case "call_soon":
                loop.call_soon(future.set_result, 42, context=context)
            case "call_later":
                loop.call_later(0.001, future.set_result, 42, context=context)
            case "add_done_callback":
                other.add_done_callback(lambda _: future.set_result(42), context=context)
                loop.call_soon(other.set_result, None)
        return everloop.block_on(future)

    async def main():
        return await with_context(outer, contextvars.copy_context())

    assert loop.run_until_complete(main()) == 42


def test_the_time_out_of_the_wait_is_heeded(loop):
    order = []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("cleaned up")

    async def outer(context):
        task = loop.create_task(endless(), context=context)
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            everloop.block_on(task, timeout=0.001)
        order.append("went on")

    async def main():
        await with_context(outer, contextvars.copy_context())

    loop.run_until_complete(main())
    assert order == ["cleaned up", "went on"]


def test_a_circle_of_two_with_one_context_is_a_deadlock(loop):
    async def wait_for(task):
        await asyncio.shield(task)

    async def outer(context):
        task = loop.create_task(wait_for(asyncio.current_task()), context=context)
        with pytest.raises(everloop.DeadlockError):
            everloop.block_on(task)

    async def main():
        await with_context(outer, contextvars.copy_context())

    loop.run_until_complete(main())


def test_a_step_that_comes_back_waits_for_who_blocks_in_its_context(loop):
    """That one runs Python code on its own thread, and does not leave the context."""
    order = []

    async def blocks(gate):
        with everloop.blocking():
            gate.wait()
            order.append("blocked")
        order.append("ended")

    async def outer(context, gate):
        task = loop.create_task(blocks(gate), context=context)
        everloop.block_on(asyncio.sleep(0))
        order.append("back")
        await task

    async def main():
        with gates(1) as [gate]:
            context = contextvars.copy_context()
            task = loop.create_task(outer(context, gate), context=context)
            while loop.statistics()["aside"] < 2:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert order == []
            gate.open()
            await task

    loop.run_until_complete(main())
    assert order == ["blocked", "ended", "back"]


def test_a_callback_that_waits_does_not_run_once_more_before_it_has_ended(loop):
    """Its file stays readable all the time."""
    ours, theirs = socket.socketpair()
    runs = []

    def readable():
        runs.append("begins")
        everloop.block_on(asyncio.sleep(0.002))
        runs.append("ends")
        if len(runs) == 4:
            loop.remove_reader(ours)
            loop.stop()

    with ours, theirs:
        theirs.send(b"x")
        loop.add_reader(ours, readable)
        loop.run_forever()
    assert runs == ["begins", "ends"] * 2


def test_a_protocol_gets_its_data_in_order_while_it_waits(loop):
    """The callbacks of a transport share a context, and keep their order by it."""
    order = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            order.append(f"begins {data!r}")
            everloop.block_on(send_more(data))
            order.append(f"ends {data!r}")

        def connection_lost(self, error):
            order.append("lost")
            lost.set_result(None)

    async def send_more(data):
        if data == b"1":
            theirs.send(b"2")
            theirs.close()
            for _ in range(10):
                await asyncio.sleep(0)

    async def main():
        nonlocal lost, theirs
        lost = loop.create_future()
        ours, theirs = socket.socketpair()
        await loop.create_connection(Protocol, sock=ours)
        theirs.send(b"1")
        await lost

    lost = theirs = None
    loop.run_until_complete(main())
    assert order == ["begins b'1'", "ends b'1'", "begins b'2'", "ends b'2'", "lost"]


def test_a_signal_handler_sees_the_variables_of_the_step(loop):
    seen = []

    async def outer(context):
        variable.set("set by the step")
        before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(variable.get()))
        try:
            timer = threading.Timer(0.002, signal.raise_signal, [signal.SIGUSR1])
            timer.start()
            while not seen:
                everloop.block_on(asyncio.sleep(0.001))
            timer.join()
        finally:
            signal.signal(signal.SIGUSR1, before)

    async def main():
        await with_context(outer, contextvars.copy_context())

    loop.run_until_complete(main())
    assert seen == ["set by the step"]
