"""`sock_recv` and the like, and `sendfile`, do what asyncio's do.

Each scenario is played on both loops (see scene.py).
"""

import asyncio
import inspect
import os
import socket
import ssl

import pytest

from scene import BIG, Collection, Data, Peer, assert_as_asyncio, small_buffers

scenario = Collection()


def pair(scene, kind=socket.SOCK_STREAM):
    """A socket that does not block, and its peer."""
    ours, theirs = socket.socketpair(type=kind)
    ours.setblocking(False)
    small_buffers(ours)
    small_buffers(theirs)
    scene.resources.enter_context(ours)
    return ours, scene.resources.enter_context(Peer(scene, theirs))


def listener(scene):
    sock = scene.resources.enter_context(socket.create_server(("127.0.0.1", 0)))
    sock.setblocking(False)
    return sock


async def waiting(scene, coroutine):
    """A task that waits for its socket."""
    task = asyncio.create_task(coroutine)
    await scene.settle()
    scene.note("done" if task.done() else "waiting")
    return task


# -- receiving ------------------------------------------------------------------------------------------------------


@scenario
async def data_is_there(scene):
    ours, peer = pair(scene)
    peer.send(b"hello, world")
    await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 5))
    buffer = bytearray(4)
    await scene.note_result("sock_recv_into", scene.loop.sock_recv_into(ours, buffer))
    scene.note(buffer)
    peer.close()
    await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 100))
    await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 100))
    await scene.note_result("sock_recv_into", scene.loop.sock_recv_into(ours, buffer))


@scenario
async def data_comes_later(scene):
    ours, peer = pair(scene)
    buffer = bytearray(9)
    for receive in (lambda: scene.loop.sock_recv(ours, 100), lambda: scene.loop.sock_recv_into(ours, buffer)):
        task = await waiting(scene, receive())
        peer.send(b"hello")
        await scene.note_result("received", task)
    scene.note(buffer)


@scenario
async def the_peer_resets(scene):
    server = listener(scene)
    peer = scene.resources.enter_context(Peer(scene, socket.create_connection(server.getsockname())))
    ours, _ = await scene.loop.sock_accept(server)
    with ours:
        scene.note(ours.gettimeout())
        task = await waiting(scene, scene.loop.sock_recv(ours, 100))
        peer.reset()
        await scene.note_result("sock_recv", task)
        await scene.note_result("sock_sendall", scene.loop.sock_sendall(ours, b"x"))


@scenario
async def datagrams(scene):
    one, two = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
    for each in (one, two):
        scene.resources.enter_context(each)
        each.setblocking(False)
        each.bind(("127.0.0.1", 0))
    there = two.getsockname()
    for size in (0, 5, 2000):
        task = await waiting(scene, scene.loop.sock_recvfrom(two, 1000))
        await scene.note_result("sock_sendto", scene.loop.sock_sendto(one, b"x" * size, there))
        data, address = await task
        scene.note(data, address == one.getsockname())
    buffer = bytearray(10)
    for limits in ((), (3,)):
        task = await waiting(scene, scene.loop.sock_recvfrom_into(two, buffer, *limits))
        await scene.note_result("sock_sendto", scene.loop.sock_sendto(one, b"hello", there))
        count, address = await task
        scene.note(count, buffer, address == one.getsockname())
    await scene.note_result("sock_sendto", scene.loop.sock_sendto(one, b"x" * 70000, there))


# -- sending --------------------------------------------------------------------------------------------------------


@scenario
async def much_is_sent(scene):
    ours, peer = pair(scene)
    for data in (BIG, bytearray(BIG), memoryview(BIG)):
        task = await waiting(scene, scene.loop.sock_sendall(ours, data))
        scene.note(await peer.read(len(BIG)))
        await scene.note_result("sock_sendall", task)
    await scene.note_result("sock_sendall", scene.loop.sock_sendall(ours, b""))


@scenario
async def the_peer_closes_while_much_is_sent(scene):
    ours, peer = pair(scene)
    task = await waiting(scene, scene.loop.sock_sendall(ours, BIG))
    peer.close()
    await scene.note_result("sock_sendall", task)


# -- connecting -----------------------------------------------------------------------------------------------------


@scenario
async def accepted_and_connected(scene):
    server = listener(scene)
    task = await waiting(scene, scene.loop.sock_accept(server))
    with socket.socket() as ours:
        ours.setblocking(False)
        await scene.note_result("sock_connect", scene.loop.sock_connect(ours, server.getsockname()))
        accepted, address = await task
        with accepted:
            scene.note(type(accepted), accepted.gettimeout(), address == ours.getsockname())
        await scene.note_result("again", scene.loop.sock_connect(ours, server.getsockname()))


@scenario
async def a_connection_is_refused(scene):
    with socket.socket() as unheard, socket.socket() as ours:
        unheard.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        try:
            await scene.loop.sock_connect(ours, unheard.getsockname())
        except OSError as error:
            scene.note(type(error), error.errno)


@scenario
async def a_name_is_resolved(scene):
    server = listener(scene)
    with socket.socket() as ours:
        ours.setblocking(False)
        address = ("localhost", server.getsockname()[1])
        await scene.note_result("sock_connect", scene.loop.sock_connect(ours, address))
    await scene.loop.shutdown_default_executor()


@scenario
async def a_unix_path_that_is_none(scene):
    with socket.socket(socket.AF_UNIX) as ours:
        ours.setblocking(False)
        for path in (str(scene.kind / "nothing"), "\0nobody"):
            await scene.note_result("sock_connect", scene.loop.sock_connect(ours, path))


# -- bad input ------------------------------------------------------------------------------------------------------


def every_call(loop, sock):
    return {
        "sock_recv": lambda: loop.sock_recv(sock, 10),
        "sock_recv_into": lambda: loop.sock_recv_into(sock, bytearray(10)),
        "sock_recvfrom": lambda: loop.sock_recvfrom(sock, 10),
        "sock_recvfrom_into": lambda: loop.sock_recvfrom_into(sock, bytearray(10)),
        "sock_sendall": lambda: loop.sock_sendall(sock, b"x"),
        "sock_sendto": lambda: loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
        "sock_accept": lambda: loop.sock_accept(sock),
        "sock_connect": lambda: loop.sock_connect(sock, ("127.0.0.1", 9)),
    }


@scenario
async def closed_sockets_are_refused(scene):
    ours, _ = pair(scene)
    ours.close()
    for name, call in every_call(scene.loop, ours).items():
        await scene.note_result(name, call())


@scenario
async def blocking_sockets_are_refused_in_debug_mode(scene):
    ours, _ = pair(scene)
    ours.setblocking(True)
    scene.loop.set_debug(True)
    for name, call in every_call(scene.loop, ours).items():
        await scene.note_result(name, call())
    scene.loop.set_debug(False)


@scenario
async def tls_sockets_are_refused(scene):
    ours, _ = pair(scene)
    context = ssl.create_default_context()
    context.check_hostname = False
    ours.setblocking(True)
    with context.wrap_socket(ours, do_handshake_on_connect=False) as wrapped:
        for name, call in every_call(scene.loop, wrapped).items():
            await scene.note_result(name, call())


@scenario
async def what_is_not_bytes_is_refused(scene):
    ours, peer = pair(scene)
    peer.send(b"waits")
    for data in ("text", None, 3):
        await scene.note_result("sock_sendall", scene.loop.sock_sendall(ours, data))
    for size in (-1, "text", None):
        await scene.note_result("sock_recv", scene.loop.sock_recv(ours, size))
    for buffer in (b"read-only", None, "text"):
        await scene.note_result("sock_recv_into", scene.loop.sock_recv_into(ours, buffer))
    await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 10))


# -- cancellation ---------------------------------------------------------------------------------------------------


@scenario
async def a_cancelled_call_takes_nothing(scene):
    ours, peer = pair(scene)
    buffer = bytearray(10)
    for call in (lambda: scene.loop.sock_recv(ours, 10), lambda: scene.loop.sock_recv_into(ours, buffer)):
        task = await waiting(scene, call())
        task.cancel()
        await scene.note_result("cancelled", task)
        peer.send(b"kept")
        await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 10))


@scenario
async def cancelled_when_data_has_come(scene):
    ours, peer = pair(scene)
    task = await waiting(scene, scene.loop.sock_recv(ours, 10))
    peer.send(b"here")
    task.cancel()
    await scene.note_result("cancelled", task)
    await scene.note_result("sock_recv", scene.loop.sock_recv(ours, 10))


@scenario
async def a_cancelled_sendall_stops(scene):
    ours, peer = pair(scene)
    task = await waiting(scene, scene.loop.sock_sendall(ours, BIG))
    task.cancel()
    await scene.note_result("sock_sendall", task)
    ours.close()
    data, end = await peer.read_to_end()
    scene.note(0 < len(data) < len(BIG), end)


@scenario
async def a_cancelled_accept_takes_no_connection(scene):
    server = listener(scene)
    task = await waiting(scene, scene.loop.sock_accept(server))
    task.cancel()
    await scene.note_result("sock_accept", task)
    peer = scene.resources.enter_context(Peer(scene, socket.create_connection(server.getsockname())))
    accepted, _ = await scene.loop.sock_accept(server)
    with accepted:
        peer.send(b"hello")
        await scene.note_result("sock_recv", scene.loop.sock_recv(accepted, 10))


@scenario
async def a_cancelled_connect(scene):
    server = listener(scene)
    server.listen(0)
    fillers = [socket.socket() for _ in range(3)]
    for each in fillers:  # until the queue is full, and the next one has to wait
        scene.resources.enter_context(each)
        each.setblocking(False)
        each.connect_ex(server.getsockname())
    with socket.socket() as ours:
        ours.setblocking(False)
        task = await waiting(scene, scene.loop.sock_connect(ours, server.getsockname()))
        task.cancel()
        await scene.note_result("sock_connect", task)


# -- files ----------------------------------------------------------------------------------------------------------


def new_file(scene, data=BIG):
    path = scene.kind / "file"
    path.write_bytes(data)
    return scene.resources.enter_context(path.open("rb"))


@scenario.variants(all=(), a_part=(7, 100_000), the_rest=(1000,), nothing=(len(BIG),), too_much=(len(BIG) - 5, 100))
async def a_file_is_sent(limits, scene):
    ours, peer = pair(scene)
    file = new_file(scene)
    task = asyncio.create_task(scene.loop.sock_sendfile(ours, file, *limits))
    expected = BIG[limits[0] if limits else 0 :][: limits[1] if len(limits) > 1 else None]
    scene.note(await peer.read(len(expected)))
    await scene.note_result("sock_sendfile", task)
    scene.note(file.tell())


@scenario.variants(all=(), a_part=(7, 100_000), nothing=(len(BIG),))
async def a_file_is_sent_through_a_transport(limits, scene):
    scene.kind, path = "tcp", scene.kind
    protocol, peer = await scene.connect()
    scene.kind = path
    file = new_file(scene)
    protocol.transport.write(b"before ")
    task = asyncio.create_task(scene.loop.sendfile(protocol.transport, file, *limits))
    await asyncio.sleep(0)
    if not limits:
        scene.note_outcome("write", protocol.transport.write, b"during")
        scene.note_outcome("writelines", protocol.transport.writelines, [b"during"])
        scene.note(protocol.transport.is_reading())
    expected = BIG[limits[0] if limits else 0 :][: limits[1] if len(limits) > 1 else None]
    scene.note(await peer.read(7 + len(expected)))
    await scene.note_result("sendfile", task)
    protocol.transport.write(b"after")
    scene.note(await peer.read(5), protocol.transport.is_reading())
    if expected:  # where nothing was sent, the file stays where it was, up to 3.13
        scene.note(file.tell())


@scenario
async def the_connection_ends_while_a_file_is_sent(scene):
    path = scene.kind
    for act in ("close", "reset"):  # an abort from here is waited out for ever, on asyncio's loop too
        scene.kind = "tcp"
        protocol, peer = await scene.connect()
        scene.kind = path
        task = asyncio.create_task(scene.loop.sendfile(protocol.transport, new_file(scene, BIG * 8)))
        await peer.read(1000)
        getattr(peer, act)()
        try:
            await task
        except ConnectionError as error:
            scene.note(act, isinstance(error, ConnectionError))
        await scene.until(lambda protocol=protocol: protocol.lost)
        scene.note([event[:2] for event in scene.events])
        scene.events.clear()


@scenario
async def bad_files_and_transports(scene):
    path, scene.kind = scene.kind, "tcp"
    protocol, _ = await scene.connect()
    scene.kind = path
    file = new_file(scene)
    ours, _ = pair(scene)
    with open(os.devnull) as text:
        for arguments in ((text,), (file, -1), (file, "1"), (file, 0, 0), (file, 0, -1), (file, 0, "1")):
            await scene.note_result("sock_sendfile", scene.loop.sock_sendfile(ours, *arguments))
            await scene.note_result("sendfile", scene.loop.sendfile(protocol.transport, *arguments))
    protocol.transport.close()
    await scene.note_result("sendfile", scene.loop.sendfile(protocol.transport, file))


@scenario
async def a_cancelled_sendfile(scene):
    ours, peer = pair(scene)
    task = await waiting(scene, scene.loop.sock_sendfile(ours, new_file(scene, BIG * 2)))
    await peer.read(1000)
    task.cancel()
    await scene.note_result("sock_sendfile", task)
    ours.close()
    data, end = await peer.read_to_end()
    scene.note(type(data) is Data, end)


@scenario.parametrize()
def test_sockets_and_files_do_what_asyncio_s_do(scenario, tmp_path):
    assert_as_asyncio(scenario, kind=tmp_path)


@pytest.mark.parametrize("name", list(every_call(None, None)))
def test_the_calls_are_coroutine_functions(loop, name):
    assert inspect.iscoroutinefunction(getattr(loop, name))
