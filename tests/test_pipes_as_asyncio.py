"""Pipe transports do what asyncio's do. Each scenario is played on both loops (see scene.py)."""

import asyncio
import contextlib
import os
import socket
import tty
import weakref

import pytest

from scene import BIG, Collection, Data, assert_as_asyncio, raise_error

reading = Collection()
writing = Collection()
both = Collection()


def open_ends(scene):
    """The two ends of a pipe of the scene's kind, as files; the first is for reading."""
    if scene.kind == "socket":
        first, second = (sock.detach() for sock in socket.socketpair())
    elif scene.kind == "terminal":
        first, second = os.openpty()
        tty.setraw(second)
    elif scene.kind == "fifo":
        path = scene.style / f"fifo-{len(scene.recorders)}"
        os.mkfifo(path)
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        second = os.open(path, os.O_WRONLY)
        os.unlink(path)
    else:
        first, second = os.pipe()
    return open(first, "rb", 0), open(second, "wb", 0)


async def read_pipe(scene, **acts):
    """A recorder that reads, and the file to write to."""
    ours, theirs = open_ends(scene)
    scene.resources.enter_context(theirs)
    _, protocol = await scene.loop.connect_read_pipe(lambda: scene.recorder(**acts), ours)
    return protocol, theirs


async def write_pipe(scene, **acts):
    """A recorder that writes, and the file to read from."""
    theirs, ours = open_ends(scene)
    scene.resources.enter_context(theirs)
    os.set_blocking(theirs.fileno(), False)
    _, protocol = await scene.loop.connect_write_pipe(lambda: scene.recorder(**acts), ours)
    return protocol, theirs


async def read(scene, file, count):
    data = Data()

    def more():
        with contextlib.suppress(BlockingIOError):
            data.extend(os.read(file.fileno(), count - len(data)))
        return len(data) == count

    await scene.until(more)
    return data


async def end(scene, file):
    """How it ended."""
    found = []

    def look():
        with contextlib.suppress(BlockingIOError):
            try:
                found.append(os.read(file.fileno(), 1 << 16))
            except OSError as error:
                found.append(error)
        return found and (not found[-1] or isinstance(found[-1], OSError))

    await scene.until(look)
    return found[-1]


# -- reading --------------------------------------------------------------------------------------------------------


@reading
async def data_and_the_end(scene):
    protocol, theirs = await read_pipe(scene)
    for number, word in enumerate((b"one", b"two", b"three")):
        theirs.write(word)
        await scene.until(lambda number=number: len(scene.events[-1]) > 2 and len(scene.events[-1][2]) > 3 * number)
    theirs.close()
    await scene.seen("connection_lost")
    scene.note(protocol.transport.is_closing())


@reading
async def it_is_closed(scene):
    protocol, _ = await read_pipe(scene)
    protocol.transport.close()
    scene.note("close has returned", protocol.transport.is_closing(), protocol.transport.is_reading())
    protocol.transport.close()
    await scene.seen("connection_lost")
    scene.note(protocol.transport.get_protocol())
    scene.note_outcome("close", protocol.transport.close)


@reading
async def reading_is_paused(scene):
    protocol, theirs = await read_pipe(scene)
    for name in ("is_reading", "pause_reading", "pause_reading", "is_reading"):
        scene.note_outcome(name, getattr(protocol.transport, name))
    theirs.write(b"held back")
    await scene.settle()
    scene.note("nothing yet")
    for name in ("resume_reading", "resume_reading", "is_reading"):
        scene.note_outcome(name, getattr(protocol.transport, name))
    await scene.seen("data")
    protocol.transport.close()
    for name in ("pause_reading", "resume_reading", "is_reading"):
        scene.note_outcome(name, getattr(protocol.transport, name))


@reading.variants(close="close", pause="pause_reading")
async def it_is_stopped_by_what_it_received(method, scene):
    _, theirs = await read_pipe(scene, data_received=lambda protocol: getattr(protocol.transport, method)())
    theirs.write(b"first")
    await scene.seen("data")
    with contextlib.suppress(OSError):
        theirs.write(b"second")
    await scene.settle()


@reading.variants(made="connection_made", data="data_received", eof="eof_received", lost="connection_lost")
async def closed_or_raising_in(call, scene):
    for act in (lambda protocol: protocol.transport.close(), raise_error):
        protocol, theirs = await read_pipe(scene, **{call: act})
        with contextlib.suppress(OSError):
            theirs.write(b"hello")
        await scene.settle()
        theirs.close()
        await scene.settle()
        scene.note(protocol.transport.is_closing())
        if not protocol.lost:
            protocol.transport.close()
            await scene.settle()


@reading
async def a_reader_is_this(scene):
    protocol, _ = await read_pipe(scene)
    transport = protocol.transport
    scene.note(isinstance(transport, asyncio.ReadTransport))
    scene.note(type(transport.get_extra_info("pipe")), transport.get_extra_info("socket"), transport.get_protocol())
    scene.note(weakref.ref(transport)() is transport)
    await scene.settle()
    scene.note(repr(transport))
    other = scene.recorder("another")
    transport.set_protocol(other)
    scene.note(transport.get_protocol())
    transport.close()
    scene.note(repr(transport))
    await scene.seen("connection_lost")
    scene.note(repr(transport))


# -- writing --------------------------------------------------------------------------------------------------------


@writing
async def writes_arrive_in_order(scene):
    protocol, theirs = await write_pipe(scene)
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), b""):
        scene.note_outcome("write", protocol.transport.write, data)
    protocol.transport.writelines([b"a", b"b"])
    scene.note(await read(scene, theirs, 26))


@writing
async def what_is_not_bytes_is_refused(scene):
    protocol, _ = await write_pipe(scene)
    for data in ("text", None, 3):
        scene.note_outcome("write", protocol.transport.write, data)


@writing
async def what_is_queued_is_sent_before_the_end(scene):
    for method in ("close", "write_eof"):
        protocol, theirs = await write_pipe(scene)
        protocol.transport.write(BIG)
        scene.note(protocol.transport.get_write_buffer_size() > 0, protocol.transport.can_write_eof())
        getattr(protocol.transport, method)()
        scene.note("it has returned", protocol.transport.is_closing())
        scene.note(await read(scene, theirs, len(BIG)))
        await scene.seen("connection_lost")
        scene.note(await end(scene, theirs))
        scene.events.clear()


@writing
async def abort_drops_what_is_queued(scene):
    protocol, _ = await write_pipe(scene)
    protocol.transport.write(BIG)
    protocol.transport.abort()
    scene.note(protocol.transport.is_closing(), protocol.transport.get_write_buffer_size())
    await scene.seen("connection_lost")


@writing
async def writes_after_the_end_are_logged(scene):
    protocol, _ = await write_pipe(scene)
    protocol.transport.close()
    for _ in range(10):
        protocol.transport.write(b"late")
    # from the fifth on, or the sixth
    logged = {tuple(event) for event in scene.events if event[0] == "log"}
    scene.events.clear()
    scene.note(logged)
    for name in ("close", "write_eof"):
        scene.note_outcome(name, getattr(protocol.transport, name))


@writing
async def writing_is_paused_and_resumed(scene):
    protocol, theirs = await write_pipe(scene)
    protocol.transport.write(BIG)
    scene.note("write has returned")
    scene.note(await read(scene, theirs, len(BIG)))
    await scene.seen("resume_writing")
    scene.note(protocol.transport.get_write_buffer_limits())


@writing.variants(idle=False, busy=True)
async def the_reader_goes(busy, scene):
    if scene.kind == "terminal":
        return  # nobody is told
    protocol, theirs = await write_pipe(scene)
    if busy:
        protocol.transport.write(BIG)
    theirs.close()
    await scene.seen("connection_lost")
    scene.note(protocol.transport.is_closing())


@writing
async def a_write_meets_a_closed_pipe(scene):
    protocol, theirs = await write_pipe(scene)
    theirs.close()
    scene.note_outcome("write", protocol.transport.write, b"into the void")
    scene.note_outcome("write", protocol.transport.write, b"again")
    await scene.settle()
    scene.note(protocol.transport.is_closing())


@writing.variants(made="connection_made", pause="pause_writing", resume="resume_writing", lost="connection_lost")
async def closed_or_raising_in(call, scene):  # noqa: F811
    for act in (lambda protocol: protocol.transport.close(), raise_error):
        protocol, theirs = await write_pipe(scene, **{call: act})
        protocol.transport.write(BIG)
        scene.note("write has returned", protocol.transport.is_closing())
        if call != "connection_made" or act is raise_error:
            await read(scene, theirs, len(BIG))
            await scene.settle()
        if not protocol.lost:
            protocol.transport.close()
            await scene.settle()


@writing
async def a_writer_is_this(scene):
    protocol, _ = await write_pipe(scene)
    transport = protocol.transport
    scene.note(isinstance(transport, asyncio.WriteTransport))
    scene.note(type(transport.get_extra_info("pipe")), transport.get_extra_info("socket"), transport.get_protocol())
    scene.note(weakref.ref(transport)() is transport)
    await scene.settle()
    scene.note(repr(transport))
    transport.close()
    scene.note(repr(transport))
    await scene.seen("connection_lost")
    scene.note(repr(transport))


# -- making one -----------------------------------------------------------------------------------------------------


@both
async def only_pipes_and_their_like(scene):
    for connect in (scene.loop.connect_read_pipe, scene.loop.connect_write_pipe):
        with (scene.style / "file").open("wb") as file:
            await scene.note_result("a file", connect(scene.recorder, file))
    with open("/dev/null", "r+b", 0) as device:
        await scene.note_result("a device", scene.loop.connect_write_pipe(scene.recorder, device))
        await scene.settle()


@both
async def a_factory_that_raises(scene):
    def factory():
        raise RuntimeError("of the factory")

    for connect, number in ((scene.loop.connect_read_pipe, 0), (scene.loop.connect_write_pipe, 1)):
        ends = open_ends(scene)
        await scene.note_result("connect", connect(factory, ends[number]))
        for each in ends:
            each.close()


@reading.parametrize()
@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "fifo"])
def test_reading_from_pipes_does_what_asyncio_s_does(scenario, kind, tmp_path):
    assert_as_asyncio(scenario, kind=kind, style=tmp_path)


@writing.parametrize()
@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "fifo"])
def test_writing_to_pipes_does_what_asyncio_s_does(scenario, kind, tmp_path):
    assert_as_asyncio(scenario, kind=kind, style=tmp_path)


@both.parametrize()
def test_pipes_are_connected_as_asyncio_s(scenario, tmp_path):
    assert_as_asyncio(scenario, kind="pipe", style=tmp_path)
