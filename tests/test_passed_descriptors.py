"""Sockets that come from elsewhere as bare descriptors: from a parent process, or through a Unix socket."""

import asyncio
import socket

import pytest


def passed_on(sock):
    """The same socket as another process gets it: a new descriptor, which came through a Unix socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs, sock:
        socket.send_fds(ours, [b"x"], [sock.fileno()])
        _, (descriptor,), _, _ = socket.recv_fds(theirs, 1, 1)
    return socket.socket(fileno=descriptor)


async def echo(reader, writer):
    writer.write(await reader.read(100))
    writer.close()
    await writer.wait_closed()


@pytest.fixture(params=["tcp", "unix"])
def listener(request, tmp_path):
    if request.param == "tcp":
        return passed_on(socket.create_server(("127.0.0.1", 0)))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "listener"))
    return passed_on(sock)


def test_a_listener_that_was_passed_serves(loop, listener):
    async def main():
        server = await asyncio.start_server(echo, sock=listener)
        async with server:
            client = socket.socket(listener.family)
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            reader, writer = await asyncio.open_connection(sock=passed_on(client))
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    assert loop.run_until_complete(main()) == b"hello"


def test_both_ends_of_a_passed_pair_know_that_they_have_no_names(loop):
    async def main():
        left, right = socket.socketpair()
        _, ours = await asyncio.open_unix_connection(sock=passed_on(left))
        reader, theirs = await asyncio.open_unix_connection(sock=passed_on(right))
        ours.write(b"hello")
        ours.write_eof()
        received = await reader.read()
        for writer in ours, theirs:
            assert writer.get_extra_info("peername") == ""
            writer.close()
            await writer.wait_closed()
        return received

    assert loop.run_until_complete(main()) == b"hello"
