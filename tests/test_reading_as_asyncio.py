"""Stream transports read, pause and end as asyncio's do. Each scenario is played on both loops (see scene.py)."""

import array
import contextvars
import socket

from scene import BIG, STREAMS, BufferedRecorder, Collection, StreamRecorder, assert_as_asyncio, raise_error

scenario = Collection()


# -- reading ----------------------------------------------------------------------------------------------------------


@scenario
async def data_comes_byte_by_byte(scene):
    _, peer = await scene.connect()
    for number in range(50):
        peer.send(b"%c" % (64 + number))
        await scene.until(lambda number=number: scene.events[-1][1] == "data" and len(scene.events[-1][2]) > number)


@scenario
async def much_data_is_received(scene):
    _, peer = await scene.connect()
    await peer.send_all(BIG)
    peer.half_close()
    await scene.seen("connection_lost")


@scenario
async def paused_reading_receives_nothing(scene):
    protocol, peer = await scene.connect()
    transport = protocol.transport
    for name in ("is_reading", "pause_reading", "is_reading", "pause_reading", "is_reading"):
        scene.note_outcome(name, getattr(transport, name))
    peer.send(b"held back")
    await scene.settle()
    for name in ("resume_reading", "is_reading", "resume_reading", "is_reading"):
        scene.note_outcome(name, getattr(transport, name))
    await scene.seen("data")


@scenario
async def paused_reading_does_not_see_the_end(scene):
    protocol, peer = await scene.connect()
    protocol.transport.pause_reading()
    peer.send(b"bye")
    peer.close()
    await scene.settle()
    scene.note("nothing yet")
    protocol.transport.resume_reading()
    await scene.seen("connection_lost")


@scenario
async def reading_is_paused_by_what_it_received(scene):
    def pause(protocol):
        protocol.transport.pause_reading()
        scene.note("paused")

    protocol, peer = await scene.connect(data_received=pause)
    for word in (b"one", b"two", b"three"):
        peer.send(word)
        await scene.settle()
        protocol.transport.resume_reading()
        await scene.settle()


@scenario
async def reading_is_paused_from_the_start(scene):
    protocol, peer = await scene.connect(connection_made=lambda protocol: protocol.transport.pause_reading())
    peer.send(b"held back")
    await scene.settle()
    scene.note("nothing yet", protocol.transport.is_reading())
    protocol.transport.resume_reading()
    await scene.seen("data")


@scenario
async def reading_is_paused_and_resumed_while_closing(scene):
    protocol, _ = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    for name in ("is_reading", "pause_reading", "resume_reading", "is_reading"):
        scene.note_outcome(name, getattr(protocol.transport, name))
    protocol.transport.abort()
    await scene.seen("connection_lost")
    for name in ("is_reading", "pause_reading", "resume_reading", "is_reading", "is_closing"):
        scene.note_outcome(name, getattr(protocol.transport, name))


@scenario
async def data_that_was_there_before_the_transport(scene):
    ours, theirs = socket.socketpair()
    theirs.send(b"early")
    theirs.close()
    await scene.loop.create_connection(scene.recorder, sock=ours)
    await scene.seen("connection_lost")


# -- the end of the stream, from there --------------------------------------------------------------------------------


@scenario
async def the_peer_closes(scene):
    _, peer = await scene.connect()
    peer.send(b"bye")
    peer.close()
    await scene.seen("connection_lost")


@scenario.variants(none=None, false=False, true=True, zero=0, word="word")
async def the_peer_half_closes_and_eof_received_answers(answer, scene):
    protocol, peer = await scene.connect(eof_received=lambda protocol: answer)
    peer.send(b"bye")
    peer.half_close()
    await scene.seen("eof_received")
    await scene.settle()
    scene.note(protocol.transport.is_closing(), protocol.transport.is_reading())
    if answer:
        protocol.transport.write(b"not yet")
        protocol.transport.close()
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def the_answer_is_sent_after_a_half_close(scene):
    _, peer = await scene.connect(eof_received=lambda protocol: protocol.transport.write(BIG))
    peer.half_close()
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def both_half_close(scene):
    protocol, peer = await scene.connect(eof_received=lambda protocol: True)
    protocol.transport.write_eof()
    peer.half_close()
    await scene.seen("eof_received")
    await scene.settle()
    scene.note(protocol.transport.is_closing())


@scenario
async def reading_is_resumed_after_a_half_close(scene):
    protocol, peer = await scene.connect(eof_received=lambda protocol: True)
    peer.half_close()
    await scene.seen("eof_received")
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    await scene.seen("eof_received", 2)
    protocol.transport.close()


@scenario
async def the_peer_resets(scene):
    protocol, peer = await scene.connect()
    peer.reset()
    await scene.seen("connection_lost")
    scene.note(protocol.transport.is_closing())


@scenario
async def the_peer_resets_while_data_is_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    peer.reset()
    await scene.seen("connection_lost")
    scene.note(protocol.transport.is_closing(), protocol.transport.get_write_buffer_size())


@scenario
async def the_peer_resets_while_reading_is_paused_and_data_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.pause_reading()
    protocol.transport.write(BIG)
    peer.reset()
    await scene.seen("connection_lost")


@scenario
async def the_peer_resets_while_closing(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    peer.reset()
    await scene.seen("connection_lost")


@scenario
async def a_write_meets_a_reset(scene):
    protocol, peer = await scene.connect()
    protocol.transport.pause_reading()
    peer.reset()
    scene.note_outcome("write", protocol.transport.write, b"into the void")
    scene.note("write has returned", protocol.transport.is_closing())
    scene.note_outcome("write", protocol.transport.write, b"again")
    await scene.seen("connection_lost")


@scenario
async def the_peer_resets_after_sending(scene):
    _, peer = await scene.connect()
    peer.send(b"last words")
    await scene.seen("data")
    peer.reset()
    await scene.seen("connection_lost")


# -- protocols --------------------------------------------------------------------------------------------------------


@scenario
async def the_protocol_is_replaced(scene):
    protocol, peer = await scene.connect()
    transport = protocol.transport
    peer.send(b"to the first")
    await scene.seen("data")
    for kind in (StreamRecorder, BufferedRecorder, StreamRecorder):
        other = kind(scene, kind.__name__, {})
        scene.note_outcome("set_protocol", transport.set_protocol, other)
        scene.note(transport.get_protocol() is other)
        peer.send(b"to another")
        await scene.until(lambda other=other: scene.events[-1][0] == other.name and scene.events[-1][1] == "data")
    peer.close()
    await scene.seen("connection_lost")


@scenario
async def the_protocol_is_replaced_while_data_arrives(scene):
    def replace(protocol):
        protocol.transport.set_protocol(BufferedRecorder(scene, "the other", {}))

    _, peer = await scene.connect(data_received=replace)
    peer.send(b"to the first")
    await scene.seen("data")
    peer.send(b"to the other")
    peer.half_close()
    await scene.seen("connection_lost")


@scenario
async def the_protocol_is_forgotten_with_the_connection(scene):
    protocol, _ = await scene.connect()
    protocol.transport.close()
    scene.note(protocol.transport.get_protocol() is protocol)
    await scene.seen("connection_lost")
    scene.note(protocol.transport.get_protocol())


@scenario
async def calls_see_the_context_of_the_connecting_task(scene):
    variable = contextvars.ContextVar("variable", default="nothing")

    def look(protocol):
        scene.note(variable.get())

    variable.set("before")
    protocol, peer = await scene.connect(
        connection_made=look, data_received=look, eof_received=look, connection_lost=look
    )
    variable.set("after")
    peer.send(b"hello")
    await scene.seen("data")
    protocol.transport.write(BIG)
    await peer.read(len(BIG))
    await scene.settle()
    peer.close()
    await scene.seen("connection_lost")


@scenario
async def buffers_that_are_none(scene):
    if scene.style != "buffered":
        return
    for number, buffer in enumerate((bytearray(), b"read-only", None, 3, memoryview(bytearray(0)))):
        _, peer = await scene.connect(get_buffer=lambda protocol, buffer=buffer: buffer)
        peer.send(b"hello")
        await scene.seen("connection_lost", number + 1)
        scene.note(await peer.until_reset())


@scenario
async def an_error_in_get_buffer(scene):
    if scene.style != "buffered":
        return
    _, peer = await scene.connect(get_buffer=raise_error)
    peer.send(b"hello")
    await scene.seen("connection_lost")


@scenario
async def buffers_of_all_kinds(scene):
    if scene.style != "buffered":
        return
    for buffer in (bytearray(3), memoryview(bytearray(5)), array.array("B", bytes(4)), array.array("I", [0, 0])):
        protocol, peer = await scene.connect(get_buffer=lambda protocol, buffer=buffer: buffer)
        peer.send(b"abc")
        await scene.until(lambda: len(scene.events) > 1 and scene.events[-1][1] == "data")
        scene.note(bytes(buffer))
        protocol.transport.abort()
        await scene.settle()


@scenario
async def the_size_hint(scene):
    if scene.style != "buffered":
        return
    protocol, peer = await scene.connect()
    protocol.get_buffer = lambda sizehint: scene.note("sizehint", sizehint) or protocol.buffer
    peer.send(b"hello")
    await scene.seen("data")


@STREAMS
@scenario.parametrize()
def test_reading_does_what_asyncio_s_does(scenario, kind, style):
    assert_as_asyncio(scenario, kind=kind, style=style)
