"""The `sock_*` methods and `sendfile` are coroutines that end, fail and are cancelled as asyncio's do, or better."""

import asyncio
import contextlib
import inspect
import io
import os
import socket
import ssl

import pytest

import everloop
from support import hand_offs

COROUTINES = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_accept",
    "sock_connect",
    "sock_sendfile",
    "sendfile",
]
BIG = os.urandom(1 << 16) * 32  # more than fits into two small buffers


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for each in (ours, theirs):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        yield ours, theirs


@pytest.fixture
def datagram_pair():
    ours, theirs = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        for each in (ours, theirs):
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        yield ours, theirs


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@contextlib.contextmanager
def connecting_socket():
    with socket.socket() as sock:
        sock.setblocking(False)
        yield sock


def is_watched(loop, sock):
    return sock.fileno() in loop._selector.get_map()


async def settle():
    for _ in range(50):  # everloop looks at files at least once in 32 turns
        await asyncio.sleep(0)


async def started(coroutine):
    """A task that has run up to its first suspension."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    assert not task.done()
    return task


# ---- what they are


@pytest.mark.parametrize("name", COROUTINES)
def test_they_are_true_coroutine_functions(loop, name):
    assert inspect.iscoroutinefunction(getattr(loop, name))
    theirs = inspect.signature(getattr(asyncio.SelectorEventLoop, name)).parameters
    ours = inspect.signature(getattr(everloop.EventLoop, name)).parameters
    assert [(each.name, each.kind, each.default) for each in ours.values()] == [
        (each.name, each.kind, each.default) for each in theirs.values()
    ]


# ---- receiving


def test_what_is_there_is_received_at_once(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        theirs.send(b"123456")
        buffer = bytearray(2)
        task = asyncio.ensure_future(loop.sock_recv(ours, 2))
        await asyncio.sleep(0)
        assert task.done()
        assert task.result() == b"12"
        assert await loop.sock_recv_into(ours, buffer) == 2
        assert buffer == b"34"
        assert await loop.sock_recv(ours, 100) == b"56"

    run(main())


def test_what_comes_later_is_waited_for(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        buffer = bytearray(10)
        for receive, expected in [
            (lambda: loop.sock_recv(ours, 10), b"hello"),
            (lambda: loop.sock_recv_into(ours, buffer), 5),
            (lambda: loop.sock_recvfrom(ours, 10), (b"hello", None)),
            (lambda: loop.sock_recvfrom_into(ours, buffer), (5, None)),
            (lambda: loop.sock_recvfrom_into(ours, buffer, 3), (3, None)),
        ]:
            task = await started(receive())
            assert is_watched(loop, ours)
            theirs.send(b"hello")
            assert await task == expected
            assert not is_watched(loop, ours)
        assert buffer[:5] == b"hello"
        assert await loop.sock_recv(ours, 10) == b"lo"

    run(main())


def test_a_stream_is_received_byte_by_byte(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        received = []
        for number in range(100):
            task = await started(loop.sock_recv(ours, 100))
            theirs.send(bytes([number]))
            received.append(await task)
        theirs.close()
        assert await loop.sock_recv(ours, 100) == b""
        assert b"".join(received) == bytes(range(100))

    run(main())


def test_a_reset_while_waiting_is_raised(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        with connecting_socket() as ours:
            await loop.sock_connect(ours, listener.getsockname())
            theirs, _ = await loop.sock_accept(listener)
            task = await started(loop.sock_recv(ours, 10))
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            with pytest.raises(ConnectionResetError):
                await task
            assert not is_watched(loop, ours)

    run(main())


# ---- sending


def test_more_than_fits_is_sent_and_received(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(ours, BIG))
        received = bytearray()
        while len(received) < len(BIG):
            received += await loop.sock_recv(theirs, 1 << 16)
        assert await sending is None
        assert received == BIG
        assert not is_watched(loop, ours)

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_like_bytes_is_sent(run, pair, kind):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, kind(b"hello"))
        assert await loop.sock_recv(theirs, 10) == b"hello"
        await loop.sock_sendall(ours, kind(b""))

    run(main())


def test_datagrams_are_sent_and_received(run, datagram_pair):
    ours, theirs = datagram_pair

    async def main():
        loop = asyncio.get_running_loop()
        receiving = await started(loop.sock_recvfrom(theirs, 100))
        assert await loop.sock_sendto(ours, b"hello", theirs.getsockname()) == 5
        assert await receiving == (b"hello", ours.getsockname())
        buffer = bytearray(100)
        receiving = await started(loop.sock_recvfrom_into(theirs, buffer))
        await loop.sock_sendto(ours, b"again", theirs.getsockname())
        assert await receiving == (5, ours.getsockname())
        assert buffer[:5] == b"again"

    run(main())


# ---- connecting and accepting


def test_connections_are_made_and_accepted(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        accepting = await started(loop.sock_accept(listener))
        with connecting_socket() as ours:
            await loop.sock_connect(ours, listener.getsockname())
            theirs, address = await accepting
            with theirs:
                assert address == ours.getsockname()
                assert theirs.gettimeout() == 0
                await loop.sock_sendall(ours, b"hello")
                assert await loop.sock_recv(theirs, 10) == b"hello"
        assert not is_watched(loop, listener)

    run(main())


def test_a_refused_connection_is_raised(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as unheard, connecting_socket() as ours:
            unheard.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
                await loop.sock_connect(ours, unheard.getsockname())
            assert not is_watched(loop, ours)

    run(main())


def test_a_name_is_resolved_before_connecting(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        asked = []

        async def resolve(host, port, **options):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        loop.getaddrinfo = resolve
        with connecting_socket() as ours:
            await loop.sock_connect(ours, ("a.test", listener.getsockname()[1]))
            assert ours.getpeername() == listener.getsockname()
        assert asked == ["a.test"]

    run(main())


# ---- files


def test_a_file_is_sent(run, pair, tmp_path):
    ours, theirs = pair
    (tmp_path / "file").write_bytes(BIG)

    async def main():
        loop = asyncio.get_running_loop()
        with (tmp_path / "file").open("rb") as file:
            sending = asyncio.create_task(loop.sock_sendfile(ours, file, 10, len(BIG) - 20))
            received = bytearray()
            while len(received) < len(BIG) - 20:
                received += await loop.sock_recv(theirs, 1 << 16)
            assert await sending == len(BIG) - 20
            assert file.tell() == len(BIG) - 10
        assert received == BIG[10:-10]
        assert not is_watched(loop, ours)

    run(main())


def test_a_cancelled_sendfile_leaves_no_watcher(run, pair, tmp_path):
    ours, _ = pair
    (tmp_path / "file").write_bytes(BIG)

    async def main():
        loop = asyncio.get_running_loop()
        with (tmp_path / "file").open("rb") as file:
            task = await started(loop.sock_sendfile(ours, file))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
        assert not is_watched(loop, ours)

    run(main())


def test_a_file_without_a_descriptor_is_sent_in_pieces(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendfile(ours, io.BytesIO(BIG)))
        received = bytearray()
        while len(received) < len(BIG):
            received += await loop.sock_recv(theirs, 1 << 16)
        assert await sending == len(BIG)
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(ours, io.BytesIO(b"x"), fallback=False)
        return received == BIG

    assert run(main())


# ---- cancellation


def waits(loop, pair, listener):
    ours, _ = pair
    return {
        "sock_recv": lambda: loop.sock_recv(ours, 10),
        "sock_recv_into": lambda: loop.sock_recv_into(ours, bytearray(10)),
        "sock_recvfrom": lambda: loop.sock_recvfrom(ours, 10),
        "sock_recvfrom_into": lambda: loop.sock_recvfrom_into(ours, bytearray(10)),
        "sock_sendall": lambda: loop.sock_sendall(ours, BIG),
        "sock_accept": lambda: loop.sock_accept(listener),
    }


@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_accept"])
def test_cancelling_leaves_no_watcher(run, pair, listener, name):
    async def main():
        loop = asyncio.get_running_loop()
        task = await started(waits(loop, pair, listener)[name]())
        assert is_watched(loop, pair[0]) or is_watched(loop, listener)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert not is_watched(loop, pair[0])
        assert not is_watched(loop, listener)

    run(main())


def test_cancelling_a_connection_in_the_making_leaves_no_watcher(run, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(0)

        async def main():
            loop = asyncio.get_running_loop()
            with contextlib.ExitStack() as sockets:
                while True:  # until the backlog is full
                    sock = sockets.enter_context(socket.socket(socket.AF_UNIX))
                    sock.setblocking(False)
                    try:
                        sock.connect(str(tmp_path / "socket"))
                    except BlockingIOError:
                        break
                task = await started(loop.sock_connect(sock, str(tmp_path / "socket")))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0)
                assert not is_watched(loop, sock)

        run(main())


def test_a_timeout_leaves_no_watcher_and_the_next_call_works(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(ours, 10), 0.0001)
            assert not is_watched(loop, ours)
        theirs.send(b"hello")
        assert await asyncio.wait_for(loop.sock_recv(ours, 10), 10) == b"hello"

    run(main())


@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"])
def test_a_cancelled_receiver_loses_no_byte(name, pair, listener):
    """asyncio's receives in a callback, and what it has received then is lost to a cancellation in the same turn."""
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        task = await started(waits(loop, pair, listener)[name]())
        theirs.send(b"precious")
        readable = asyncio.Event()
        with os.fdopen(os.dup(ours.fileno()), "rb", 0) as same:
            # It is seen in the same look at the files, right after: the receiver is to run in the next turn.
            loop.add_reader(same, lambda: (loop.remove_reader(same), task.cancel(), readable.set()))
            await readable.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await loop.sock_recv(ours, 10) == b"precious"

    everloop.run(main())


def test_a_cancelled_accept_loses_no_connection(listener):
    async def main():
        loop = asyncio.get_running_loop()
        task = await started(loop.sock_accept(listener))
        with connecting_socket() as ours:
            ours.connect_ex(listener.getsockname())
            readable = asyncio.Event()
            with os.fdopen(os.dup(listener.fileno()), "rb", 0) as same:
                loop.add_reader(same, lambda: (loop.remove_reader(same), task.cancel(), readable.set()))
                await readable.wait()
            with pytest.raises(asyncio.CancelledError):
                await task
            theirs, address = await loop.sock_accept(listener)
            theirs.close()
            assert address == ours.getsockname()

    everloop.run(main())


def test_a_timeout_race_loses_no_byte(pair):
    """Bytes that come about when the time is out are received by this call or by the next."""
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        received = b""
        for number in range(200):
            loop.call_later(0.0003, theirs.send, bytes([number]))
            while len(received) <= number:
                with contextlib.suppress(TimeoutError):
                    received += await asyncio.wait_for(loop.sock_recv(ours, 10), 0.0003)
        return received

    assert everloop.run(main()) == bytes(range(200))


# ---- other users of the socket


def test_a_socket_of_a_transport_is_refused(run, pair):
    ours, _ = pair

    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        for call in (
            lambda: loop.sock_recv(ours, 10),
            lambda: loop.sock_recv_into(ours, bytearray(10)),
            lambda: loop.sock_recvfrom(ours, 10),
            lambda: loop.sock_sendall(ours, BIG),
        ):
            with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                await call()
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_a_second_receiver_takes_the_place_of_the_first(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        first = await started(loop.sock_recv(ours, 10))
        second = await started(loop.sock_recv(ours, 10))
        theirs.send(b"hello")
        assert await second == b"hello"
        await settle()
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main())


def test_the_end_of_a_displaced_receiver_leaves_the_other_in_place(run, pair):
    ours, theirs = pair

    async def main():
        loop = asyncio.get_running_loop()
        first = await started(loop.sock_recv(ours, 10))
        second = await started(loop.sock_recv(ours, 10))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.sleep(0)
        assert is_watched(loop, ours)
        theirs.send(b"hello")
        assert await second == b"hello"

    run(main())


def test_receiving_and_sending_at_once_keep_out_of_each_other_s_way(run, pair):
    async def main():
        loop = asyncio.get_running_loop()

        async def receive_all(sock):
            received = bytearray()
            while len(received) < len(BIG):
                received += await loop.sock_recv(sock, 1 << 16)
            return received == BIG

        return await asyncio.gather(
            *(loop.sock_sendall(sock, BIG) for sock in pair), *(receive_all(sock) for sock in pair)
        )

    assert run(main()) == [None, None, True, True]


def test_a_hundred_pairs_talk_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()

        async def talk():
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                theirs.setblocking(False)
                for _ in range(5):
                    receiving = asyncio.create_task(loop.sock_recv(theirs, 10))
                    await asyncio.sleep(0)
                    await loop.sock_sendall(ours, b"hello")
                    assert await receiving == b"hello"

        await asyncio.gather(*(talk() for _ in range(100)))

    run(main())


# ---- what is refused


def test_debug_mode_refuses_a_blocking_socket(run, pair, listener):
    ours, _ = pair
    ours.setblocking(True)
    listener.setblocking(True)

    async def main():
        loop = asyncio.get_running_loop()
        for call in (
            lambda: loop.sock_recv(ours, 10),
            lambda: loop.sock_recv_into(ours, bytearray(10)),
            lambda: loop.sock_recvfrom(ours, 10),
            lambda: loop.sock_recvfrom_into(ours, bytearray(10)),
            lambda: loop.sock_sendall(ours, b"x"),
            lambda: loop.sock_sendto(ours, b"x", ("127.0.0.1", 1)),
            lambda: loop.sock_connect(ours, ("127.0.0.1", 1)),
            lambda: loop.sock_accept(listener),
            lambda: loop.sock_sendfile(ours, None),
        ):
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await call()

    run(main(), debug=True)


def test_a_socket_of_tls_is_refused(run, pair):
    ours, _ = pair

    async def main():
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context()
        context.check_hostname = False
        with context.wrap_socket(ours, do_handshake_on_connect=False) as wrapped:
            for call in (
                lambda: loop.sock_recv(wrapped, 10),
                lambda: loop.sock_recv_into(wrapped, bytearray(10)),
                lambda: loop.sock_recvfrom(wrapped, 10),
                lambda: loop.sock_recvfrom_into(wrapped, bytearray(10)),
                lambda: loop.sock_sendall(wrapped, b"x"),
                lambda: loop.sock_accept(wrapped),
            ):
                with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                    await call()

    run(main())


def test_a_closed_socket_is_an_error(run, pair):
    ours, _ = pair
    ours.close()

    async def main():
        loop = asyncio.get_running_loop()
        for call in (
            lambda: loop.sock_recv(ours, 10),
            lambda: loop.sock_sendall(ours, b"x"),
            lambda: loop.sock_accept(ours),
        ):
            with pytest.raises(OSError, match="Bad file descriptor"):
                await call()

    run(main())


def test_a_socket_that_blocks_is_put_aside_by_rescue(rescuing_loop, pair):
    """Outside debug mode asyncio lets a blocking socket pass, and freezes."""
    ours, theirs = pair
    ours.setblocking(True)

    async def main():
        receiving = asyncio.create_task(rescuing_loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        theirs.send(b"hello")
        return await receiving

    assert rescuing_loop.run_until_complete(main()) == b"hello"
    assert hand_offs(rescuing_loop)
