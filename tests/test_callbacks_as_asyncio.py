"""Transports whose protocols close them or raise do what asyncio's do, and look like them.

Each scenario is played on both loops (see scene.py).
"""

import asyncio
import gc
import socket
import weakref

from scene import BIG, STREAMS, Collection, assert_as_asyncio, raise_error

scenario = Collection()


# -- closed in its callbacks, and callbacks that raise ----------------------------------------------------------------

CALLS = ("connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "connection_lost")
calls = {name: name for name in CALLS}


async def go_through_all_calls(scene, protocol, peer):
    peer.send(b"hello")
    await scene.settle()
    protocol.transport.write(BIG)
    scene.note("write has returned", protocol.transport.is_closing())
    if not protocol.transport.is_closing():
        await peer.read_at_most(len(BIG))
        await scene.settle()
    if not protocol.transport.is_closing():
        peer.half_close()
    scene.note(await peer.until_reset())
    await scene.seen("connection_lost")
    scene.note(protocol.transport.is_closing())


@scenario.variants(**calls)
async def closed_in(call, scene):
    protocol, peer = await scene.connect(**{call: lambda protocol: protocol.transport.close()})
    await go_through_all_calls(scene, protocol, peer)


@scenario.variants(**calls)
async def aborted_in(call, scene):
    protocol, peer = await scene.connect(**{call: lambda protocol: protocol.transport.abort()})
    await go_through_all_calls(scene, protocol, peer)


def raise_os_error(protocol):
    raise ConnectionResetError("of the protocol")


def cancel(protocol):
    raise asyncio.CancelledError("of the protocol")


@scenario.variants(**calls)
async def an_error_in(call, scene):
    protocol, peer = await scene.connect(**{call: raise_error})
    await go_through_all_calls(scene, protocol, peer)


@scenario.variants(**calls)
async def an_os_error_in(call, scene):
    protocol, peer = await scene.connect(**{call: raise_os_error})
    await go_through_all_calls(scene, protocol, peer)


@scenario.variants(data_received="data_received", eof_received="eof_received")
async def a_cancellation_in(call, scene):
    protocol, peer = await scene.connect(**{call: cancel})
    await go_through_all_calls(scene, protocol, peer)


@scenario
async def writing_and_closing_in_connection_made(scene):
    def greet(protocol):
        protocol.transport.write(b"hello")
        protocol.transport.write_eof()
        protocol.transport.close()

    _, peer = await scene.connect(connection_made=greet)
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def closing_and_writing_in_data_received(scene):
    def answer(protocol):
        protocol.transport.write(BIG)
        protocol.transport.close()
        protocol.transport.write(b"more")

    _, peer = await scene.connect(data_received=answer)
    peer.send(b"question")
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


# -- the object -------------------------------------------------------------------------------------------------------


@scenario
async def what_it_is(scene):
    protocol, _ = await scene.connect()
    transport = protocol.transport
    for kind in (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.DatagramTransport):
        scene.note(kind, isinstance(transport, kind))
    scene.note(weakref.ref(transport)() is transport, transport.get_protocol() is protocol, bool(transport))
    scene.note(hash(transport) == hash(transport), transport == transport)


@scenario
async def attributes_can_be_set(scene):
    protocol, peer = await scene.connect()
    transport = protocol.transport
    written = []
    transport.write = written.append
    transport.of_the_user = 7
    transport.write(b"caught")
    scene.note(written, transport.of_the_user)
    del transport.write
    transport.write(b"sent")
    scene.note(await peer.read(4))


@scenario
async def extra_information(scene):
    protocol, _ = await scene.connect()
    transport = protocol.transport
    sock = transport.get_extra_info("socket")
    scene.note(type(sock), sock.family.name, sock.type.name, sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
    scene.note(transport.get_extra_info("sockname") == sock.getsockname())
    scene.note(transport.get_extra_info("peername") == sock.getpeername())
    scene.note(type(transport.get_extra_info("sockname")), sock.gettimeout())
    for name in ("peercert", "ssl_object", "pipe", "nothing", None):
        scene.note(name, transport.get_extra_info(name))
    scene.note(transport.get_extra_info("nothing", "default"))
    transport.close()
    await scene.seen("connection_lost")
    scene.note(type(transport.get_extra_info("socket")), sock.fileno())
    scene.note(type(transport.get_extra_info("peername")))


@scenario
async def no_delay(scene):
    protocol, _ = await scene.connect()
    sock = protocol.transport.get_extra_info("socket")
    if scene.kind != "unix":
        scene.note(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)


@scenario
async def how_it_is_shown(scene):
    protocol, _ = await scene.connect()
    transport = protocol.transport
    await scene.settle()
    scene.note(repr(transport))
    transport.pause_reading()
    scene.note(repr(transport))
    transport.resume_reading()
    transport.write(BIG)
    scene.note(repr(transport).split("bufsize=")[0])
    transport.close()
    scene.note(repr(transport).split("bufsize=")[0])
    transport.abort()
    scene.note(repr(transport))
    await scene.seen("connection_lost")
    scene.note(repr(transport))


@scenario
async def one_that_is_forgotten_is_closed_with_a_warning(scene):
    protocol, peer = await scene.connect()
    protocol.transport.pause_reading()
    # the handle of the last call held on to it
    await scene.settle()
    scene.recorders.clear()
    protocol.transport = None
    del protocol
    gc.collect()
    scene.note([each.message for each in scene.warned if "transport" in str(each.message)])
    scene.note(await peer.read_to_end())


@STREAMS
@scenario.parametrize()
def test_callbacks_do_what_asyncio_s_do(scenario, kind, style):
    assert_as_asyncio(scenario, kind=kind, style=style)
