"""Streams, servers, datagrams, sockets, pipes and subprocesses."""

import asyncio
import os
import pathlib
import socket
import ssl
import tempfile

from . import operation

CERTIFICATE = pathlib.Path(__file__).parents[2] / "localhost.pem"


@operation(weight=1)
async def streams(step):
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    other_reader, other_writer = await asyncio.open_connection(sock=theirs)
    data = bytes(range(256)) * 200 * step.count

    async def echo():
        chunks = 0
        while chunk := await other_reader.read(1000 * step.count):
            other_writer.write(chunk)
            chunks += 1
            if chunks % 7 == 0:
                step.block(0.2)
            await other_writer.drain()
        other_writer.close()
        await other_writer.wait_closed()

    async def send():
        for start in range(0, len(data), 5000):
            writer.write(data[start : start + 5000])
            await writer.drain()
        writer.write_eof()

    async def receive():
        return await reader.read(-1) == data

    results = await asyncio.gather(echo(), send(), receive())
    writer.close()
    await writer.wait_closed()
    return results


async def _ask(reader, writer, count):
    answers = []
    for number in range(count):
        writer.write(b"%d\n" % number)
        answers.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answers


async def _ask_a_server(step, at_server=None, at_client=None):
    served = asyncio.Event()

    async def serve(reader, writer):
        while line := await reader.readline():
            step.block(0.2)
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=at_server) as server:
        host, port = server.sockets[0].getsockname()
        name = "localhost" if at_client else None
        connection = await asyncio.open_connection(host, port, ssl=at_client, server_hostname=name)
        answers = await _ask(*connection, step.count)
        await served.wait()
    return answers


@operation(weight=1)
async def server(step):
    return await _ask_a_server(step)


@operation(weight=1)
async def unix_server(step):
    served = asyncio.Event()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            step.alone()

        def data_received(self, data):
            step.block(0.2)
            self.transport.write(data)

        def connection_lost(self, error):
            step.alone()
            served.set()

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        server = await step.loop.create_unix_server(Echo, path)
        async with server:
            answers = await _ask(*await asyncio.open_unix_connection(path), step.count)
            await served.wait()
    return answers


@operation(weight=1)
async def tls(step):
    at_server, at_client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    at_server.load_cert_chain(CERTIFICATE)
    at_client.load_verify_locations(CERTIFICATE)
    return await _ask_a_server(step, at_server, at_client)


@operation(weight=1)
async def datagrams(step):
    received, done = [], step.loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            received.append(data)
            step.block(0.2)
            if len(received) == step.count:
                done.set_result(None)

    transport, _ = await step.loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    sender, _ = await step.loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=transport.get_extra_info("sockname")
    )
    for number in range(step.count):
        sender.sendto(b"%d" % number)
    await done
    transport.close()
    sender.close()
    await asyncio.sleep(0)
    return received


@operation(weight=1)
async def sockets(step):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    data = bytes(range(256)) * 1000

    async def receive():
        got = bytearray()
        while len(got) < len(data):
            got += await step.loop.sock_recv(theirs, 30_000)
            if len(got) % 5 == 0:
                step.block(0.1)
        return bytes(got) == data

    with ours, theirs:
        return await asyncio.gather(step.loop.sock_sendall(ours, data), receive())


@operation(weight=1)
async def connect_and_accept(step):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = asyncio.create_task(step.loop.sock_accept(listener))
        await step.loop.sock_connect(client, listener.getsockname())
        step.block(0.5)
        connection, _ = await accepting
        with connection:
            await step.loop.sock_sendall(client, b"hello")
            return await step.loop.sock_recv(connection, 5)


@operation(weight=1)
async def pipes(step):
    read_end, write_end = (os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    reader = asyncio.StreamReader()
    reading, _ = await step.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read_end)
    writing, _ = await step.loop.connect_write_pipe(asyncio.Protocol, write_end)
    for number in range(step.count):
        writing.write(b"%d\n" % number)
    step.block()
    writing.close()
    lines = [line async for line in reader]
    reading.close()
    await asyncio.sleep(0)
    return lines


@operation(weight=1)
async def subprocess(step):
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "cat; exit 3", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    step.block(0.5)
    output, _ = await process.communicate(b"through")
    step.block(0.5)
    return output, process.returncode


@operation(weight=1)
async def subprocess_that_is_killed(step):
    process = await asyncio.create_subprocess_exec("sleep", "60")
    step.block()
    process.kill()
    return await process.wait()


@operation(weight=1)
async def name_lookup(step):
    step.block(0.5)
    found = await step.loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    return found[0][4]
