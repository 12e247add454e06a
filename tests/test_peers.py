"""Peers that misbehave: the loop survives them, and others are served meanwhile."""

import asyncio
import contextlib
import socket
import struct
import sys
import threading

import pytest

import everloop
from scene import SMALL_BUFFER, small_buffers


async def echo(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def connect(server):
    return socket.create_connection(server.sockets[0].getsockname())


def test_peers_that_reset_at_any_moment_are_survived():
    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        for moment in range(40):
            sock = connect(server)
            sock.setblocking(False)
            for _ in range(moment):
                with contextlib.suppress(BlockingIOError):
                    sock.send(b"x" * 10_000)
                await asyncio.sleep(0)
            reset(sock)

        # everybody else is served as before
        with connect(server) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, b"hello")
            assert await loop.sock_recv(sock, 5) == b"hello"
        server.close()
        await server.wait_closed()

    everloop.run(main())


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_the_same_however_it_is_cut(size):
    message = bytes(range(256)) * 20

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        with connect(server) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            received = b""
            for start in range(0, len(message), size):
                await loop.sock_sendall(sock, message[start : start + size])
                received += await loop.sock_recv(sock, len(message))
            while len(received) < len(message):
                received += await loop.sock_recv(sock, len(message))
            assert received == message
        server.close()
        await server.wait_closed()

    everloop.run(main())


def test_a_peer_that_never_reads_stops_its_sender_alone():
    async def main():
        loop = asyncio.get_running_loop()
        written = 0

        async def pour(_, writer):
            nonlocal written
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 10_000)
                    written += 10_000
                    await writer.drain()
            writer.close()

        pouring = await asyncio.start_server(pour, "127.0.0.1", 0)
        echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
        with small_buffers(connect(pouring)), connect(echoing) as sock:
            sock.setblocking(False)

            # it is stopped once as much is written as the kernel and the limit of the transport take
            before = -1
            while written != before:
                before = written
                for _ in range(100):
                    await loop.sock_sendall(sock, b"x")
                    await loop.sock_recv(sock, 1)
            assert 0 < written < 32 << 20
        for server in (pouring, echoing):
            server.close()
            await server.wait_closed()

    everloop.run(main())


def test_the_small_rest_of_a_large_message_does_not_keep_all_of_it_in_memory():
    async def main():
        loop = asyncio.get_running_loop()

        async def transport_and_peer():
            ours, peer = socket.socketpair()
            peer.setblocking(False)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            return transport, peer

        transport, peer = await transport_and_peer()
        with peer:
            transport.write(bytes(4 << 20))
            taken = (4 << 20) - transport.get_write_buffer_size()  # as much as the kernel takes
            transport.abort()

        for length, is_kept in (taken + taken // 8, False), (2 * taken, True):
            transport, peer = await transport_and_peer()
            with peer:
                data = bytes(length)
                before = sys.getrefcount(data)
                transport.write(data)
                assert transport.get_write_buffer_size() > 0
                assert (sys.getrefcount(data) > before) is is_kept
                transport.close()
                received = 0
                while received < length:
                    received += len(await loop.sock_recv(peer, 1 << 20))
                assert await loop.sock_recv(peer, 1) == b""

    everloop.run(main())


def test_a_flood_is_read_no_faster_than_it_is_taken():
    async def main():
        taken = asyncio.Semaphore(0)
        readers = []

        async def take(reader, writer):
            readers.append(reader)
            while await taken.acquire() and await reader.read(1000):
                pass
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0, limit=10_000)
        with small_buffers(connect(server)) as sock:
            sock.setblocking(False)
            sent = idle = 0
            while idle < 1000:
                try:
                    sent += sock.send(b"x" * 100_000)
                    idle = 0
                except BlockingIOError:
                    idle += 1
                await asyncio.sleep(0)
            # twice the limit, and what a read brings at once
            assert len(readers[0]._buffer) < 20_000 + 256 * 1024
            assert sent < 16 << 20

            # taking goes on
            for _ in range(sent):
                taken.release()
            await asyncio.get_running_loop().sock_sendall(sock, b"y" * 100_000)
        server.close()
        await server.wait_closed()

    everloop.run(main())


def test_a_flood_of_connections_leaves_room_for_others():
    """Whatever waits in the backlog, a step that is ready runs meanwhile."""

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=500)
        socks = [connect(server) for _ in range(300)]
        turns = 0
        while len(asyncio.all_tasks()) <= 300:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1
        for sock in socks:
            sock.close()
        server.close()
        await server.wait_closed()

    everloop.run(main())


def test_one_step_reads_no_more_than_the_limit():
    """A peer that sends without end does not keep other steps from running."""

    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        small_buffers(right)

        class Count(asyncio.Protocol):
            received = 0
            largest = 0

            def data_received(self, data):
                self.received += len(data)
                self.largest = max(self.largest, len(data))

        transport, count = await loop.create_connection(Count, sock=left)
        stop = threading.Event()

        def flood():
            right.settimeout(1)
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    right.send(b"x" * SMALL_BUFFER)

        thread = threading.Thread(target=flood)
        thread.start()
        for _ in range(2000):
            await asyncio.sleep(0)
        while count.received < 4 << 20:
            await asyncio.sleep(0)
        assert count.largest <= 256 * 1024
        stop.set()
        transport.abort()
        await asyncio.sleep(0)
        right.close()
        await asyncio.to_thread(thread.join)

    everloop.run(main())


if sys.version_info >= (3, 13):

    def test_clients_that_do_not_leave_are_aborted():
        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            socks = [connect(server) for _ in range(20)]
            while len(asyncio.all_tasks()) <= 20:
                await asyncio.sleep(0)
            server.close()
            server.abort_clients()
            await server.wait_closed()
            for sock in socks:
                sock.close()

        everloop.run(main())
