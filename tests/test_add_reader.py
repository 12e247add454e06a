"""add_reader and add_writer: level-triggered, replaced, removed, and right when a descriptor is reused."""

import asyncio
import contextlib
import os
import selectors
import socket

import pytest


@pytest.fixture
def pair(_no_leftovers):
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


def turns(loop, count=5):
    for _ in range(count):
        loop.run_until_complete(asyncio.sleep(0))


def test_a_reader_that_takes_one_byte_is_called_for_each(loop, pair):
    left, right = pair
    seen = []

    def on_read():
        seen.append(left.recv(1))
        if len(seen) == 10:
            loop.remove_reader(left)
            loop.stop()

    loop.add_reader(left, on_read)
    right.send(b"0123456789")
    loop.run_forever()
    assert b"".join(seen) == b"0123456789"


def test_a_writer_is_called_as_long_as_there_is_room(loop, pair):
    left, _ = pair
    calls = []

    def on_write(name):
        calls.append(name)
        if len(calls) == 10:
            loop.remove_writer(left.fileno())
            loop.stop()

    loop.add_writer(left.fileno(), on_write, "room")
    loop.run_forever()
    assert calls == ["room"] * 10


def test_a_writer_waits_for_room(loop, pair):
    left, right = pair
    order = []
    with contextlib.suppress(BlockingIOError):
        while True:
            left.send(b"x" * 65536)

    def on_write():
        order.append("room")
        loop.remove_writer(left)
        loop.stop()

    def drain():
        order.append("drained")
        with contextlib.suppress(BlockingIOError):
            while True:
                right.recv(65536)

    loop.add_writer(left, on_write)
    loop.call_later(0.005, drain)
    loop.run_forever()
    assert order == ["drained", "room"]


def test_reader_and_writer_of_one_descriptor_are_separate(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(10)))
    loop.add_writer(left, lambda: (seen.append("writable"), loop.remove_writer(left)))
    right.send(b"one")
    turns(loop)
    assert sorted(map(str, seen)) == ["b'one'", "writable"]
    right.send(b"two")
    turns(loop)
    assert seen[-1] == b"two"
    assert loop.remove_reader(left) is True


def test_removing_tells_whether_there_was_one(loop, pair):
    left, _ = pair
    assert loop.remove_reader(left) is False
    assert loop.remove_writer(left) is False
    loop.add_reader(left, print)
    loop.add_writer(left, print)
    assert loop.remove_reader(left) is True
    assert loop.remove_writer(left) is True
    assert loop.remove_reader(left) is False


def test_a_removed_reader_is_not_called(loop, pair):
    left, right = pair
    loop.add_reader(left, pytest.fail)
    right.send(b"x")
    loop.remove_reader(left)
    turns(loop)


def test_a_reader_removed_in_the_turn_in_which_it_is_ready_is_not_called(loop, pair):
    """Both are readable in one turn; whichever runs first removes the other."""
    left, right = pair
    seen = []

    def first(own, other):
        seen.append(own)
        loop.remove_reader(other)
        loop.remove_reader(own)

    loop.add_reader(left, first, left, right)
    loop.add_reader(right, first, right, left)
    left.send(b"x")
    right.send(b"x")
    turns(loop)
    assert len(seen) == 1


def test_the_last_reader_counts(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, pytest.fail)
    loop.add_reader(left, lambda: (seen.append(left.recv(1)), loop.remove_reader(left)))
    right.send(b"x")
    turns(loop)
    assert seen == [b"x"]


def test_the_end_of_the_stream_is_readable(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: (seen.append(left.recv(1)), loop.remove_reader(left)))
    right.close()
    turns(loop)
    assert seen == [b""]


def test_a_reused_descriptor_never_wakes_the_old_owner(loop):
    """Closed without remove_reader, which is the user's mistake: the number then belongs to somebody else."""
    old, old_peer = os.pipe()
    loop.add_reader(old, pytest.fail)
    os.close(old)
    new, new_peer = os.pipe()
    if new != old:
        os.dup2(new, old)
        os.close(new)
    seen = []
    os.write(new_peer, b"x")
    turns(loop)
    loop.add_reader(old, lambda: (seen.append(os.read(old, 1)), loop.remove_reader(old)))
    turns(loop)
    assert seen == [b"x"]
    os.close(old)
    for fd in {old_peer, new_peer} - {old}:
        os.close(fd)


def test_removing_the_reader_of_a_closed_descriptor_is_harmless(loop):
    reader, writer = os.pipe()
    loop.add_reader(reader, pytest.fail)
    os.close(reader)
    os.close(writer)
    assert loop.remove_reader(reader) is True
    turns(loop)


def test_a_descriptor_that_is_none_is_refused(loop, tmp_path):
    for nothing in (-1, "stdin", object()):
        for watch in (loop.add_reader, loop._add_reader):  # asyncio's own code calls the other one
            with pytest.raises(ValueError, match=r"Invalid file (descriptor: -1|object: ('stdin'|<object object))"):
                watch(nothing, print)
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(reader, print)
    with (tmp_path / "plain").open("w") as plain, pytest.raises(PermissionError):
        loop.add_reader(plain, print)


def test_the_selector_tells_what_is_watched(loop, pair):
    loop.add_reader(pair[0], print)
    for file in (pair[0], pair[0].fileno()):
        assert loop._selector.get_key(file).events == selectors.EVENT_READ
    for file in (pair[1], pair[1].fileno()):
        with pytest.raises(KeyError, match="is not registered"):
            loop._selector.get_key(file)
    assert loop.remove_reader(pair[0])


def test_a_descriptor_of_a_transport_is_refused(loop, pair):
    async def main():
        _, writer = await asyncio.open_connection(sock=pair[0])
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(pair[0].fileno(), print)
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_socket_methods_of_the_loop_work(loop, pair):
    left, right = pair

    async def main():
        reading = asyncio.create_task(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(right, b"hello")
        assert await reading == b"hello"
        buffer = bytearray(3)
        await loop.sock_sendall(right, b"abc")
        assert await loop.sock_recv_into(left, buffer) == 3
        assert buffer == b"abc"

    loop.run_until_complete(main())


def test_a_hundred_readers_are_served(loop):
    pairs = [socket.socketpair() for _ in range(100)]
    seen = set()

    def on_read(number):
        seen.add((number, pairs[number][0].recv(100)))
        loop.remove_reader(pairs[number][0])
        if len(seen) == len(pairs):
            loop.stop()

    for number, (left, _) in enumerate(pairs):
        loop.add_reader(left, on_read, number)
    for number, (_, right) in enumerate(pairs):
        right.send(str(number).encode())
    loop.run_forever()
    assert seen == {(number, str(number).encode()) for number in range(100)}
    for left, right in pairs:
        left.close()
        right.close()
