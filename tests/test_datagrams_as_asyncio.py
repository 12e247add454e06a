"""Datagram transports do what asyncio's do. Each scenario is played on both loops (see scene.py)."""

import asyncio
import contextlib
import os
import socket
import weakref

import pytest

from scene import Collection, assert_as_asyncio, raise_error

scenario = Collection()

TOO_LONG = b"x" * 66000


async def endpoint(scene, connected=None, **acts):
    """A recorder on a datagram transport of the scene's kind, and a plain socket whose address it knows."""
    unix = scene.kind == "unix"
    family = socket.AF_UNIX if unix else socket.AF_INET6 if scene.kind == "ipv6" else socket.AF_INET
    anywhere = "" if unix else ("::1", 0) if scene.kind == "ipv6" else ("127.0.0.1", 0)
    peer = scene.resources.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    peer.bind(anywhere)
    peer.setblocking(False)
    ours = socket.socket(family, socket.SOCK_DGRAM)
    ours.bind(anywhere)
    if scene.style == "connected" if connected is None else connected:
        ours.connect(peer.getsockname())
    _, protocol = await scene.loop.create_datagram_endpoint(lambda: scene.datagram_recorder(**acts), sock=ours)
    return protocol, peer


async def received(scene, peer):
    found = []

    def look():
        with contextlib.suppress(BlockingIOError):
            found.append(peer.recv(70000))
        return found

    await scene.until(look)
    return found[0]


def address(protocol):
    return protocol.transport.get_extra_info("sockname")


def send(scene, protocol, peer, data):
    """To the peer, which a connected endpoint knows already."""
    if scene.style == "connected":
        protocol.transport.sendto(data)
    else:
        protocol.transport.sendto(data, peer.getsockname())


# -- sending and receiving ------------------------------------------------------------------------------------------


@scenario
async def datagrams_go_both_ways(scene):
    protocol, peer = await endpoint(scene)
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), b"x" * 9000):
        send(scene, protocol, peer, data)
        scene.note(await received(scene, peer))
    for number, data in enumerate((b"one", b"", b"x" * 9000)):
        peer.sendto(data, address(protocol))
        await scene.seen("datagram_received", number + 1)


@scenario
async def many_datagrams_at_once(scene):
    protocol, peer = await endpoint(scene)
    for number in range(10):  # a Unix socket's queue is this long
        peer.sendto(b"%d" % number, address(protocol))
    await scene.seen("datagram_received", 10)


@scenario
async def what_is_not_bytes_is_refused(scene):
    protocol, peer = await endpoint(scene)
    for data in ("text", None, 3, [b"list"]):
        scene.note_outcome("sendto", protocol.transport.sendto, data, peer.getsockname())


@scenario(since=(3, 13))  # before, asyncio sent no empty datagram
async def an_empty_datagram_is_sent(scene):
    protocol, peer = await endpoint(scene)
    send(scene, protocol, peer, b"")
    scene.note(await received(scene, peer))
    scene.note(protocol.transport.get_write_buffer_size())


@scenario
async def sendto_without_an_address(scene):
    protocol, _ = await endpoint(scene)
    scene.note_outcome("sendto", protocol.transport.sendto, b"to whom?")


@scenario
async def a_datagram_that_is_too_long(scene):
    protocol, peer = await endpoint(scene)
    data = TOO_LONG if scene.kind != "unix" else bytes(1 << 22)
    send(scene, protocol, peer, data)
    await scene.seen("error_received")
    send(scene, protocol, peer, b"still works")
    scene.note(await received(scene, peer))


@scenario
async def nobody_listens(scene):
    protocol, peer = await endpoint(scene)
    there = peer.getsockname()
    peer.close()
    if scene.style == "connected":
        protocol.transport.sendto(b"hello?")
        await scene.seen("error_received")
    else:
        protocol.transport.sendto(b"hello?", there)
        await scene.settle()
    scene.note(protocol.transport.is_closing())


@scenario
async def bad_addresses(scene):
    if scene.style == "connected" or scene.kind == "unix":
        return
    protocol, _ = await endpoint(scene)
    for number, bad in enumerate(("text", ("127.0.0.1",), ("127.0.0.1", "port"), 3)):
        other, _ = await endpoint(scene)
        scene.note(number)
        scene.note_outcome("sendto", other.transport.sendto, b"x", bad)
        await scene.settle()
    scene.note(protocol.transport.is_closing())


@scenario
async def a_remote_address_is_the_only_one(scene):
    if scene.kind == "unix":
        return
    peer = scene.resources.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    peer.bind(("127.0.0.1", 0))
    peer.setblocking(False)
    there = peer.getsockname()
    _, protocol = await scene.loop.create_datagram_endpoint(scene.datagram_recorder, remote_addr=there)
    protocol.transport.sendto(b"one")
    protocol.transport.sendto(b"two", there)
    scene.note(await received(scene, peer), await received(scene, peer))
    scene.note_outcome("sendto", protocol.transport.sendto, b"three", ("127.0.0.1", 9))
    scene.note(protocol.transport.get_extra_info("peername") == there)


# -- the end --------------------------------------------------------------------------------------------------------


@scenario.variants(close="close", abort="abort")
async def it_is_closed(method, scene):
    protocol, peer = await endpoint(scene)
    transport = protocol.transport
    getattr(transport, method)()
    getattr(transport, method)()
    scene.note(f"{method} has returned", transport.is_closing())
    for _ in range(8):
        scene.note_outcome("sendto", transport.sendto, b"late", peer.getsockname())
    await scene.seen("connection_lost")
    scene.note(transport.is_closing(), transport.get_protocol())
    transport.close()
    transport.abort()


@scenario
async def nothing_is_received_after_close(scene):
    protocol, peer = await endpoint(scene)
    peer.sendto(b"late", address(protocol))
    protocol.transport.close()
    await scene.seen("connection_lost")


def close(protocol):
    protocol.transport.close()


def abort(protocol):
    protocol.transport.abort()


@scenario.variants(close=close, abort=abort)
async def closed_in_its_callbacks(act, scene):
    for call in ("connection_made", "datagram_received", "connection_lost"):
        scene.note("in", call)
        protocol, peer = await endpoint(scene, **{call: act})
        with contextlib.suppress(OSError):  # it may be closed already
            peer.sendto(b"hello", protocol.transport.get_extra_info("sockname"))
        await scene.settle()
        protocol.transport.close()
        await scene.settle()


@scenario.variants(
    connection_made="connection_made", datagram_received="datagram_received", connection_lost="connection_lost"
)
async def an_error_in(call, scene):
    protocol, peer = await endpoint(scene, **{call: raise_error})
    for _ in range(2):
        with contextlib.suppress(OSError):
            peer.sendto(b"hello", address(protocol))
        await scene.settle()
    scene.note(protocol.transport.is_closing())
    protocol.transport.close()
    await scene.settle()


@scenario.variants(close=close, abort=abort)
async def closed_in_error_received(act, scene):
    protocol, peer = await endpoint(scene, error_received=act)
    send(scene, protocol, peer, bytes(1 << 22))
    await scene.seen("connection_lost")


@scenario
async def an_error_in_error_received(scene):
    protocol, peer = await endpoint(scene, error_received=raise_error)
    scene.note_outcome("send", send, scene, protocol, peer, bytes(1 << 22))
    scene.note(protocol.transport.is_closing())


@scenario
async def an_error_in_error_received_of_a_read(scene):
    if scene.kind == "unix" or scene.style != "connected":
        return
    protocol, peer = await endpoint(scene, error_received=raise_error)
    peer.close()
    protocol.transport.sendto(b"hello?")
    await scene.seen("error_received")
    await scene.settle()
    scene.note(protocol.transport.is_closing())


# -- flow control ---------------------------------------------------------------------------------------------------


@scenario
async def a_full_peer_pauses_writing(scene):
    """Only Unix sockets are ever full; others drop."""
    if scene.kind != "unix":
        return
    protocol, peer = await endpoint(scene)
    protocol.transport.set_write_buffer_limits(high=5000)
    count = 0
    while scene.events[-1][1:2] != ["pause_writing"]:
        send(scene, protocol, peer, b"%-1000d" % count)
        count += 1
    scene.note(protocol.transport.get_write_buffer_size() > 5000)
    protocol.transport.close()
    scene.note("close has returned", protocol.transport.is_closing())
    for number in range(count):
        assert int(await received(scene, peer)) == number
    await scene.seen("connection_lost")


@scenario
async def abort_drops_what_is_queued(scene):
    if scene.kind != "unix":
        return
    protocol, peer = await endpoint(scene)
    while not protocol.transport.get_write_buffer_size():
        send(scene, protocol, peer, b"x" * 1000)
    protocol.transport.abort()
    await scene.seen("connection_lost")


@scenario
async def the_peer_goes_while_data_is_queued(scene):
    if scene.kind != "unix":
        return
    protocol, peer = await endpoint(scene)
    while not protocol.transport.get_write_buffer_size():
        send(scene, protocol, peer, b"x" * 1000)
    peer.close()
    await scene.seen("error_received")
    await scene.settle()
    scene.note(protocol.transport.is_closing())
    protocol.transport.abort()
    await scene.seen("connection_lost")


# -- the object -----------------------------------------------------------------------------------------------------


@scenario
async def what_it_is(scene):
    protocol, _ = await endpoint(scene)
    transport = protocol.transport
    scene.note(isinstance(transport, asyncio.DatagramTransport))
    scene.note(weakref.ref(transport)() is transport, transport.get_protocol() is protocol)
    scene.note(transport.get_write_buffer_limits(), transport.get_write_buffer_size())
    sock = transport.get_extra_info("socket")
    scene.note(type(sock), sock.type.name, transport.get_extra_info("sockname") == sock.getsockname())
    scene.note(transport.get_extra_info("peername") is None, transport.get_extra_info("nothing", 7))
    scene.note(repr(transport))
    transport.sendto = lambda data: scene.note("caught", data)
    transport.sendto(b"x")
    other = scene.datagram_recorder("another")
    transport.set_protocol(other)
    scene.note(transport.get_protocol())
    transport.close()
    scene.note(repr(transport))
    await scene.seen("connection_lost")
    scene.note(repr(transport))


@scenario.parametrize()
@pytest.mark.parametrize(
    ("kind", "style"), [("ipv4", "connected"), ("ipv4", ""), ("ipv6", ""), ("unix", "connected"), ("unix", "")]
)
def test_datagrams_do_what_asyncio_s_do(scenario, kind, style):
    assert_as_asyncio(scenario, kind=kind, style=style)


# -- making one -----------------------------------------------------------------------------------------------------

making = Collection()


@making
async def arguments_that_do_not_go_together(scene):
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as blocking:
        for arguments in (
            {},
            {"sock": stream},
            {"sock": blocking, "local_addr": ("127.0.0.1", 0)},
            {"sock": blocking, "reuse_port": True, "allow_broadcast": True},
            {"local_addr": "text"},
            {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 9)},
            {"local_addr": ("127.0.0.1",)},
            {"family": socket.AF_UNIX, "local_addr": ("127.0.0.1", 0)},
            {"local_addr": ("192.0.2.1", 0)},
        ):
            made = scene.loop.create_datagram_endpoint(scene.datagram_recorder, **arguments)
            await scene.note_result(str(sorted(arguments)), made)


@making
async def options(scene):
    loop, new = scene.loop, scene.datagram_recorder
    one, _ = await loop.create_datagram_endpoint(new, local_addr=("127.0.0.1", 0), reuse_port=True)
    two, _ = await loop.create_datagram_endpoint(new, local_addr=one.get_extra_info("sockname"), reuse_port=True)
    broadcast, _ = await loop.create_datagram_endpoint(new, local_addr=("127.0.0.1", 0), allow_broadcast=True)
    only_family, _ = await loop.create_datagram_endpoint(new, family=socket.AF_INET)
    for transport in (one, two, broadcast, only_family):
        sock = transport.get_extra_info("socket")
        for option in (socket.SO_REUSEPORT, socket.SO_BROADCAST, socket.SO_REUSEADDR):
            scene.note(sock.getsockopt(socket.SOL_SOCKET, option))
        transport.close()


@making
async def a_unix_path_is_bound(scene):
    path = scene.kind / "socket"
    for _ in range(2):  # the socket that the first one left is replaced
        transport, _ = await scene.loop.create_datagram_endpoint(
            scene.datagram_recorder, local_addr=str(path), family=socket.AF_UNIX
        )
        scene.note(transport.get_extra_info("sockname") == str(path))
        transport.close()
        await scene.settle()
    os.unlink(path)


@making
async def a_factory_that_raises(scene):
    def factory():
        raise RuntimeError("of the factory")

    made = scene.loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0))
    await scene.note_result("create_datagram_endpoint", made)


@making.parametrize()
def test_datagram_endpoints_are_made_as_asyncio_s(scenario, tmp_path):
    assert_as_asyncio(scenario, kind=tmp_path)
