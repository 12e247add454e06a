"""The load that benches/network.py puts on a server: on each connection one message, then its answer, then the next.

It must cost less than the server, or the client is what is measured. So it never sleeps: it polls without a time-out on
a processor of its own. A client that sleeps is woken by the server, for 5 microseconds of the server's time per message
on a virtual machine. What is left per message is two system calls and half a microsecond of Python.
"""

import collections
import os
import select
import socket
import ssl
import struct
import time

STUCK = 5  # seconds after which a server counts as hung
SOCKET_BUFFER = 1 << 20  # room for a whole message each way: neither side waits until the other has read

Address = str | list[object]


class Echoes:
    """Connections that stay open."""

    def __init__(self, transport: str, address: Address, size: int, count: int) -> None:
        self.message = os.urandom(size)
        self.answer = bytearray(size)
        self.epoll = select.epoll()
        self.connections: dict[int, socket.socket] = {}
        for _ in range(count):
            connection = connect(transport, address)
            self.connections[connection.fileno()] = connection
            self.epoll.register(connection, select.EPOLLIN)
        self.check()

    def check(self) -> None:
        for connection in self.connections.values():
            connection.sendall(self.message)
            receive_all(connection, self.answer)
            if self.answer != self.message:
                raise ConnectionError("the answer is not what was sent")

    def run(self, seconds: float) -> int:
        """Keeps the server busy for so long, and returns how many messages it has answered."""
        message, answer, poll = self.message, self.answer, self.epoll.poll
        size, messages = len(message), len(self.connections)
        methods = {number: (each.recv_into, each.sendall) for number, each in self.connections.items()}
        missing = dict.fromkeys(self.connections, size)
        for connection in self.connections.values():
            connection.sendall(message)

        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for number, _ in poll(0):
                receive, send = methods[number]
                left = missing[number]
                count = receive(answer, left)
                if count == left:
                    send(message)
                    missing[number] = size
                    messages += 1
                elif count:
                    missing[number] = left - count
                else:
                    raise ConnectionError("the server has closed a connection")

        # nothing is under way when the time is taken
        for number, connection in self.connections.items():
            receive_all(connection, memoryview(answer)[: missing[number]])
        return messages

    def close(self) -> None:
        self.epoll.close()
        for connection in self.connections.values():
            connection.close()


class Churn:
    """Connections that are closed by the server after one answer; so many are open at a time."""

    def __init__(self, transport: str, address: Address, size: int, count: int) -> None:
        self.transport = transport
        self.address = address
        self.message = os.urandom(size)
        self.answer = bytearray(size + 1)
        self.count = count

    def run(self, seconds: float) -> int:
        """Opens connections for so long, and returns how many were answered and closed."""
        opened: collections.deque[socket.socket] = collections.deque()
        answered = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection = connect(self.transport, self.address)
            connection.sendall(self.message)
            opened.append(connection)
            if len(opened) == self.count:
                self.finish(opened.popleft())
                answered += 1
        for connection in opened:
            self.finish(connection)
        return answered + len(opened)

    def finish(self, connection: socket.socket) -> None:
        received = 0
        while count := receive_awake(connection, self.answer):
            received += count
        if received != len(self.message):
            raise ConnectionError("the answer is not what was sent")
        connection.close()

    def close(self) -> None:
        pass


def connect(transport: str, address: Address) -> socket.socket:
    if transport == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(address).encode("latin-1"))
    elif transport == "udp":
        connection = socket.socket(type=socket.SOCK_DGRAM)
        connection.connect(tuple(address))
    else:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(tuple(address))

    # the kernel's time-out: Python's own would poll before each call
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STUCK, 0))
    return client_context().wrap_socket(connection) if transport == "tls" else connection


def receive_all(connection: socket.socket, answer: bytearray | memoryview) -> None:
    view = memoryview(answer)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionError("the server has closed a connection")
        view = view[count:]


def receive_awake(connection: socket.socket, answer: bytearray) -> int:
    """`recv_into` that does not sleep, but for TLS, where the handshake has slept already."""
    if isinstance(connection, ssl.SSLSocket):
        return connection.recv_into(answer)
    end = time.perf_counter() + STUCK
    while time.perf_counter() < end:
        try:
            return connection.recv_into(answer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
    raise TimeoutError("the server does not answer")


def client_context() -> ssl.SSLContext:
    global _client_context
    if _client_context is None:
        _client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _client_context.check_hostname = False
        _client_context.verify_mode = ssl.CERT_NONE
    return _client_context


_client_context: ssl.SSLContext | None = None
