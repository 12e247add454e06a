"""What a stream has received before `start_tls()` reaches the handshake, however the bytes are cut."""

import asyncio
import ssl

import pytest

from tls_support import client_context, server_context

PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"


class Client:
    """The client's side of TLS on plain streams, so that the test says when its bytes are sent."""

    def __init__(self):
        self.reader = self.writer = None
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self):
        """Its first bytes, not sent yet."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    async def do(self, action, *args):
        """Does it, and sends and receives for it."""
        while True:
            try:
                result = action(*args)
            except ssl.SSLWantReadError:
                received = await self.reader.read(1 << 16)
                assert received
                self.incoming.write(received)
            else:
                self.writer.write(self.outgoing.read())
                return result


@pytest.mark.parametrize("limit", [1 << 16, 64], ids=["", "so many that reading has paused"])
@pytest.mark.parametrize("late", [0, 1, 100, 1000], ids="all but {}".format)
def test_a_client_s_early_bytes_reach_the_handshake(loop, limit, late):
    """The client does not wait: its first bytes come with the line before."""
    client = Client()
    hello = client.hello()
    early = max(len(hello) - late, 0)

    async def serve(reader, writer):
        while len(reader._buffer) < len(PROXY) + early:
            await asyncio.sleep(0)
        assert await reader.readuntil(b"\r\n") == PROXY
        upgrading = asyncio.create_task(writer.start_tls(server_context()))
        await asyncio.sleep(0)
        go_on.set()
        await upgrading
        lines = [await reader.readline(), await reader.readline()]
        writer.writelines(reversed(lines))
        await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=limit)
        client.reader, client.writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        client.writer.write(PROXY + hello[:early])
        await go_on.wait()
        client.writer.write(hello[early:])
        await client.do(client.tls.do_handshake)
        await client.do(client.tls.write, b"hello\n" + b"x" * 40 + b"\n")
        answer = b""
        while len(answer) < 47:
            answer += await client.do(client.tls.read, 100)
        assert answer == b"x" * 40 + b"\nhello\n"
        client.writer.close()
        server.close()
        await server.wait_closed()

    go_on = asyncio.Event()
    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_nothing_of_the_old_text_is_taken_for_the_new(loop):
    """A client has unread text: it stays where it was, as on asyncio's loop. TLS begins with what comes after."""

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"ready\nmore\n")
        await writer.start_tls(server_context())
        writer.write(b"secret\n")
        await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"please\n")
        assert await reader.readline() == b"ready\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        assert [await reader.readline() for _ in range(2)] == [b"more\n", b"secret\n"]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
