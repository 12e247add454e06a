"""Cancellation at every await of a connection's life: it ends there, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import os
import pathlib
import socket
import ssl
import threading
import types
import warnings

import pytest

import everloop
from support import open_descriptors

CERTIFICATE = pathlib.Path(__file__).with_name("localhost.pem")


@types.coroutine
def cancelled_at(coroutine, step, late):
    """Await it, and cancel the task where it suspends for the step-th time; `late`, when that wait is over already.

    The second is the harder one: what was waited for has happened, and would be lost with the result.
    """
    task = asyncio.current_task()
    resume, argument, count = coroutine.send, None, 0
    try:
        while True:
            try:
                awaited = resume(argument)
            except StopIteration as done:
                return done.value
            if count == step and late and awaited is not None:
                awaited.add_done_callback(lambda _: task.cancel())
            elif count == step:
                task.cancel()
            count += 1
            try:
                resume, argument = coroutine.send, (yield awaited)
            except BaseException as error:
                resume, argument = coroutine.throw, error
    finally:
        coroutine.close()


def cancel_everywhere(live, late):
    """Run `live(stack, server)` to its end, cancelled at its first step, then at its second, and so on to the last."""
    step, completed = 0, False
    while not completed:
        noted = []

        async def main(step=step, noted=noted):
            asyncio.get_running_loop().set_exception_handler(lambda _, context: noted.append(context))
            async with contextlib.AsyncExitStack() as stack:
                server = await stack.enter_async_context(echo_server())
                return await asyncio.create_task(attempt(live(stack, server), step))

        async def attempt(coroutine, step):
            try:
                await cancelled_at(coroutine, step, late)
            except asyncio.CancelledError:
                return False
            return True

        before = open_descriptors()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            completed = everloop.run(main())
            gc.collect()
        assert [str(each.message) for each in warned] == [], f"at step {step}"
        assert noted == [], f"at step {step}"
        assert open_descriptors() == before, f"at step {step}"
        step += 1
        assert step < 200
    return step


@contextlib.asynccontextmanager
async def echo_server():
    """A server that ends with its connections. Its tasks are not cancelled: CPython 3.12 complains of that."""
    writers = []

    async def echo(reader, writer):
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server
    server.close()
    for _ in range(100):  # somebody may have been accepted just now
        await asyncio.sleep(0)
    for writer in writers:
        writer.transport.abort()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await task


async def talk(reader, writer):
    """A life: all that can be awaited on streams."""
    try:
        writer.write(b"a line\n")
        assert await reader.readline() == b"a line\n"
        writer.write(b"x" * (1 << 20))
        await writer.drain()
        assert len(await reader.readexactly(1 << 20)) == 1 << 20
        if writer.can_write_eof():
            writer.write_eof()
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    finally:
        writer.transport.abort()  # where TLS says goodbye, it waits for a peer that waits to be read


async def tcp(stack, server):
    await talk(*await asyncio.open_connection(*server.sockets[0].getsockname()))


async def unix(stack, _):
    """What is not accepted yet waits in the kernel."""
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind("")
    listener.listen()
    reader, writer = await asyncio.open_unix_connection(listener.getsockname())
    stack.callback(writer.close)
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    stack.callback(accepted.close)
    writer.write(b"x" * (1 << 20))
    writer.write_eof()
    loop, left = asyncio.get_running_loop(), 1 << 20
    while left:
        left -= len(await loop.sock_recv(accepted, left))
    await writer.drain()
    accepted.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def tls(stack, _):
    ours = await tls_peer(stack)
    await talk(*await asyncio.open_connection(sock=ours, ssl=trusting(), server_hostname="localhost"))


async def upgraded_to_tls(stack, _):
    reader, writer = await asyncio.open_connection(sock=await tls_peer(stack))
    stack.callback(lambda: writer.transport.abort())
    await writer.start_tls(trusting(), server_hostname="localhost")
    await talk(reader, writer)


async def tls_peer(stack):
    """A socket whose other end speaks TLS, on a thread."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=echo_tls, args=(theirs,))
    thread.start()
    stack.push_async_callback(asyncio.to_thread, thread.join)
    return ours


def echo_tls(sock):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with contextlib.suppress(OSError), sock, context.wrap_socket(sock, server_side=True) as wrapped:
        while data := wrapped.recv(1 << 16):
            wrapped.sendall(data)


def trusting():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATE)
    return context


async def datagrams(stack, _):
    loop = asyncio.get_running_loop()
    received = loop.create_future()

    class Take(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            if not received.done():
                received.set_result(data)

    one, _ = await loop.create_datagram_endpoint(Take, local_addr=("127.0.0.1", 0))
    stack.callback(one.close)
    two, _ = await loop.create_datagram_endpoint(Take, remote_addr=one.get_extra_info("sockname"))
    stack.callback(two.close)
    two.sendto(b"hello")
    assert await received == b"hello"


async def pipes(stack, _):
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    stream = asyncio.StreamReader()
    source, target = open(reading, "rb", 0), open(writing, "wb", 0)  # noqa: SIM115
    # once it is connected, or that was cancelled, a file belongs to the loop
    waiting = stack.enter_context(contextlib.ExitStack())
    waiting.callback(target.close)
    reader, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), source)
    stack.callback(reader.close)
    waiting.pop_all()
    writer, _ = await loop.connect_write_pipe(asyncio.Protocol, target)
    stack.callback(writer.abort)
    writer.write(b"x" * 1_000_000)
    writer.close()
    assert len(await stream.read()) == 1_000_000


async def sockets(stack, _):
    loop = asyncio.get_running_loop()
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    ours = stack.enter_context(socket.socket())
    for each in (listener, ours):
        each.setblocking(False)
    await loop.sock_connect(ours, listener.getsockname())
    accepted, _ = await loop.sock_accept(listener)
    stack.enter_context(accepted)
    sending = asyncio.create_task(loop.sock_sendall(ours, b"x" * (1 << 20)))
    stack.callback(sending.cancel)
    left = 1 << 20
    while left:
        left -= len(await loop.sock_recv(accepted, left))
    await sending


async def files(stack, server):
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    stack.callback(writer.close)
    with open(__file__, "rb") as file:
        sent = await asyncio.get_running_loop().sendfile(writer.transport, file)
    await reader.readexactly(sent)


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "when it is over"])
@pytest.mark.parametrize("live", [tcp, unix, tls, upgraded_to_tls, datagrams, pipes, sockets, files])
def test_a_connection_can_be_cancelled_anywhere(live, late):
    assert cancel_everywhere(live, late) > 2
