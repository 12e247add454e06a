"""Scenes of what the native half uses of asyncio and the standard library: see private_scenes.py."""

import asyncio
import contextlib
import os
import pathlib
import socket
import ssl
import sys
import threading
import time

import everloop
from everloop import _native
from everloop.private import names
from private_scenes import scene, step
from support import rescuing_loop

CERTIFICATE = pathlib.Path(__file__).with_name("localhost.pem")


# ---- what transports and handles claim to be


@contextlib.asynccontextmanager
async def connected():
    """A native transport on one end of a pair of sockets, the object it was given, and the other end."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    try:
        with theirs:
            yield transport, ours, theirs
    finally:
        transport.abort()
        await step()


async def piped(connect, end):
    """The transport of a pipe."""
    reading, writing = os.pipe()
    ends = [os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)]
    transport, _ = await connect(asyncio.Protocol, ends.pop(end))
    with ends[0]:
        yield transport
    transport.close()
    await step()


async def make_claimants():
    """What claims to be of a class of asyncio, each with that class."""
    loop = asyncio.get_running_loop()
    claims = [(loop.call_soon_threadsafe(int), getattr(asyncio.events, "_ThreadSafeHandle", None))]
    async with connected() as (transport, _, _):
        claims.append((transport, asyncio.selector_events._SelectorSocketTransport))
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    claims.append((transport, asyncio.selector_events._SelectorDatagramTransport))
    transport.abort()
    async for transport in piped(loop.connect_read_pipe, 0):
        claims.append((transport, asyncio.unix_events._UnixReadPipeTransport))
    async for transport in piped(loop.connect_write_pipe, 1):
        claims.append((transport, asyncio.unix_events._UnixWritePipeTransport))
    ours, theirs = socket.socketpair()
    with theirs:
        tls = loop._make_ssl_transport(
            ours, asyncio.Protocol(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), server_hostname="none"
        )
        await step()
        claims += [(tls, asyncio.sslproto._SSLProtocolTransport), (tls._ssl_protocol, asyncio.sslproto.SSLProtocol)]
        tls.abort()
        await step()
    return claims


def show_claim(place, number):
    @scene(place)
    def claim():
        claimant, kind = everloop.run(make_claimants())[number]
        return isinstance(claimant, kind)


for number, place in enumerate(
    [
        "asyncio.events._ThreadSafeHandle",
        "asyncio.selector_events._SelectorSocketTransport",
        "asyncio.selector_events._SelectorDatagramTransport",
        "asyncio.unix_events._UnixReadPipeTransport",
        "asyncio.unix_events._UnixWritePipeTransport",
        "asyncio.sslproto._SSLProtocolTransport",
        "asyncio.sslproto.SSLProtocol",
    ]
):
    show_claim(place, number)


@scene("asyncio.constants._SendfileMode")
def transports_say_how_files_are_sent():
    async def main():
        async with connected() as (transport, _, _):
            return transport._sendfile_compatible is asyncio.constants._SendfileMode.TRY_NATIVE

    return everloop.run(main())


# ---- what transports do


@scene("asyncio.Server._attach", "asyncio.Server._detach")
def servers_know_native_connections():
    async def main():
        made, lost, transports = asyncio.Event(), asyncio.Event(), []

        class Noting(asyncio.Protocol):
            def connection_made(self, transport):
                transports.append(transport)  # servers of CPython 3.13 and later keep weak references
                made.set()

            def connection_lost(self, error):
                lost.set()

        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await made.wait()
            counts = [count(server)]
        await lost.wait()
        await step()
        server.close()
        return [*counts, count(server), len(transports)] == [1, 0, 1]

    def count(server):
        return len(server._clients) if hasattr(server, "_clients") else server._active_count

    return everloop.run(main())


@scene("socket.socket._io_refs", "socket.socket._decref_socketios")
def a_transport_holds_its_socket_as_long_as_it_needs_it():
    async def main():
        async with connected() as (_, ours, _):
            ours.close()
            held = ours.fileno() >= 0
        gone = ours.fileno() < 0
        if held and not gone:
            ours._decref_socketios()
        return held and gone

    return everloop.run(main())


class Below:
    """A transport of asyncio's that TLS stands on."""

    __module__ = "asyncio.selector_events"

    def __init__(self):
        self.ended_by = []

    def _force_close(self, error):
        self.ended_by.append(error)

    def abort(self):
        self.ended_by.append(None)

    def write(self, data):
        pass

    def is_closing(self):
        return False

    def get_extra_info(self, name, default=None):
        return default


def new_tls(loop, below):
    tls = _native.TlsProtocol(loop, asyncio.Protocol(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None, False, "none")
    tls.connection_made(below)
    return tls


@scene("asyncio.selector_events._SelectorTransport._force_close")
def a_transport_below_tls_ends_with_the_error():
    async def main():
        below, error = Below(), OSError()
        tls = new_tls(asyncio.get_running_loop(), below)
        tls._abort(error)
        tls.connection_lost(error)
        return below.ended_by == [error] and hasattr(asyncio.selector_events._SelectorTransport, "_force_close")

    return everloop.run(main())


@scene("asyncio.sslproto.SSLProtocolState")
def the_state_of_tls_is_asyncios():
    async def main():
        below = Below()
        tls = new_tls(asyncio.get_running_loop(), below)
        state = tls._state
        tls._abort(None)
        tls.connection_lost(None)
        return state is asyncio.sslproto.SSLProtocolState.DO_HANDSHAKE

    return everloop.run(main())


@scene("ssl.SSLObject._sslobj")
def tls_reads_and_writes_in_c():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(CERTIFICATE)
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            in_c = getattr(writer.get_extra_info("ssl_object"), names.NAMES["ssl.SSLObject._sslobj"].attribute, None)
            writer.close()
        return all(hasattr(in_c, name) for name in ("read", "write", "do_handshake", "shutdown"))

    return everloop.run(main())


# ---- tasks


@scene("asyncio.Task._must_cancel")
def a_task_that_is_cancelled_in_block_on_passes_it_on():
    async def main():
        future, seen = asyncio.get_running_loop().create_future(), []

        async def wait():
            try:
                await future
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def waiting():
            everloop.block_on(wait())

        task = asyncio.create_task(waiting())
        await step()
        task.cancel()
        await step()
        await step()
        if not future.done():
            future.set_result(None)
        await asyncio.wait([task])
        return seen == ["cancelled"]

    return everloop.run(main())


def play_aside(make_task, current_task):
    """Whether another task can run while the step of one is aside, and each is the current one."""

    async def main():
        loop, tried, current = asyncio.get_running_loop(), threading.Event(), []

        async def other():
            current.append(current_task())

        async def aside():
            task = make_task(other(), loop)
            loop.call_soon(loop.call_soon, tried.set)
            with everloop.blocking():
                tried.wait(10)
            if not current:  # it could not begin
                task._log_destroy_pending = False
                task.get_coro().close()
            return current == [task] and current_task() is own

        own = make_task(aside(), loop)
        return await own

    loop = everloop.EventLoop(rescue=False)
    try:
        loop.set_exception_handler(lambda *_: None)
        return loop.run_until_complete(main())
    finally:
        loop.close()


@scene("_asyncio._swap_current_task", without=True)
def the_current_task_goes_aside():
    return play_aside(lambda coroutine, loop: loop.create_task(coroutine), asyncio.current_task)


@scene("asyncio.tasks._py_swap_current_task")
def the_current_task_in_pure_python_goes_aside():
    tasks = asyncio.tasks
    return play_aside(lambda coroutine, loop: tasks._PyTask(coroutine, loop=loop), tasks._py_current_task)


# ---- debuggers


@scene("sys.monitoring._all_events")
def a_step_that_a_debugger_has_left_is_rescued():
    meanwhile = []

    async def blocks():
        sys._getframe().f_trace = do_nothing
        for _ in range(10):
            time.sleep(0.02)
            if meanwhile:
                return True
        return False

    async def main():
        task = asyncio.create_task(blocks())
        await asyncio.sleep(0)
        meanwhile.append("others have run")
        return await task

    loop = rescuing_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


# ---- the log


@scene("asyncio.format_helpers._format_callback_source")
def handles_show_where_their_callback_is():
    loop = everloop.EventLoop(rescue=False)
    try:
        handle = loop.call_soon(do_nothing)
        shown, lines = repr(handle), []
        loop.set_exception_handler(lambda _, context: lines.append(context["message"]))
        loop.call_soon(int, "no number")
        loop.run_until_complete(asyncio.sleep(0))
        assert len(lines) == 1
        return f"private_natives.py:{do_nothing.__code__.co_firstlineno}" in shown and "callback int(" in lines[0]
    finally:
        loop.close()


def do_nothing():
    pass
