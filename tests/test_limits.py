"""Many connections, and fewer descriptors than needed: all are served, and nothing is left over."""

import asyncio
import gc
import os
import resource
import socket
import threading

import pytest

import everloop
from support import open_descriptors, run_script, started_script

# -- many -----------------------------------------------------------------------------------------------------------


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.patience(120)
def test_ten_thousand_connections_leave_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answer, "127.0.0.1", 0, backlog=200)
        address = server.sockets[0].getsockname()

        async def visit(count):
            for _ in range(count // 100):
                socks = [socket.create_connection(address) for _ in range(100)]
                for sock in socks:
                    sock.setblocking(False)
                    sock.send(b"hello")
                for sock in socks:
                    assert await loop.sock_recv(sock, 10) == b"hello"
                    assert await loop.sock_recv(sock, 10) == b""
                    sock.close()

        # the first ones fill caches
        await visit(2000)
        gc.collect()
        descriptors, threads, memory = open_descriptors(), set(threading.enumerate()), resident()
        objects = len(gc.get_objects())

        await visit(8000)
        gc.collect()
        assert open_descriptors() == descriptors
        assert set(threading.enumerate()) <= threads  # one that was there before may have ended
        assert len(gc.get_objects()) < objects + 100
        assert resident() < memory + (2 << 20)  # 256 bytes a connection
        server.close()
        await server.wait_closed()

    class Answer(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)
            self.transport.close()

    everloop.run(main())


@pytest.mark.patience(120)
def test_two_thousand_connections_at_once():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 4200:
        pytest.skip(f"no more than {hard} files can be open here")
    finished = run_script(
        """
        import asyncio, resource, everloop
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4200), hard))

        async def echo(reader, writer):
            while data := await reader.read(1000):
                writer.write(data)
            writer.close()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=2000)
            address = server.sockets[0].getsockname()
            streams = [await asyncio.open_connection(*address) for _ in range(2000)]
            for number, (_, writer) in enumerate(streams):
                writer.write(b"%04d" % number)
            for number, (reader, _) in enumerate(streams):
                assert await reader.readexactly(4) == b"%04d" % number
            for _, writer in streams:
                writer.close()
            for _, writer in streams:
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
            print("served")

        everloop.run(main())
        """,
        timeout=100,
    )
    # in debug mode, which dev mode brings along, making them is slow enough to be logged
    assert finished.stdout == "served\n"
    assert "Warning" not in finished.stderr
    assert "Traceback" not in finished.stderr


SERVER_WITH_FEW_FILES = """
    import asyncio, resource, sys, everloop

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: print(context["message"], context["exception"].errno))
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=100)
        # as many as are open, and a few
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
        print(server.sockets[0].getsockname()[1])
        ended = asyncio.Event()
        loop.add_reader(0, ended.set)
        await ended.wait()
        server.close()
        await server.wait_closed()
        print("ended")

    everloop.run(main())
"""


def test_a_server_without_free_descriptors_goes_on_when_it_has_some():
    with started_script(SERVER_WITH_FEW_FILES) as server:
        port = int(server.stdout.readline())
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        try:
            assert server.stdout.readline() == "socket.accept() out of system resource 24\n"

            # those that it has accepted are served, and leave room for the others
            for number, sock in enumerate(socks):
                sock.send(b"%02d" % number)
                assert sock.recv(10) == b"%02d" % number
                sock.close()
        finally:
            for sock in socks:
                sock.close()
        server.stdin.close()
        rest = server.stdout.readlines()
        assert rest[-1] == "ended\n"
        assert set(rest[:-1]) <= {"socket.accept() out of system resource 24\n"}
        assert server.stderr.read() == ""


def test_a_client_without_free_descriptors_gets_an_error():
    finished = run_script(
        """
        import asyncio, errno, resource, everloop

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            loop.set_exception_handler(lambda *_: None)  # the server has none left either
            resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
            clients = []
            try:
                while True:
                    clients.append(await loop.create_connection(asyncio.Protocol, *address))
            except OSError as error:
                assert error.errno == errno.EMFILE, error
            for transport, _ in clients:
                transport.abort()
            await asyncio.sleep(0)
            transport, _ = await loop.create_connection(asyncio.Protocol, *address)
            transport.abort()
            server.close()
            print("survived")

        everloop.run(main())
        """
    )
    assert (finished.stdout, finished.stderr) == ("survived\n", "")


# -- nothing is left over -------------------------------------------------------------------------------------------

EVERYTHING = """
    import asyncio, os, pathlib, socket, ssl, sys, everloop

    certificate = sys.argv[1]
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(certificate)

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def talk(reader, writer):
        writer.write(b"x" * 100_000)
        assert len(await reader.readexactly(100_000)) == 100_000
        writer.close()
        await writer.wait_closed()

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()
        def datagram_received(self, data, address):
            self.received.set_result(data)

    async def main():
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            await talk(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            await talk(*await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trusting,
                                                      server_hostname="localhost"))
        async with await asyncio.start_unix_server(echo, "\\0everloop-%d" % os.getpid()) as server:
            await talk(*await asyncio.open_unix_connection("\\0everloop-%d" % os.getpid()))

        one, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        two, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=one.get_extra_info("sockname"))
        two.sendto(b"hello")
        assert await protocol.received == b"hello"
        one.close()
        two.close()

        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        reader, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), open(reading, "rb", 0))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(writing, "wb", 0))
        writer.write(b"through")
        writer.close()
        assert await stream.read() == b"through"

        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=-1)
        assert (await process.communicate(b"meow"))[0] == b"meow"

        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        other, _ = await loop.create_connection(asyncio.Protocol, sock=right)
        with open(certificate, "rb") as file:
            sent = await loop.sendfile(other, file)
        assert len(await reader.readexactly(sent)) == sent
        other.abort()
        writer.close()
        await writer.wait_closed()
        await loop.run_in_executor(None, int)

    everloop.run(main(), debug=len(sys.argv) > 2)
"""


@pytest.mark.parametrize("debug", [(), ("debug",)], ids=["plain", "debug"])
def test_nothing_warns_where_everything_is_used(debug):
    """Not of an open socket or transport either, with all warnings on."""
    certificate = os.path.join(os.path.dirname(__file__), "localhost.pem")
    finished = run_script(EVERYTHING, certificate, *debug)
    assert (finished.returncode, finished.stdout) == (0, "")
    assert "Warning" not in finished.stderr
    assert "Exception" not in finished.stderr


def test_a_closed_loop_with_open_transports_warns_as_asyncio_s():
    """The user forgot them: each is said once, and its descriptor is closed."""
    source = """
        import asyncio, gc, os, socket, sys, warnings, everloop
        warnings.simplefilter("always")
        loop = {"asyncio": asyncio.SelectorEventLoop, "everloop": everloop.EventLoop}[sys.argv[1]]()
        before = set(os.listdir("/dev/fd"))

        async def main():
            left, right = socket.socketpair()
            await loop.create_connection(asyncio.Protocol, sock=left)
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
            reading, writing = os.pipe()
            await loop.connect_read_pipe(asyncio.Protocol, open(reading, "rb", 0))
            await loop.connect_write_pipe(asyncio.Protocol, open(writing, "wb", 0))
            right.detach()

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            loop.run_until_complete(main())
            loop.close()
            del loop
            gc.collect()
        # asyncio's files and sockets may be collected before their transports, and warn as well
        print(sum("unclosed transport" in str(each.message) for each in warned))
        print(len(set(os.listdir("/dev/fd")) - before))
    """
    outputs = [run_script(source, name) for name in ("asyncio", "everloop")]
    assert [each.stderr for each in outputs] == ["", ""]
    assert outputs[0].stdout == outputs[1].stdout
