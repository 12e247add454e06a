"""What a transport tells its protocol, it tells in the context in which it was made, whoever uses the transport.

So a request's variables stay in that request: not so on asyncio's loop up to CPython 3.14 (gh-140947), where whoever
resumes reading, writes or closes leaves his own to all that follows. `pause_writing` and `error_received`, which are
called in the midst of a write, are no exception: what they are for is the connection, not the request that happened to
fill it. (uvloop does the same; asyncio calls them in the context of the caller, CPython 3.15 too.)
"""

import asyncio
import contextvars
import os
import socket

import pytest

import everloop
from tls_support import client_context, server_context

BIG = b"x" * (1 << 24)  # more than a connection takes at once
MUCH = b"x" * (1 << 20)
user = contextvars.ContextVar("user", default="nobody")


class Witness:
    """Notes in whose context each method is called."""

    def __init__(self, *args):
        self.told = []
        self.changed = asyncio.Event()

    def note(self, name):
        self.told.append((name, user.get()))
        self.changed.set()

    async def seen(self, name, count=1):
        while sum(name == each for each, _ in self.told) < count:
            self.changed.clear()
            await self.changed.wait()

    def connection_made(self, transport):
        self.transport = transport
        self.note("connection_made")


for name in [
    *("data_received", "buffer_updated", "eof_received", "connection_lost", "pause_writing", "resume_writing"),
    *("datagram_received", "error_received", "pipe_data_received", "pipe_connection_lost", "process_exited"),
]:
    setattr(Witness, name, lambda self, *args, name=name: self.note(name))


class Plain(Witness, asyncio.Protocol):
    pass


class Buffered(Witness, asyncio.BufferedProtocol):
    def get_buffer(self, hint):
        self.note("get_buffer")
        return bytearray(100)


class Datagrams(Witness, asyncio.DatagramProtocol):
    pass


class Process(Witness, asyncio.SubprocessProtocol):
    pass


def a_strangers(function):
    """The coroutine function runs in a task of its own, as somebody else."""

    async def run(*args, **options):
        user.set("a stranger")
        return await function(*args, **options)

    return lambda *args, **options: asyncio.create_task(run(*args, **options))


def assert_all_by_maker(protocol, *names):
    assert {name for name, _ in protocol.told} >= set(names)
    assert {each for each in protocol.told if each[1] != "the maker"} == set()


# ---- connections


async def streams(loop, sock, **options):
    return await asyncio.open_connection(sock=sock, **options)


async def connecting(loop, protocol, ours, theirs):
    peer = await streams(loop, theirs)
    await loop.create_connection(lambda: protocol, sock=ours)
    return peer


async def connecting_with_tls(loop, protocol, ours, theirs):
    server = asyncio.StreamReader()
    accepting = loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(server), theirs, ssl=server_context())
    connecting = loop.create_connection(lambda: protocol, sock=ours, ssl=client_context(), server_hostname="localhost")
    (transport, peer), _ = await asyncio.gather(accepting, connecting)
    return server, asyncio.StreamWriter(transport, peer, server, loop)


async def starting_tls(loop, protocol, ours, theirs):
    """A stranger starts it."""
    reader, writer = await connecting(loop, protocol, ours, theirs)

    @a_strangers
    async def start():
        protocol.transport = await loop.start_tls(
            protocol.transport, protocol, client_context(), server_hostname="localhost"
        )

    writer._protocol._client_connected_cb = lambda reader, writer: None  # it is the server
    await asyncio.gather(start(), writer.start_tls(server_context()))
    return reader, writer


def accepting(debug=False, **options):
    async def connect(loop, protocol, ours, theirs):
        loop.set_debug(debug)  # then asyncio's own code makes the transports
        loop.slow_callback_duration = 1000
        ours.close()
        theirs.close()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0, **options)
        tls = {"ssl": client_context(), "server_hostname": "localhost"} if options else {}
        peer = await a_strangers(asyncio.open_connection)(*server.sockets[0].getsockname(), **tls)
        server.close()
        await protocol.seen("connection_made")
        return peer

    return connect


CONNECTIONS = {
    "connected": connecting,
    "accepted": accepting(),
    "accepted in debug mode": accepting(debug=True),
    "connected, tls": connecting_with_tls,
    "accepted, tls": accepting(ssl=server_context()),
    "start_tls": starting_tls,
}
connections = pytest.mark.parametrize("connect", CONNECTIONS.values(), ids=CONNECTIONS)
kinds = pytest.mark.parametrize("kind", [Plain, Buffered])
ends = pytest.mark.parametrize("end", ["close", "abort", "eof", "reset"])


def play(loop, scene):
    async def main():
        user.set("the maker")
        await scene()

    loop.run_until_complete(asyncio.wait_for(main(), 25))


@connections
@kinds
@ends
def test_a_connection_tells_all_in_its_own_context(loop, connect, kind, end):
    data = "data_received" if kind is Plain else "buffer_updated"

    async def scene():
        protocol = kind()
        reader, writer = await connect(loop, protocol, *socket.socketpair())

        @a_strangers
        async def request():
            transport = protocol.transport
            transport.pause_reading()
            writer.write(b"hello")
            await asyncio.sleep(0)
            transport.resume_reading()
            await protocol.seen(data)
            written = 0
            while protocol.told[-1][0] != "pause_writing":
                transport.write(MUCH)
                written += len(MUCH)
            await reader.readexactly(written)
            await protocol.seen("resume_writing")
            transport.writelines([MUCH, MUCH])
            match end:
                case "close":
                    transport.close()
                    while await reader.read(1 << 20):
                        pass
                    writer.close()
                case "abort":
                    transport.abort()
                case "eof":
                    await reader.readexactly(2 * len(MUCH))
                    writer.close()
                case "reset":
                    writer.transport.abort()
            await protocol.seen("connection_lost")

        await request()
        writer.transport.abort()
        await asyncio.sleep(0)
        told = ["connection_made", data, "pause_writing", "resume_writing", "connection_lost"]
        assert_all_by_maker(protocol, *told, *["eof_received"][: end == "eof"])

    play(loop, scene)


@pytest.mark.parametrize("connect", [connecting_with_tls, starting_tls], ids=["tls", "start_tls"])
@kinds
def test_what_tls_has_received_when_a_stranger_closes_is_told_in_its_own_context(loop, connect, kind):
    """Before `close` returns."""

    async def scene():
        protocol = kind()
        _, writer = await connect(loop, protocol, *socket.socketpair())

        @a_strangers
        async def request():
            transport = protocol.transport
            transport.pause_reading()
            writer.write(b"hello")
            while not transport.get_read_buffer_size():
                await asyncio.sleep(0)
            transport.resume_reading()
            transport.close()
            assert protocol.told[-1][0] in ("data_received", "buffer_updated")

        await request()
        await protocol.seen("connection_lost")
        writer.close()
        await asyncio.sleep(0)
        assert_all_by_maker(protocol, "connection_lost")

    play(loop, scene)


def test_connections_of_one_listener_share_nothing(loop):
    class Setting(Plain):
        def note(self, name):
            super().note(name)
            user.set(f"connection {number}")

    async def scene():
        nonlocal number
        protocols = []

        def factory():
            protocols.append(Setting())
            return protocols[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        for number in range(3):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            while len(protocols) <= number:
                await asyncio.sleep(0)
            await protocols[number].seen("data_received")
            writer.close()
            await protocols[number].seen("connection_lost")
            # What it sets in its own context stays there, as long as the connection.
            mine = f"connection {number}"
            made, *rest = protocols[number].told
            assert made == ("connection_made", "the maker")
            assert {by for _, by in rest} == {mine}
        server.close()

    number = 0
    play(loop, scene)


# ---- others


def test_datagrams_are_told_in_their_own_context(loop):
    async def scene():
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = transport.get_extra_info("sockname")

        @a_strangers
        async def request():
            transport.pause_reading()
            transport.sendto(b"hello", address)
            transport.resume_reading()
            await protocol.seen("datagram_received")
            transport.sendto(b"x" * 100_000, address)  # too long: told at once
            assert protocol.told[-1][0] == "error_received"
            transport.close()
            await protocol.seen("connection_lost")

        await request()
        assert_all_by_maker(protocol, "connection_made", "datagram_received", "error_received", "connection_lost")

    play(loop, scene)


def test_datagrams_that_wait_are_told_in_their_own_context(loop, tmp_path):
    path = str(tmp_path / "peer")

    async def scene():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(path)
            transport, protocol = await loop.create_datagram_endpoint(
                Datagrams, remote_addr=path, family=socket.AF_UNIX
            )

            @a_strangers
            async def request():
                while protocol.told[-1][0] != "pause_writing":
                    transport.sendto(b"x" * 10_000)
                while protocol.told[-1][0] != "resume_writing":
                    peer.recv(10_000, socket.MSG_DONTWAIT)
                    await asyncio.sleep(0)
                transport.abort()
                await protocol.seen("connection_lost")

            await request()
            assert_all_by_maker(protocol, "pause_writing", "resume_writing", "connection_lost")

    play(loop, scene)


@pytest.mark.parametrize("end", ["closed here", "closed there"])
def test_pipes_are_told_in_their_own_context(loop, end):
    async def scene():
        reading, writing = os.pipe()
        _, reader = await loop.connect_read_pipe(Plain, os.fdopen(reading, "rb", 0))
        _, writer = await loop.connect_write_pipe(Plain, os.fdopen(writing, "wb", 0))

        @a_strangers
        async def request():
            reader.transport.pause_reading()
            writer.transport.write(BIG)
            await writer.seen("pause_writing")
            reader.transport.resume_reading()
            await writer.seen("resume_writing")
            if end == "closed here":
                writer.transport.write_eof()
            else:
                reader.transport.close()
            await reader.seen("connection_lost")
            await writer.seen("connection_lost")

        await request()
        assert_all_by_maker(reader, "connection_made", "data_received", "connection_lost")
        assert_all_by_maker(writer, "connection_made", "pause_writing", "resume_writing", "connection_lost")

    play(loop, scene)


@pytest.mark.parametrize("end", ["kill", "close", "exit"])
def test_a_process_is_told_in_its_own_context(loop, end):
    async def scene():
        transport, protocol = await loop.subprocess_exec(Process, "cat")

        @a_strangers
        async def request():
            stdin, stdout = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
            stdout.pause_reading()
            stdin.write(BIG)
            await protocol.seen("pause_writing")
            stdout.resume_reading()
            await protocol.seen("resume_writing")
            stdin.close() if end == "exit" else getattr(transport, end)()
            await protocol.seen("connection_lost")

        await request()
        transport.close()
        told = ["connection_made", "pause_writing", "resume_writing", "pipe_data_received", "pipe_connection_lost"]
        assert_all_by_maker(protocol, *told, "process_exited", "connection_lost")

    play(loop, scene)


# ---- steps that are aside


def test_a_protocol_that_blocks_until_it_may_write_is_told_that_it_may(loop):
    """The next read waits for the step; the rest does not, or this would stand still."""

    class Blocking(Plain):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(BIG)
            everloop.block_on(self.seen("resume_writing"))
            self.note("went on")

    async def scene():
        protocol = Blocking()
        reader, writer = await connecting(loop, protocol, *socket.socketpair())
        writer.write(b"hello")
        await reader.readexactly(len(BIG))
        await protocol.seen("went on")
        protocol.transport.close()
        writer.close()
        await protocol.seen("connection_lost")
        names = [name for name, _ in protocol.told]
        assert names == [
            "connection_made",
            "data_received",
            "pause_writing",
            "resume_writing",
            "went on",
            "connection_lost",
        ]

    play(loop, scene)
