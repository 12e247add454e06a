"""Stream transports write, queue and close as asyncio's do. Each scenario is played on both loops (see scene.py)."""

import array

from scene import BIG, STREAMS, Collection, assert_as_asyncio

scenario = Collection()


# -- writing ----------------------------------------------------------------------------------------------------------


@scenario
async def writes_arrive_in_order(scene):
    protocol, peer = await scene.connect()
    for number in range(20):
        protocol.transport.write(b"%d," % number)
    protocol.transport.writelines([b"a", b"b"])
    protocol.transport.write(b"c")
    scene.note(await peer.read(53))


@scenario
async def all_kinds_of_bytes_are_written(scene):
    protocol, peer = await scene.connect()
    numbers = memoryview(array.array("I", [0x31323334, 0x35363738]))
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), numbers):
        scene.note_outcome("write", protocol.transport.write, data)
    scene.note(await peer.read(32))


@scenario
async def bytes_with_gaps_end_the_connection(scene):
    protocol, _ = await scene.connect()
    scene.note_outcome("write", protocol.transport.write, memoryview(b"a-b-c")[::2])
    await scene.seen("connection_lost")


@scenario
async def writelines_takes_all_kinds_of_bytes(scene):
    protocol, peer = await scene.connect()
    protocol.transport.writelines([b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")])
    protocol.transport.writelines(each for each in [b"of a", b" generator"])
    scene.note(await peer.read(38))


@scenario
async def what_is_not_bytes_is_refused(scene):
    protocol, peer = await scene.connect()
    for data in ("text", None, 3, [b"list"], array.array("B", b"array")):
        scene.note_outcome("write", protocol.transport.write, data)
    for data in (None, 3, [object], ["text"]):
        scene.note_outcome("writelines", protocol.transport.writelines, data)
    protocol.transport.write(b"still works")
    scene.note(await peer.read(11))


@scenario(until=(3, 14))
async def some_of_what_is_written_is_not_bytes(scene):
    protocol, peer = await scene.connect()
    scene.note_outcome("writelines", protocol.transport.writelines, [b"bytes", 3])
    protocol.transport.write(b"still works")
    scene.note(await peer.read(11))


@scenario
async def nothing_can_be_written(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(b"")
    protocol.transport.write(memoryview(b""))
    protocol.transport.writelines([])
    protocol.transport.write(b"something")
    scene.note(await peer.read(9), protocol.transport.get_write_buffer_size())


@scenario(since=(3, 14))
async def empty_lines_are_nothing(scene):
    protocol, peer = await scene.connect()
    protocol.transport.writelines([b"", bytearray()])
    protocol.transport.writelines([b"", b"some", b"", b"thing"])
    scene.note(await peer.read(9), protocol.transport.get_write_buffer_size())


@scenario
async def what_is_queued_arrives(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.write(b"and more")
    scene.note(protocol.transport.get_write_buffer_size() > 0)
    scene.note(await peer.read(len(BIG) + 8), protocol.transport.get_write_buffer_size())


@scenario
async def many_small_pieces_are_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    for number in range(1500):
        protocol.transport.write(b"%04d" % number)
    scene.note(await peer.read(len(BIG) + 6000))


@scenario
async def queued_bytearrays_may_be_long(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(bytearray(BIG))
    protocol.transport.write(memoryview(BIG))
    scene.note(await peer.read(2 * len(BIG)))


@scenario(since=(3, 14))  # before, asyncio forgot to pause the protocol
async def many_lines_are_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.writelines([BIG[:1000]] * 2000)
    scene.note(await peer.read(2_000_000))
    await scene.seen("resume_writing")


@scenario
async def write_returns_nothing(scene):
    protocol, _ = await scene.connect()
    for name, *arguments in (("write", b"x"), ("writelines", [b"x"]), ("write_eof",), ("close",), ("abort",)):
        scene.note_outcome(name, getattr(protocol.transport, name), *arguments)


# -- flow control -----------------------------------------------------------------------------------------------------


@scenario
async def limits_are_kept(scene):
    protocol, _ = await scene.connect()
    transport = protocol.transport
    scene.note(transport.get_write_buffer_limits(), transport.get_write_buffer_size())
    for limits in ({}, {"high": 100}, {"low": 100}, {"high": 100, "low": 7}, {"high": 0}, {"low": 0}, {"high": 1}):
        scene.note_outcome("set_write_buffer_limits", transport.set_write_buffer_limits, **limits)
        scene.note(limits, transport.get_write_buffer_limits())
    transport.set_write_buffer_limits(20, 10)
    scene.note(transport.get_write_buffer_limits())


@scenario
async def bad_limits_are_refused(scene):
    protocol, _ = await scene.connect()
    bad = ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 1, "low": -1})
    for limits in bad:
        scene.note_outcome("set_write_buffer_limits", protocol.transport.set_write_buffer_limits, **limits)
        scene.note(protocol.transport.get_write_buffer_limits())


@scenario
async def writing_is_paused_and_resumed(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    scene.note("write has returned")
    scene.note(await peer.read(len(BIG)))
    await scene.seen("resume_writing")
    protocol.transport.write(b"once more")
    scene.note(await peer.read(9))


@scenario
async def writing_is_paused_at_the_first_queued_byte(scene):
    protocol, peer = await scene.connect()
    protocol.transport.set_write_buffer_limits(high=0)
    protocol.transport.write(b"sent at once")
    scene.note("nothing is queued yet")
    protocol.transport.write(BIG)
    protocol.transport.write(b"paused once only")
    scene.note(await peer.read(len(BIG) + 28))
    await scene.seen("resume_writing")


@scenario
async def high_limits_do_not_pause(scene):
    protocol, peer = await scene.connect()
    protocol.transport.set_write_buffer_limits(high=1 << 30)
    protocol.transport.write(BIG)
    scene.note(await peer.read(len(BIG)))


@scenario
async def lower_limits_pause_at_once(scene):
    protocol, _ = await scene.connect()
    protocol.transport.set_write_buffer_limits(high=1 << 30)
    protocol.transport.write(BIG)
    scene.note("not paused")
    protocol.transport.set_write_buffer_limits(high=10)
    scene.note("the limits are set")
    protocol.transport.write(b"x")
    scene.note("more is written")


@scenario
async def resume_writing_may_write(scene):
    def refill(protocol):
        if scene.refills:
            scene.refills -= 1
            protocol.transport.write(BIG)

    scene.refills = 2
    protocol, peer = await scene.connect(resume_writing=refill)
    protocol.transport.write(BIG)
    scene.note(await peer.read(3 * len(BIG)))
    await scene.seen("resume_writing", 3)


@scenario
async def a_paused_protocol_is_lost(scene):
    protocol, _ = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.abort()
    await scene.seen("connection_lost")


@scenario
async def a_paused_protocol_is_closed(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


# -- the end of the stream, from here ---------------------------------------------------------------------------------


@scenario
async def nothing_is_written_after_write_eof(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(b"last words")
    scene.note_outcome("can_write_eof", protocol.transport.can_write_eof)
    protocol.transport.write_eof()
    protocol.transport.write_eof()
    for data in (b"more", b"", "text"):
        scene.note_outcome("write", protocol.transport.write, data)
    for data in ([b"more"], [], None):
        scene.note_outcome("writelines", protocol.transport.writelines, data)
    scene.note(await peer.read_to_end())


@scenario
async def write_eof_sends_what_is_queued_first(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.write_eof()
    scene.note_outcome("write", protocol.transport.write, b"more")
    scene.note(await peer.read_to_end())


@scenario
async def data_is_received_after_write_eof(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write_eof()
    scene.note(await peer.read_to_end())
    peer.send(b"an answer")
    await scene.seen("data")
    peer.close()
    await scene.seen("connection_lost")


@scenario
async def write_eof_after_close_is_nothing(scene):
    protocol, _ = await scene.connect()
    protocol.transport.close()
    scene.note_outcome("write_eof", protocol.transport.write_eof)
    await scene.seen("connection_lost")
    scene.note_outcome("write_eof", protocol.transport.write_eof)


@scenario
async def close_comes_after_it_returned(scene):
    protocol, peer = await scene.connect()
    protocol.transport.close()
    scene.note("close has returned", protocol.transport.is_closing())
    protocol.transport.close()
    await scene.seen("connection_lost")
    scene.note(await peer.read_to_end())
    protocol.transport.close()
    protocol.transport.abort()


@scenario
async def close_sends_what_is_queued_first(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    scene.note("close has returned", protocol.transport.is_closing(), protocol.transport.get_write_buffer_size() > 0)
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def close_after_write_eof_sends_what_is_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.write_eof()
    protocol.transport.close()
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def what_is_written_while_closing_is_sent_if_something_is_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    protocol.transport.write(b"more")
    scene.note(await peer.read_to_end())
    await scene.seen("connection_lost")


@scenario
async def nothing_is_received_while_closing(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    peer.send(b"too late")
    scene.note(await peer.read(len(BIG)))
    await scene.seen("connection_lost")


@scenario
async def writes_after_close_are_logged_in_the_end(scene):
    protocol, _ = await scene.connect()
    protocol.transport.close()
    for _ in range(8):
        scene.note_outcome("write", protocol.transport.write, b"x")
    scene.note_outcome("write", protocol.transport.write, "text")


@scenario
async def writes_after_the_connection_was_lost_are_logged(scene):
    protocol, peer = await scene.connect()
    peer.close()
    await scene.seen("connection_lost")
    for _ in range(8):
        scene.note_outcome("write", protocol.transport.write, b"x")


@scenario(since=(3, 14))
async def lines_after_close_are_logged_in_the_end(scene):
    protocol, _ = await scene.connect()
    protocol.transport.close()
    for _ in range(8):
        scene.note_outcome("writelines", protocol.transport.writelines, [b"x"])


@scenario
async def abort_drops_what_is_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.abort()
    scene.note("abort has returned", protocol.transport.is_closing(), protocol.transport.get_write_buffer_size())
    protocol.transport.abort()
    await scene.seen("connection_lost")
    scene.note(len((await peer.read_to_end())[0]) < len(BIG))


@scenario
async def abort_while_closing_drops_what_is_queued(scene):
    protocol, peer = await scene.connect()
    protocol.transport.write(BIG)
    protocol.transport.close()
    protocol.transport.abort()
    await scene.seen("connection_lost")
    scene.note(len((await peer.read_to_end())[0]) < len(BIG))


@scenario
async def closed_while_paused(scene):
    protocol, peer = await scene.connect()
    protocol.transport.pause_reading()
    peer.send(b"unread")
    protocol.transport.close()
    await scene.seen("connection_lost")


@STREAMS
@scenario.parametrize()
def test_writing_does_what_asyncio_s_does(scenario, kind, style):
    assert_as_asyncio(scenario, kind=kind, style=style)
