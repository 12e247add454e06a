"""Scenes of what a loop shares with asyncio's own: see private_scenes.py."""

import asyncio
import concurrent.futures
import contextlib
import pathlib
import re
import signal
import socket
import ssl
import threading

import everloop
from everloop.private import loops, names
from private_scenes import scene, step


@contextlib.contextmanager
def new_loop(debug=False):
    loop = everloop.EventLoop(rescue=False)
    loop.set_debug(debug)
    try:
        yield loop
    finally:
        loop.close()


def refuses(error, function, *args):
    """Whether a call raises this."""
    try:
        function(*args)
    except error:
        return True
    return False


# ---- what asyncio's own code calls

ASYNCIO = "\n".join(path.read_text() for path in pathlib.Path(asyncio.__file__).parent.glob("*.py"))


def show_overridden(entry):
    """asyncio has it, and calls it. (That ours takes what it passes is what test_signatures.py looks at.)"""

    def overridden():
        loops.tell_what_asyncio_does_not_call.__wrapped__()
        with new_loop() as loop:
            loop.run_until_complete(step())
        return hasattr(asyncio.SelectorEventLoop, entry.attribute) and is_called(entry.attribute)

    scene(entry.place)(overridden)


def is_called(name):
    return re.search(rf"(self|loop|self\._loop)\.{name}\b", ASYNCIO) is not None


for overridden in loops.OVERRIDDEN:
    show_overridden(overridden)


# ---- what everloop calls


@contextlib.contextmanager
def gone(name):
    """asyncio's loops have no method of this name."""
    owners = {owner: vars(owner)[name] for owner in asyncio.SelectorEventLoop.__mro__ if name in vars(owner)}
    for owner in owners:
        delattr(owner, name)
    try:
        yield
    finally:
        for owner, method in owners.items():
            setattr(owner, name, method)


def method(name, without=False):
    """The function shows what this method of asyncio's loops is for."""

    def note(function):
        entry = names.NAMES[f"asyncio.SelectorEventLoop.{name}"]

        def played():
            with gone(name) if entry.attribute != name else contextlib.nullcontext():
                return function()

        scene(entry.place, without=without)(played)
        return function

    return note


@method("_check_closed", without=True)
def a_closed_loop_does_not_run():
    with new_loop() as loop:
        pass
    return refuses(RuntimeError, loop.run_forever) and refuses(RuntimeError, loop.run_in_executor, None, print)


@method("_check_running", without=True)
def a_loop_does_not_run_twice():
    with new_loop() as loop, new_loop() as other:

        async def main():
            return refuses(RuntimeError, loop.run_forever) and refuses(RuntimeError, other.run_forever)

        return loop.run_until_complete(main())


@method("_check_default_executor", without=True)
def there_are_no_calls_after_the_end_of_the_executor():
    with new_loop() as loop:
        loop.run_until_complete(loop.shutdown_default_executor())
        return refuses(RuntimeError, loop.run_in_executor, None, print)


@method("_check_callback")
def debug_mode_refuses_coroutine_functions():
    with new_loop(debug=True) as loop:
        return refuses(TypeError, loop.call_soon, step)


@method("_check_thread")
def debug_mode_refuses_other_threads():
    with new_loop(debug=True) as loop:

        async def main():
            return await asyncio.to_thread(refuses, RuntimeError, loop.call_soon, print)

        return loop.run_until_complete(main())


@method("_set_coroutine_origin_tracking")
def debug_mode_notes_where_coroutines_are_made():
    with new_loop(debug=True) as loop:

        async def main():
            coroutine = step()
            coroutine.close()
            return coroutine.cr_origin is not None

        return loop.run_until_complete(main())


async def generate(closed):
    try:
        yield
    finally:
        await asyncio.sleep(0)
        closed.append(True)


@method("_asyncgen_firstiter_hook")
def generators_are_closed_at_the_end():
    closed = []
    generator = generate(closed)

    async def begin():
        await anext(generator)

    with new_loop() as loop:
        loop.run_until_complete(begin())
        loop.run_until_complete(loop.shutdown_asyncgens())
        found = closed == [True]
        loop.run_until_complete(generator.aclose())
    return found


@method("_asyncgen_finalizer_hook", without=True)
def generators_that_nobody_has_are_closed():
    closed = []

    async def main():
        await anext(generate(closed))
        await step()
        await step()

    with new_loop() as loop:
        loop.run_until_complete(main())
    return closed == [True]


@method("_accept_connection2")
def servers_know_the_connections_that_asyncio_makes():
    made = []

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Noting(made), "127.0.0.1", 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname()):
                while not made:
                    await asyncio.sleep(0)
                count = len(server._clients) if hasattr(server, "_clients") else server._active_count
            made[0].abort()
            await step()
        return count

    with new_loop(debug=True) as loop:
        return loop.run_until_complete(main()) == 1


class Noting(asyncio.Protocol):
    def __init__(self, made):
        self.made = made

    def connection_made(self, transport):
        self.made.append(transport)


@scene("asyncio.SelectorEventLoop._default_executor")
def calls_go_to_the_executor_that_was_set():
    entry = names.NAMES["asyncio.SelectorEventLoop._default_executor"]
    with new_loop() as loop, concurrent.futures.ThreadPoolExecutor(1, "theirs") as executor:
        loop.set_default_executor(executor)
        if entry.attribute != "_default_executor":
            del loop._default_executor
        call = loop.run_in_executor(None, lambda: threading.current_thread().name)
        name = loop.run_until_complete(call)
        loop.run_until_complete(loop.shutdown_default_executor())
        return name.startswith("theirs")


@scene("asyncio.SelectorEventLoop._internal_fds", without=True)
def descriptors_of_the_loops_own_are_counted():
    entry = names.NAMES["asyncio.SelectorEventLoop._internal_fds"]
    with new_loop() as loop:
        if entry.attribute != "_internal_fds":
            del loop._internal_fds
        return isinstance(loop._internal_fds, int)


@scene("asyncio.SelectorEventLoop._executor_shutdown_called", without=True)
def asyncio_too_knows_that_the_executor_is_shut():
    with new_loop() as loop:
        loops.note_executor_shut(loop)
        return (
            refuses(RuntimeError, loop._check_default_executor)
            or loops.EXECUTOR_SHUT.attribute != "_executor_shutdown_called"
        )


@scene("asyncio.SelectorEventLoop._csock", "asyncio.SelectorEventLoop._ssock")
def signals_wake_the_loop():
    with new_loop() as loop:
        arrived = asyncio.Event()

        async def main():
            loop.add_signal_handler(signal.SIGUSR1, arrived.set)
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.wait_for(arrived.wait(), 10)
            return loops.wakes_for_signals(loop)

        try:
            return loop.run_until_complete(main())
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)


@scene("asyncio.Handle._run")
def handles_of_asyncio_are_run():
    ran = []
    with new_loop() as loop:
        loops.run_handle(asyncio.Handle(ran.append, (1,), loop))
        cancelled = asyncio.Handle(ran.append, (2,), loop)
        cancelled.cancel()
        loops.run_handle(cancelled)
    return ran == [1]


# ---- helpers of asyncio


@scene("asyncio.base_events._format_handle", "asyncio.base_events.logger", without=True)
def slow_callbacks_are_logged():
    lines = []
    logger = asyncio.base_events.logger
    note = logger.addFilter(lambda record: lines.append(record.getMessage()))
    assert note is None
    try:
        with new_loop() as loop:
            loops.log_slow_callback(asyncio.Handle(print, (), loop), 1.0)
    finally:
        logger.removeFilter(logger.filters[-1])
    return len(lines) == 1 and lines[0].startswith("Executing ") and lines[0].endswith(" took 1.000 seconds")


@scene("asyncio.base_events._check_ssl_socket", without=True)
def sockets_of_tls_are_refused():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.socket() as plain, context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as wrapped:
        return refuses(TypeError, loops.check_socket, wrapped) and not refuses(TypeError, loops.check_socket, plain)


@scene("asyncio.selector_events._SelectorSocketTransport._start_tls_compatible")
def streams_can_be_upgraded_to_tls():
    with new_loop() as loop:
        ours, theirs = socket.socketpair()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        found = loops.can_start_tls(transport) and not loops.can_start_tls(asyncio.Transport())
        transport.abort()
        theirs.close()
        loop.run_until_complete(step())
    theirs_too = getattr(asyncio.selector_events._SelectorSocketTransport, loops.START_TLS.attribute, False)
    return found and theirs_too


@scene("asyncio.StreamReaderProtocol._stream_reader", "asyncio.StreamReader._buffer")
def what_a_stream_has_received_is_found():
    with new_loop() as loop:
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(b"early")
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        return loops.early_bytes(protocol) == b"early"
