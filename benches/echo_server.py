"""The server that benches/network.py measures: sends back what it gets, with the same protocols on every loop.

    python benches/echo_server.py LOOP TRANSPORT STYLE CORE

LOOP may be `epoll`, which is limit.rs without any Python, or `epoll+py`, which calls an empty function of Python for
each message: no loop can be faster.

It prints its address as JSON once it listens, and ends when its standard input does. Every loop is handed a socket that
was made here, so that all of them listen alike; what they set on a connection (TCP_NODELAY) is their own business.
"""

import asyncio
import ctypes
import json
import os
import pathlib
import socket
import ssl
import sys

import measure

CERTIFICATE = pathlib.Path(__file__).parent.parent / "tests" / "localhost.pem"
LIMIT = pathlib.Path(__file__).parent.parent / "target" / "liblimit.so"  # `make bench` builds it
BUFFER = 256 * 1024
BACKLOG = 512
UNSUPPORTED = 3  # exit status: this loop has no such transport


def main() -> None:
    name, transport, style, core = sys.argv[1:]
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    if name in LIMITS:
        if style != "protocol" or transport not in ("tcp", "unix"):
            sys.exit(UNSUPPORTED)
        return serve_without_loop(listen(transport), LIMITS[name])
    with measure.runner(name) as runner:
        try:
            runner.run(serve(transport, style))
        except NotImplementedError:
            sys.exit(UNSUPPORTED)


async def serve(transport: str, style: str) -> None:
    loop = asyncio.get_running_loop()
    listener = listen(transport)
    address = listener.getsockname()  # now: rloop takes the socket away
    if transport == "udp":
        await loop.create_datagram_endpoint(DatagramEcho, sock=listener)
    else:
        await serve_connections(listener, transport, style)

    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    tell(address)
    await ended.wait()
    os._exit(0)  # what becomes of the connections is measured elsewhere


def tell(address: object) -> None:
    print(json.dumps(address.decode("latin-1") if isinstance(address, bytes) else address), flush=True)


def serve_without_loop(listener: socket.socket, function: object) -> None:
    """Serves until this process is killed."""
    listener.listen(BACKLOG)
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it
    tell(listener.getsockname())
    argument = ctypes.py_object(function) if function else ctypes.c_void_p()
    ctypes.PyDLL(str(LIMIT)).serve(listener.fileno(), argument)


def nothing() -> None:
    pass


LIMITS = {"epoll": None, "epoll+py": nothing}


def listen(transport: str) -> socket.socket:
    if transport == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # the kernel finds an abstract name
        return listener
    if transport == "udp":
        listener = socket.socket(type=socket.SOCK_DGRAM)
        # a hundred datagrams at once take more than the default, and a lost one would be waited for
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    else:
        # the protocol by its number: asyncio sets TCP_NODELAY on no other socket
        listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


async def serve_connections(listener: socket.socket, transport: str, style: str) -> None:
    loop = asyncio.get_running_loop()
    tls = server_context() if transport == "tls" else None
    if transport == "unix":
        if style == "streams":
            await asyncio.start_unix_server(echo_streams, sock=listener, backlog=BACKLOG)
        else:
            await loop.create_unix_server(PROTOCOLS[style], sock=listener, backlog=BACKLOG)
    elif style == "streams":
        await asyncio.start_server(echo_streams, sock=listener, backlog=BACKLOG, ssl=tls)
    else:
        await loop.create_server(PROTOCOLS[style], sock=listener, backlog=BACKLOG, ssl=tls)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


# -- what sends back ------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER))

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        # a copy: a loop may keep what it cannot send at once, and the buffer is filled again
        self.transport.write(bytes(self.buffer[:count]))


class AnswerAndClose(asyncio.Protocol):
    """One message a connection, closed by the server as HTTP/1.0 does."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        self.transport.sendto(data, address)


async def echo_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BUFFER):
        writer.write(data)
        await writer.drain()
    writer.close()


PROTOCOLS = {"protocol": Echo, "buffered": BufferedEcho, "churn": AnswerAndClose}


if __name__ == "__main__":
    main()
