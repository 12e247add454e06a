"""Signals reach the loop wherever it is: asleep, in a step, on a relief thread, or while home waits for the baton.

Ctrl-C and what asyncio.Runner makes of it: test_ends_while_aside.py. Here are the rest, and what handlers go through.
"""

import _thread
import asyncio
import contextlib
import contextvars
import os
import select
import signal
import threading
import time

import pytest

import everloop
from support import PATIENCE, gates, run_script, wait_aside

ON_MAIN_THREAD = pytest.mark.parametrize("run", ["asyncio", "everloop", "rescue"], indirect=True)


@pytest.fixture(autouse=True)
def _as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert signal.set_wakeup_fd(-1) == -1


@contextlib.contextmanager
def python_handler(handle, number=signal.SIGUSR1):
    before = signal.signal(number, lambda *_: handle())
    try:
        yield
    finally:
        signal.signal(number, before)


def send(number=signal.SIGUSR1):
    os.kill(os.getpid(), number)


# ---- handlers of the loop


@ON_MAIN_THREAD
def test_a_handler_gets_its_arguments_and_runs_in_the_context_of_its_adding(run):
    async def main():
        variable = contextvars.ContextVar("variable", default="outside")
        loop = asyncio.get_running_loop()
        seen = loop.create_future()
        variable.set("of the adding")
        loop.add_signal_handler(signal.SIGUSR1, lambda *args: seen.set_result((args, variable.get())), 1, 2)
        variable.set("later")
        send()
        assert await seen == ((1, 2), "of the adding")

    run(main())


@ON_MAIN_THREAD
def test_a_signal_from_another_thread_wakes_a_loop_that_sleeps(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)
        thread = threading.Timer(0.01, send)
        thread.start()
        await seen.wait()
        thread.join()

    run(main())


@ON_MAIN_THREAD
def test_a_signal_that_another_thread_receives_is_handled_by_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)
        ready, end = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: (ready.set(), end.wait()))
        thread.start()
        ready.wait()
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
        await seen.wait()
        end.set()
        thread.join()

    run(main())


@ON_MAIN_THREAD
def test_several_signals_at_once_are_all_handled(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGWINCH]
        for number in numbers:
            loop.add_signal_handler(number, seen.append, number)
        for number in numbers:
            send(number)
        while len(seen) < len(numbers):
            await asyncio.sleep(0)
        assert sorted(seen) == sorted(numbers)

    run(main())


@ON_MAIN_THREAD
def test_none_of_many_signals_is_lost(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = asyncio.Queue()
        loop.add_signal_handler(signal.SIGUSR1, seen.put_nowait, "seen")
        for _ in range(200):
            send()
            await seen.get()

    run(main())


@ON_MAIN_THREAD
def test_a_handler_is_replaced_and_removed(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
        send()
        while not seen:
            await asyncio.sleep(0)
        assert seen == ["second"]
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL

        loop.add_signal_handler(signal.SIGINT, seen.append, "interrupt")
        assert loop.remove_signal_handler(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    before = signal.getsignal(signal.SIGINT)
    run(main())
    signal.signal(signal.SIGINT, before)


@ON_MAIN_THREAD
def test_closing_the_loop_removes_its_handlers(run):
    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL

    run(main())
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@ON_MAIN_THREAD
def test_a_handler_that_raises_goes_to_the_exception_handler(run):
    async def main():
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        loop.set_exception_handler(lambda _, context: told.set_result(context))
        loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
        send()
        context = await told
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["message"].startswith("Exception in callback")

    run(main())


@ON_MAIN_THREAD
def test_what_cannot_be_handled_is_refused(run):
    async def coroutine():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.add_signal_handler(signal.SIGUSR1, coroutine)
        with pytest.raises(TypeError, match="sig must be an int"):
            loop.add_signal_handler("SIGUSR1", print)
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.add_signal_handler(10_000, print)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, print)
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.remove_signal_handler(10_000)

    run(main())


def test_a_loop_of_another_thread_is_refused():
    refused = []

    async def main():
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=everloop.run, args=[main()])
    thread.start()
    thread.join()
    assert refused
    assert "main thread" in refused[0]


def test_a_closed_loop_is_refused():
    loop = everloop.EventLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


@ON_MAIN_THREAD
def test_what_a_python_handler_queues_is_run_before_the_loop_sleeps(run):
    """It runs between the steps of a turn and the sleep: no Python code comes before."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = asyncio.Event()
        with python_handler(lambda: loop.call_soon_threadsafe(seen.set)):
            loop.call_soon(_thread.interrupt_main, signal.SIGUSR1)
            await seen.wait()

    run(main())


# ---- while steps block


def set_by_signal(loop, handle):
    signal.signal(signal.SIGUSR1, lambda *_: handle())


def set_by_loop(loop, handle):
    loop.add_signal_handler(signal.SIGUSR1, handle)


@pytest.mark.parametrize("set_handler", [set_by_signal, set_by_loop], ids=lambda function: function.__name__)
def test_a_handler_that_a_relief_thread_sets_is_set_once_home_is_back(rescuing_loop, gate, set_handler):
    order = []

    async def block():
        gate.wait()
        order.append("home is back")

    async def main():
        blocked = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        seen = asyncio.Event()
        rescuing_loop.call_soon(gate.open)
        set_handler(rescuing_loop, lambda: rescuing_loop.call_soon_threadsafe(seen.set))
        order.append("the handler is set")
        send()
        await seen.wait()
        await blocked

    rescuing_loop.run_until_complete(main())
    assert order == ["home is back", "the handler is set"]


def test_home_cannot_set_a_handler_while_it_waits_for_who_asks(loop):
    async def set_handler():
        assert threading.current_thread() is not threading.main_thread()
        with pytest.raises(ValueError, match="main thread"):
            signal.signal(signal.SIGUSR1, print)

    async def main():
        everloop.block_on(set_handler())

    loop.run_until_complete(main())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_uvicorn_ends_as_ever_though_the_main_thread_blocks_beyond_its_time_out(number, status):
    """It sets the handlers that there were before, in a task that has come to a relief thread by then."""
    script = f"""
        import asyncio, os, signal, socket, threading, uvicorn

        reader, writer = os.pipe()

        async def app(scope, receive, send):
            os.kill(os.getpid(), {int(number)})
            os.read(reader, 1)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets=None):
                await super().shutdown(sockets)
                assert threading.current_thread() is not threading.main_thread()
                asyncio.get_running_loop().call_soon(os.write, writer, b"o")

        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
        options = dict(loop="everloop:new_event_loop", lifespan="off", timeout_graceful_shutdown=0)
        server = Server(uvicorn.Config(app, **options))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass  # as uvicorn.run() does
    """
    result = run_script(script, EVERLOOP_RESCUE="1")
    assert result.returncode == status, result.stderr
    assert "timeout graceful shutdown exceeded" in result.stderr
    assert "Traceback" not in result.stderr.partition("Finished server process")[2]


def test_a_handler_runs_while_home_is_rescued(rescuing_loop):
    async def main():
        with gates(1) as [gate]:

            async def block():
                gate.wait()

            seen = asyncio.Event()
            rescuing_loop.add_signal_handler(signal.SIGUSR1, seen.set)
            blocked = asyncio.create_task(block())
            await asyncio.sleep(0)
            assert threading.current_thread() is not threading.main_thread()
            send()
            await seen.wait()
            assert not blocked.done()
            gate.open()
            await blocked

    rescuing_loop.run_until_complete(main())


def test_a_handler_runs_while_a_relief_thread_sleeps_in_the_poll(loop, gate):
    async def main():
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)

        async def block():
            with everloop.blocking():
                gate.wait()

        blocked = asyncio.create_task(block())
        await wait_aside(loop)
        thread = threading.Timer(0.02, send)
        thread.start()
        await seen.wait()
        thread.join()
        gate.open()
        await blocked

    loop.run_until_complete(main())


def block_until(condition):
    """What a step does that can be neither rescued nor interrupted, but for the signal handler that ends it."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        assert time.monotonic() < deadline, "the signal handler did not run"
        time.sleep(0.001)


def home_waits(gate):
    """Its call has returned, and yet it sleeps: for the baton."""
    if select.select([gate.reader], [], [], 0)[0]:
        return False
    with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def test_a_python_handler_runs_while_home_waits_for_a_step_elsewhere_to_end(loop, gate):
    """Its own step could go on, but that of a relief thread takes long: the main thread must not be deaf meanwhile."""
    handled = threading.Event()

    async def main():
        async def block():
            with everloop.blocking():
                gate.wait()

        blocked = asyncio.create_task(block())
        await wait_aside(loop)
        assert threading.current_thread() is not threading.main_thread()
        gate.open()
        block_until(lambda: home_waits(gate))
        send()
        block_until(handled.is_set)
        await blocked

    with python_handler(handled.set):
        loop.run_until_complete(main())


def test_what_a_handler_raises_while_home_waits_is_raised_there_and_loses_no_callback(loop, gate):
    """An interrupt meanwhile comes out once the baton is back, and no callback is lost."""
    handled, order = threading.Event(), []

    def handle():
        handled.set()
        raise KeyboardInterrupt

    async def block():
        with everloop.blocking():
            gate.wait()
        order.append("not reached")

    async def main():
        blocked = asyncio.create_task(block())
        await wait_aside(loop)
        gate.open()
        block_until(lambda: home_waits(gate))
        loop.call_soon(order.append, "kept")
        send()
        block_until(handled.is_set)
        with pytest.raises(KeyboardInterrupt):
            await blocked

    task = loop.create_task(main())
    with python_handler(handle), pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(task)
    assert order == ["kept"]


def test_what_a_handler_raises_while_home_waits_between_two_steps_comes_out_of_the_run(loop):
    """Home has polled, and the baton was taken meanwhile by a step that came back on a relief thread and takes long."""
    handled, order = threading.Event(), []

    def handle():
        handled.set()
        raise KeyboardInterrupt

    async def block(gate, then=lambda: None):
        with everloop.blocking():
            gate.wait()
        then()

    def take_long():
        assert threading.current_thread() is not threading.main_thread()
        second.open()  # to wake home, which sleeps in the poll
        block_until(lambda: home_waits(first))
        loop.call_soon(order.append, "kept")
        send()
        block_until(handled.is_set)

    async def main():
        at_home = asyncio.create_task(block(first))
        await wait_aside(loop)
        elsewhere = asyncio.create_task(block(third, take_long))
        await wait_aside(loop, 2)
        loop.add_reader(second.reader, second.wait)
        first.open()
        await at_home
        while threading.current_thread() is not threading.main_thread():
            await asyncio.sleep(0)
        threading.Timer(0.02, third.open).start()
        await elsewhere

    with gates(3) as [first, second, third], python_handler(handle):
        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(task)
        loop.remove_reader(second.reader)
    assert order == ["kept"]


# ---- handlers of `signal.signal` while home is in a call that the signal does not end


@contextlib.contextmanager
def deaf():
    """This thread receives no SIGUSR1: another one does, so that no call of this one ends for it.

    So it is too where a signal comes just before the call begins, which no test can time.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


async def handled_in_a_call(loop, gate, handled):
    """Send a signal while home waits at the gate, which only the signal's handler opens."""

    async def block():
        with deaf(), everloop.blocking():
            gate.wait()

    blocked = asyncio.create_task(block())
    await wait_aside(loop)
    assert threading.current_thread() is not threading.main_thread()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})  # it was started by the deaf one
    send()
    try:
        async with asyncio.timeout(PATIENCE / 2):
            await blocked
    finally:
        gate.open()
    assert handled.is_set()


def opens(gate, handled):
    def handle():
        handled.set()
        gate.open()

    return python_handler(handle)


def test_a_python_handler_runs_while_home_is_in_a_call_that_the_signal_has_not_ended(loop, gate):
    handled = threading.Event()
    with opens(gate, handled):
        loop.run_until_complete(handled_in_a_call(loop, gate, handled))


def test_it_runs_also_once_the_last_handler_of_the_loop_was_removed(loop, gate):
    handled = threading.Event()

    async def main():
        with everloop.blocking():
            pass
        loop.add_signal_handler(signal.SIGUSR2, print)
        assert loop.remove_signal_handler(signal.SIGUSR2)
        await handled_in_a_call(loop, gate, handled)

    with opens(gate, handled):
        loop.run_until_complete(main())


def test_it_runs_in_each_run_of_the_loop(loop):
    for _ in range(2):
        handled = threading.Event()
        with gates(1) as [gate], opens(gate, handled):
            loop.run_until_complete(handled_in_a_call(loop, gate, handled))
        assert signal.set_wakeup_fd(-1) == -1


def test_handlers_of_the_loop_outlast_a_run_in_which_home_was_aside(loop):
    seen = asyncio.Event()

    async def first():
        with everloop.blocking():
            pass
        loop.add_signal_handler(signal.SIGUSR1, seen.set)

    loop.run_until_complete(first())
    send()
    loop.run_until_complete(asyncio.wait_for(seen.wait(), PATIENCE))
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_wakeup_descriptor_of_the_program_stays_in_its_place(loop):
    async def main():
        with everloop.blocking():
            pass
        send()

    reader, writer = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    with python_handler(lambda: None):
        loop.run_until_complete(main())
    assert signal.set_wakeup_fd(-1) == writer
    assert os.read(reader, 10) == bytes([signal.SIGUSR1])
    os.close(reader)
    os.close(writer)


def test_a_handler_of_the_program_for_the_interrupting_signal_is_neither_replaced_nor_called(loop, gate):
    called = []

    async def main():
        async def block():
            with everloop.blocking():
                gate.wait()

        blocked = asyncio.create_task(block())
        await wait_aside(loop)
        send()
        await asyncio.sleep(0)
        gate.open()
        await blocked

    before = signal.signal(signal.SIGURG, lambda *_: called.append("urgent"))
    try:
        with python_handler(lambda: None):
            loop.run_until_complete(main())
        signal.raise_signal(signal.SIGURG)
        assert called == ["urgent"]
    finally:
        signal.signal(signal.SIGURG, before)
