"""Waiting for sockets, and for descriptors to be ready."""

import contextlib
import select
import selectors
import socket

from . import way
from .threads import after


@contextlib.contextmanager
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@way
def receive_in_vain(here):
    with pair() as (ours, _):
        ours.settimeout(here.delay or 1e-4)  # 0 would not wait at all
        try:
            return ours.recv(1)
        except TimeoutError as error:
            here.alone()
            return type(error).__name__


@way
def receive(here):
    with pair() as (ours, theirs), after(here.delay, theirs.sendall, b"ping"):
        return ours.recv(4)


@way
def receive_into(here):
    buffer = bytearray(4)
    with pair() as (ours, theirs), after(here.delay, theirs.sendall, b"ping"):
        return ours.recv_into(buffer), bytes(buffer)


@way
def lines_of_a_socket(here):
    with pair() as (ours, theirs):

        def talk():
            theirs.sendall(b"one\ntwo\n")
            theirs.shutdown(socket.SHUT_WR)

        lines = []
        with after(here.delay, talk), ours.makefile("r") as file:
            for line in file:
                here.alone()
                lines.append(line)
        return lines


@way
def send_to_a_slow_reader(here):
    text = bytes(500_000)

    def read(connection):
        left = len(text)
        while left:
            left -= len(connection.recv(65536))

    with pair() as (ours, theirs), after(here.delay, read, theirs):
        ours.sendall(text)
    return "sent"


@way
def accept_and_connect(here):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with after(here.delay, lambda: socket.create_connection(server.getsockname()).close()):
            connection, _ = server.accept()
        with connection:
            return connection.recv(1)


@way
def select_in_vain(here):
    return select.select([], [], [], here.delay)


@way
def poll(here):
    with pair() as (ours, theirs), after(here.delay, theirs.sendall, b"x"):
        waiter = select.poll()
        waiter.register(ours, select.POLLIN)
        return [events for _, events in waiter.poll()]


@way
def epoll(here):
    with select.epoll() as waiter:
        return waiter.poll(here.delay)


@way
def selector(here):
    with pair() as (ours, theirs), selectors.DefaultSelector() as waiter, after(here.delay, theirs.sendall, b"x"):
        waiter.register(ours, selectors.EVENT_READ, "ours")
        return [key.data for key, _ in waiter.select()]


@way
def datagram(here):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with theirs, after(here.delay, theirs.sendto, b"ping", ours.getsockname()):
            return ours.recvfrom(10)[0]


@way
def name_lookup(here):
    return socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4]
