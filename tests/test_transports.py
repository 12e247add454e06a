"""Transports keep to their own files, never block the interpreter, and serve protocols that block."""

import asyncio
import ctypes
import gc
import os
import socket
import struct
import sys
import warnings

import pytest

from everloop import block_on
from support import run_script, wait_aside


class Recorder(asyncio.Protocol, asyncio.DatagramProtocol):
    def __init__(self):
        self.received = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received.append(data)

    def datagram_received(self, data, addr):
        self.received.append(data)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def received(sock):
    """What waits in a socket, if anything."""
    sock.setblocking(False)
    try:
        return sock.recv(100)
    except BlockingIOError:
        return None


def reopened(number):
    """A pair of sockets, one of which has a number that was somebody else's."""
    others = []
    while True:
        pair = socket.socketpair()
        if number in (pair[0].fileno(), pair[1].fileno()):
            for sock in others:
                sock.close()
            return pair if pair[0].fileno() == number else pair[::-1]
        others.extend(pair)
        assert len(others) < 100, f"nobody gets {number}"


# -- whose descriptor it is -------------------------------------------------------------------------------------------


def test_a_transport_that_comes_back_from_its_finalizer_writes_to_no_file(loop):
    async def main():
        left, right = socket.socketpair()
        number = left.fileno()
        transport, _ = await loop.create_connection(Recorder, sock=left)
        transport.get_protocol().transport = None
        transport.pause_reading()  # nobody but us knows of it
        del left, _
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        [back] = [warning.source for warning in caught if "unclosed transport" in str(warning.message)]
        assert back.is_closing()
        with right:
            mine, peer = reopened(number)
            with mine, peer:
                back.write(b"stray")
                back.writelines([b"stray", b"stray"])
                back.write_eof()
                back.close()
                await turns()
                assert received(peer) is None

    loop.run_until_complete(main())


def test_a_datagram_that_is_sent_after_the_end_goes_nowhere(loop):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        number = transport.get_extra_info("socket").fileno()
        transport.close()
        await turns()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target,
        ):
            assert number in (other.fileno(), target.fileno())
            target.bind(("127.0.0.1", 0))
            transport.sendto(b"stray", target.getsockname())
            assert received(target) is None

    loop.run_until_complete(main())


def test_what_get_buffer_waited_for_may_be_the_end(loop):
    async def main():
        updates = []

        class Blocking(asyncio.BufferedProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def get_buffer(self, sizehint):
                block_on(lost)
                return bytearray(10)

            def buffer_updated(self, nbytes):
                updates.append(nbytes)

            def connection_lost(self, exc):
                loop.call_soon(loop.call_soon, lost.set_result, None)

        lost = loop.create_future()
        left, right = socket.socketpair()
        number = left.fileno()
        transport, _ = await loop.create_connection(Blocking, sock=left)
        right.send(b"hello")
        await wait_aside(loop)
        transport.abort()
        await turns(2)
        with right:
            mine, peer = reopened(number)
            with mine, peer:
                peer.send(b"not for the transport")
                await lost
                while loop.statistics()["aside"]:
                    await asyncio.sleep(0)
                await turns()
                assert received(mine) == b"not for the transport"
                assert updates == []

    loop.run_until_complete(main())


# -- who is at the other end ------------------------------------------------------------------------------------------


def bind_without_end(sock):
    """Bind to a path that takes all there is room for, without a NUL at its end: C programs can."""
    name = b"./" + b"n" * 106
    address = struct.pack("H", socket.AF_UNIX) + name
    assert ctypes.CDLL(None).bind(sock.fileno(), address, len(address)) == 0
    return name.decode()


@pytest.mark.parametrize("server_name", ["server", f"\0everloop-test-{os.getpid()}"], ids=["path", "abstract"])
def test_clients_of_a_unix_server_have_any_name_or_none(loop, tmp_path, monkeypatch, server_name):
    monkeypatch.chdir(tmp_path)

    async def main():
        made = asyncio.Queue()

        class Named(Recorder):
            def connection_made(self, transport):
                made.put_nowait(transport)

        server = await loop.create_unix_server(Named, server_name)
        abstract = f"\0everloop-client-{os.getpid()}".encode()
        binds = {
            "none": lambda sock: "",
            "path": lambda sock: sock.bind("client") or "client",
            "abstract": lambda sock: sock.bind(abstract) or abstract,
            "longest": bind_without_end,
        }
        for bind in binds.values():
            with socket.socket(socket.AF_UNIX) as client:
                name = bind(client)
                client.connect(server_name)
                transport = await made.get()
                assert transport.get_extra_info("peername") == name
                transport.close()
        server.close()
        await turns()

    loop.run_until_complete(main())


def test_a_datagram_may_come_from_the_longest_path(loop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def main():
        came = loop.create_future()

        class From(Recorder):
            def datagram_received(self, data, addr):
                came.set_result(addr)

        transport, _ = await loop.create_datagram_endpoint(From, local_addr="server", family=socket.AF_UNIX)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            name = bind_without_end(client)
            client.sendto(b"hello", "server")
            assert await came == name
        transport.close()
        await turns()

    loop.run_until_complete(main())


# -- what never blocks the interpreter --------------------------------------------------------------------------------


def test_a_copy_of_an_accepted_socket_does_not_make_it_block(loop):
    async def main():
        accepted = loop.create_future()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(transport)

        server = await loop.create_server(Accepted, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            transport = await accepted
            sock = transport.get_extra_info("socket")
            with sock.dup() as copy:
                assert copy.gettimeout() == 0.0
            assert not os.get_blocking(sock.fileno())
            transport.close()
            await turns()
        server.close()

    loop.run_until_complete(main())


def test_a_socket_that_is_made_to_block_again_does_not_block_the_loop(loop):
    async def main():
        left, right = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        left.setblocking(True)
        transport.write(bytes(10_000_000))
        assert transport.get_write_buffer_size() > 0
        transport._read_ready()  # there is nothing to read
        assert protocol.received == []
        transport.abort()
        await turns()
        right.close()

    loop.run_until_complete(main())


def test_a_pipe_that_is_made_to_block_again_does_not_block_the_loop(loop):
    async def main():
        read_end, write_end = os.pipe()
        other = os.dup(write_end)  # as another process may have it
        reader, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(read_end, "rb", 0))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0))
        os.set_blocking(other, True)
        os.set_blocking(read_end, True)
        reader._read_ready()  # there is nothing to read
        message = os.urandom(200_000)
        writer.write(message)
        assert writer.get_write_buffer_size() > 0
        while sum(map(len, protocol.received)) < len(message):
            await asyncio.sleep(0)
        assert b"".join(protocol.received) == message
        for transport in (writer, reader):
            transport.close()
        os.close(other)
        await turns()

    loop.run_until_complete(main())


def test_a_datagram_between_processes_may_be_large(loop):
    async def main():
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=left)
        message = os.urandom(100_000)
        right.send(message)
        while not protocol.received:
            await asyncio.sleep(0)
        assert protocol.received == [message]
        transport.close()
        await turns()
        right.close()

    loop.run_until_complete(main())


def test_connections_that_always_have_something_to_say_leave_the_gil_to_other_threads(loop):
    class Echo(Recorder):
        def data_received(self, data):
            self.transport.write(data)

    async def main():
        left, right = socket.socketpair()
        transports = [(await loop.create_connection(Echo, sock=sock))[0] for sock in (left, right)]
        transports[0].write(b"to and fro")
        # Nobody takes the GIL away: what the thread gets it was given.
        sys.setswitchinterval(1000)
        for number in range(20):
            assert await loop.run_in_executor(None, abs, -number) == number
        for transport in transports:
            transport.abort()
        await turns()

    before = sys.getswitchinterval()
    try:
        loop.run_until_complete(main())
    finally:
        sys.setswitchinterval(before)
        loop.run_until_complete(loop.shutdown_default_executor())


def test_transports_that_outlive_the_modules_say_nothing_unasked():
    script = """
        import asyncio, builtins, everloop, socket, warnings
        warnings.simplefilter("ignore")
        class Protocol(asyncio.Protocol): pass
        loop = everloop.EventLoop()
        left, right = socket.socketpair()
        builtins.kept = loop.run_until_complete(loop.create_connection(Protocol, sock=left)), right
    """
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, "")


# -- protocols that block ---------------------------------------------------------------------------------------------


class Blocked(Recorder):
    """Blocks in the first call, in the way that it is told."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.calls = []

    def data_received(self, data):
        self.calls.append(("begin", data))
        if len(self.calls) == 1:
            self.block()
        self.calls.append(("end", data))


IN_ORDER = [("begin", b"first"), ("end", b"first"), ("begin", b"second"), ("end", b"second")]


@pytest.mark.parametrize("how", ["block_on", "rescue"])
def test_data_that_comes_while_data_received_blocks_waits_without_a_spin(rescuing_loop, gate, how):
    loop = rescuing_loop

    async def main():
        opened = loop.create_future()
        left, right = socket.socketpair()
        block = gate.wait if how == "rescue" else lambda: block_on(opened)
        transport, protocol = await loop.create_connection(lambda: Blocked(block), sock=left)
        right.send(b"first")
        await wait_aside(loop)
        right.send(b"second")

        # Nothing can be done: the loop sleeps until this timer, where it was called a million times a second.
        before = loop.statistics()["steps"]
        await asyncio.sleep(0.05)
        assert loop.statistics()["steps"] - before < 20

        gate.open()
        opened.set_result(None)
        while len(protocol.calls) < 4:
            await asyncio.sleep(0)
        assert protocol.calls == IN_ORDER

        # And it is listened to as before.
        right.send(b"third")
        while len(protocol.calls) < 6:
            await asyncio.sleep(0)
        transport.close()
        await turns()
        right.close()

    loop.run_until_complete(main())


def test_a_peer_that_goes_while_data_received_blocks_is_noticed_afterwards(rescuing_loop, gate):
    loop = rescuing_loop

    async def main():
        lost = loop.create_future()

        class Protocol(Blocked):
            def connection_lost(self, exc):
                lost.set_result(self.calls[:])

        left, right = socket.socketpair()
        await loop.create_connection(lambda: Protocol(gate.wait), sock=left)
        right.send(b"first")
        await wait_aside(loop)
        right.close()
        before = loop.statistics()["steps"]
        await asyncio.sleep(0.05)
        assert loop.statistics()["steps"] - before < 20
        assert not lost.done()
        gate.open()
        assert await lost == [("begin", b"first"), ("end", b"first")]

    loop.run_until_complete(main())


def test_an_error_after_the_end_of_the_connection_is_told_in_its_own_words(loop):
    async def main():
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        lost = loop.create_future()

        class Protocol(Recorder):
            def data_received(self, data):
                block_on(lost)
                raise LookupError("after the end")

            def connection_lost(self, exc):
                loop.call_soon(loop.call_soon, lost.set_result, None)

        left, right = socket.socketpair()
        transport, _ = await loop.create_connection(Protocol, sock=left)
        right.send(b"hello")
        await wait_aside(loop)
        transport.abort()
        while not told:
            await asyncio.sleep(0)
        assert [repr(error) for error in told] == ["LookupError('after the end')"]
        right.close()

    loop.run_until_complete(main())


def test_lines_of_which_one_is_not_bytes_are_not_written_at_all(loop):
    """CPython 3.15's own transport keeps the first ones back, and with them all that comes after."""

    async def main():
        left, right = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        with right:
            with pytest.raises(TypeError, match="int"):
                transport.writelines([b"first", 3])
            transport.write(b"next")
            assert right.recv(100) == b"next"
        transport.abort()

    loop.run_until_complete(main())


# ---- files that the kernel does not watch


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_reader_of_a_file_that_the_kernel_does_not_watch_is_told_so(loop, path):
    """asyncio's waits for ever."""

    async def main():
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        reader = asyncio.StreamReader()
        with open(path, "rb", 0) as file:
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
            with pytest.raises(PermissionError, match="epoll does not watch"):
                await reader.read()

    told = []
    loop.run_until_complete(main())
    assert [type(error) for error in told] == [PermissionError]


def test_a_reader_whose_file_somebody_has_closed_is_told_so(loop):
    class Lost(asyncio.Protocol):
        def connection_made(self, transport):
            os.close(transport.get_extra_info("pipe").fileno())

        def connection_lost(self, error):
            lost.set_result(error)

    async def main():
        loop.set_exception_handler(lambda _, context: None)
        file = os.fdopen(reading, "rb", 0, closefd=False)
        await loop.connect_read_pipe(Lost, file)
        assert isinstance(await lost, OSError)

    reading, writing = os.pipe()
    lost = loop.create_future()
    loop.run_until_complete(main())
    os.close(writing)


@pytest.mark.parametrize("kind", ["socket", "fifo for both"])
def test_what_there_is_to_read_does_not_close_a_writing_pipe(loop, tmp_path, kind):
    """Only its end does: asyncio takes one for the other."""

    class Writing(asyncio.Protocol):
        def connection_lost(self, error):
            lost.set_result(error)

    async def main():
        if kind == "socket":
            ours, theirs = (sock.detach() for sock in socket.socketpair())
        else:
            os.mkfifo(tmp_path / "fifo")
            ours = os.open(tmp_path / "fifo", os.O_RDWR)
            theirs = os.open(tmp_path / "fifo", os.O_RDWR)
        transport, _ = await loop.connect_write_pipe(Writing, os.fdopen(ours, "wb", 0))
        os.write(theirs, b"question")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not transport.is_closing()
        transport.write(b"answer")
        assert os.read(theirs, 100) in (b"answer", b"questionanswer")
        transport.close()
        assert await lost is None
        os.close(theirs)

    lost = loop.create_future()
    loop.run_until_complete(main())
