"""However `loop.sendfile` ends, its transport goes on as before: it reads, writes, and tells its protocol."""

import asyncio
import contextlib
import io
import socket

import pytest

from support import gates
from tls_support import client_context, server_context

OLD, NEW = b"old" * (1 << 20), b"new" * (1 << 21)  # more than a connection takes at once


class Speaker(asyncio.Protocol):
    """Notes what it is told; to be told twice to pause, or to go on without a pause, is an error."""

    def __init__(self):
        self.received = bytearray()
        self.paused = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def pause_writing(self):
        assert not self.paused
        self.paused = True

    def resume_writing(self):
        assert self.paused
        self.paused = False

    def connection_lost(self, error):
        self.lost.set_result(error)


@contextlib.asynccontextmanager
async def connection(over_tls=False):
    """A protocol with its transport, and streams to the other side."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    if over_tls:
        sides = (
            loop.connect_accepted_socket(Speaker, ours, ssl=server_context()),
            asyncio.open_connection(sock=theirs, ssl=client_context(), server_hostname="localhost"),
        )
    else:
        sides = loop.create_connection(Speaker, sock=ours), asyncio.open_connection(sock=theirs)
    (transport, protocol), (reader, writer) = await asyncio.gather(*sides)
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        yield protocol, reader, writer
    finally:
        transport.abort()
        writer.transport.abort()
        await protocol.lost
        await asyncio.sleep(0)
    assert complaints == []


async def assert_as_before(protocol, reader, writer, expected):
    """It reads and writes; the other side has received what was expected, and what may have been sent of the file."""
    transport = protocol.transport
    assert transport.get_protocol() is protocol
    assert transport.is_reading()
    assert protocol.paused == transport._protocol_paused
    transport.write(b"END")
    received = bytearray()
    while not received.endswith(b"END"):
        received += await reader.read(1 << 20)
    assert received.startswith(expected)
    assert received[len(expected) : -3] == NEW[: len(received) - len(expected) - 3]
    while protocol.paused:
        await asyncio.sleep(0)
    writer.write(b"hello")
    while protocol.received != b"hello":
        await asyncio.sleep(0)


# What is sent by the kernel, what is read in pieces, and what is read in pieces because TLS is on the way.
WAYS = pytest.mark.parametrize(
    ("over_tls", "in_memory"), [(False, False), (False, True), (True, False)], ids=["kernel", "pieces", "tls"]
)


@pytest.fixture
def new_file(tmp_path):
    """Files with NEW in them."""
    (tmp_path / "file").write_bytes(NEW)
    with contextlib.ExitStack() as files:
        yield lambda in_memory: io.BytesIO(NEW) if in_memory else files.enter_context((tmp_path / "file").open("rb"))


@WAYS
@pytest.mark.parametrize("older", [b"", b"a few", OLD], ids=["alone", "after a few bytes", "after many bytes"])
@pytest.mark.parametrize("turns", [0, 1, 2, 5, 30])
@pytest.mark.parametrize("cancels", [1, 2])
def test_a_sendfile_that_is_cancelled_leaves_its_transport_as_it_was(
    loop, new_file, over_tls, in_memory, older, turns, cancels
):
    async def main():
        async with connection(over_tls) as (protocol, reader, writer):
            protocol.transport.write(older)
            sending = asyncio.create_task(loop.sendfile(protocol.transport, new_file(in_memory)))
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(cancels):
                sending.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await sending
            await assert_as_before(protocol, reader, writer, older)

    loop.run_until_complete(main())


@WAYS
def test_a_paused_transport_stays_paused(loop, new_file, over_tls, in_memory):
    async def main():
        async with connection(over_tls) as (protocol, reader, _):
            protocol.transport.pause_reading()
            sending = asyncio.create_task(loop.sendfile(protocol.transport, new_file(in_memory)))
            await reader.readexactly(10)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert not protocol.transport.is_reading()

    loop.run_until_complete(main())


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_file_that_cannot_be_read_leaves_its_transport_as_it_was(loop, over_tls):
    class Broken(io.BytesIO):
        def readinto(self, buffer):
            if self.tell():
                raise ValueError("broken")
            return super().readinto(buffer)

    class Closed(io.BytesIO):
        def readinto(self, buffer):
            self.close()
            raise ValueError("closed")

    async def main():
        async with connection(over_tls) as (protocol, reader, writer):
            protocol.transport.write(OLD)
            for file, message in ((Broken(NEW), "broken"), (Closed(NEW), "closed")):
                sending = asyncio.create_task(loop.sendfile(protocol.transport, file))
                if file.closed is False and message == "broken":
                    await reader.readexactly(len(OLD))
                with pytest.raises(ValueError, match=message):
                    await sending
            await assert_as_before(protocol, reader, writer, b"")

    loop.run_until_complete(main())


@WAYS
def test_bad_arguments_leave_the_transport_as_it_was(loop, new_file, over_tls, in_memory):
    async def main():
        async with connection(over_tls) as (protocol, reader, writer):
            for arguments in ((0, -1), (0, 0), (-1, None)):
                with pytest.raises(ValueError, match="integer"):
                    await loop.sendfile(protocol.transport, new_file(in_memory), *arguments)
            await assert_as_before(protocol, reader, writer, b"")

    loop.run_until_complete(main())


def test_a_second_sendfile_is_refused_and_the_first_goes_on(loop, new_file):
    async def main():
        async with connection() as (protocol, reader, writer):
            first = asyncio.create_task(loop.sendfile(protocol.transport, new_file(False)))
            await reader.readexactly(10)
            with pytest.raises(RuntimeError, match="already"):
                await loop.sendfile(protocol.transport, new_file(False))
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                protocol.transport.write(b"between")
            assert await reader.readexactly(len(NEW) - 10) == NEW[10:]
            assert await first == len(NEW)
            await assert_as_before(protocol, reader, writer, b"")

    loop.run_until_complete(main())


@WAYS
@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("older", [b"", OLD], ids=["alone", "after many bytes"])
def test_a_sendfile_ends_when_its_transport_is_closed(loop, new_file, over_tls, in_memory, method, older):
    async def main():
        async with connection(over_tls) as (protocol, reader, _):
            protocol.transport.write(older)
            sending = asyncio.create_task(loop.sendfile(protocol.transport, new_file(in_memory)))
            await reader.readexactly(10)
            getattr(protocol.transport, method)()
            received = asyncio.create_task(reader.read())
            with pytest.raises(ConnectionError):
                await sending
            with contextlib.suppress(ConnectionError):
                await received
            assert await protocol.lost is None

    loop.run_until_complete(main())


@WAYS
def test_a_sendfile_ends_when_the_other_side_goes(loop, new_file, over_tls, in_memory):
    async def main():
        async with connection(over_tls) as (protocol, reader, writer):
            sending = asyncio.create_task(loop.sendfile(protocol.transport, new_file(in_memory)))
            await reader.readexactly(10)
            writer.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            protocol.transport.abort()

    loop.run_until_complete(main())


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_loop_s_other_thread_may_finish_a_sendfile(loop, new_file, in_memory):
    """Its steps run on relief threads while home blocks."""

    async def main():
        with gates(1) as [gate]:

            async def block():
                import everloop

                with everloop.blocking():
                    gate.wait()

            home = asyncio.create_task(block())
            await asyncio.sleep(0)
            async with connection() as (protocol, reader, writer):
                sending = asyncio.create_task(loop.sendfile(protocol.transport, new_file(in_memory)))
                assert await reader.readexactly(len(NEW)) == NEW
                assert await sending == len(NEW)
                await assert_as_before(protocol, reader, writer, b"")
            gate.open()
            await home

    loop.run_until_complete(main())
