"""Scenes: a scenario is played on asyncio's own loop and on everloop, and both must have seen the same, in order.

A scenario is a coroutine function that gets a `Scene`. Its protocols are recorders, which note each call; what else is
worth comparing it notes itself. Peers are plain sockets, moved by the scenario. What cannot be the same on two loops is
made so before it is noted: numbers of descriptors, class names of transports, how received data was cut in pieces.
"""

import asyncio
import contextlib
import difflib
import functools
import gc
import logging
import re
import select
import socket
import struct
import sys
import time
import warnings
import zlib

import pytest

import everloop

SMALL_BUFFER = 64 * 1024  # of each socket, so that a MiB is more than fits
BIG = b"0123456789abcdef" * 65536
PATIENCE = 10  # seconds
TURNS = 100  # enough for what is under way to arrive: everloop looks at files at least once in 32

# what older versions of asyncio say when they close a transport twice, https://github.com/python/cpython/issues/156512
CLOSED_TWICE = "'NoneType' object has no attribute 'close'"

STREAMS = pytest.mark.parametrize(
    ("kind", "style"), [("tcp", "protocol"), ("tcp", "buffered"), ("unix", "protocol"), ("accepted", "buffered")]
)


# -- playing --------------------------------------------------------------------------------------------------------


def assert_as_asyncio(scenario, **setting):
    expected, its_warnings = play(asyncio.SelectorEventLoop, scenario, **setting)
    seen, our_warnings = play(functools.partial(everloop.EventLoop, rescue=False), scenario, **setting)
    # asyncio leaks a socket here and there
    assert our_warnings <= its_warnings
    assert seen == expected, "\n".join(["asyncio (-) and everloop (+):", *difflib.ndiff(expected, seen)])


def play(new_loop, scenario, **setting):
    """What was seen, one line a piece, in order, and the warnings."""
    log = LogNotes()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop = new_loop()
        scene = log.scene = Scene(loop, warned, **setting)
        loop.set_exception_handler(scene.on_exception)
        logging.getLogger("asyncio").addHandler(log)
        try:
            loop.run_until_complete(scene.play(scenario))
        finally:
            logging.getLogger("asyncio").removeHandler(log)
            loop.close()
        del loop
        events = scene.events
        del scene, log
        gc.collect()
    return list(map(str, events)), {f"{each.category.__name__}: {plain(str(each.message))}" for each in warned}


class Collection(list):
    """The scenarios of one file: a decorator that collects them, and the parametrization of their test."""

    def __call__(self, function=None, *, since=(3, 12), until=(4, 0)):
        """`since`, `until`: the first version, and the last, whose own asyncio does it right."""
        if function is None:
            return functools.partial(self, since=since, until=until)
        if sys.version_info >= since and sys.version_info[:2] <= until:
            self.append(function)
        return function

    def parametrize(self):
        return pytest.mark.parametrize("scenario", self, ids=lambda scenario: scenario.__name__)

    def variants(self, **arguments):
        """The same scenario once for each keyword argument, whose name and value it gets."""

        def collect(function):
            for name, value in arguments.items():
                variant = functools.partial(function, value)
                variant.__name__ = f"{function.__name__}-{name}"
                self.append(variant)
            return function

        return collect


class LogNotes(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            self.scene.note("log", record.levelname, record.getMessage())


# -- the scene ------------------------------------------------------------------------------------------------------


class Scene:
    def __init__(self, loop, warned, kind="tcp", style="protocol"):
        self.loop = loop
        self.warned = warned
        self.kind = kind
        self.style = style
        self.events = []
        self.recorders = []
        self.resources = contextlib.ExitStack()
        self.recording = True

    async def play(self, scenario):
        with self.resources:
            try:
                await scenario(self)
                await self.settle()
            except AssertionError:
                raise
            except Exception as error:
                self.note("the scenario raised", error)
            self.recording = False
            for recorder in self.recorders:
                if recorder.transport is not None:
                    with contextlib.suppress(AttributeError):  # a pipe's transport forgets its loop and file
                        getattr(recorder.transport, "abort", recorder.transport.close)()
                    recorder.transport = None
            await self.settle()
            self.recorders.clear()

    # noting

    def note(self, *details):
        if self.recording:
            self.events.append([plain(each) for each in details])

    def note_data(self, name, data):
        """Data that arrived in pieces counts as one."""
        if not self.recording:
            return
        before = self.events[-1] if self.events else []
        if before[:2] == [name, "data"]:
            before[2].extend(data)
        else:
            self.events.append([name, "data", Data(data)])

    def note_outcome(self, name, function, *arguments, **keywords):
        try:
            self.note(name, "returned", function(*arguments, **keywords))
        except Exception as error:
            self.note(name, "raised", error)

    async def note_result(self, name, awaitable):
        try:
            self.note(name, "returned", await awaitable)
        except (Exception, asyncio.CancelledError) as error:
            self.note(name, "raised", error)

    def on_exception(self, loop, context):
        message = context["message"]
        if str(context.get("exception")) == CLOSED_TWICE:
            return
        if message.startswith("Exception in callback"):
            message = "Exception in callback"  # it goes on with the callback's name and arguments
        self.note("exception handler", message, sorted(context), context.get("exception"))

    # waiting

    async def until(self, condition):
        """Let others run until it is so. Scenarios never wait on a clock; this one is for those that fail."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            await asyncio.sleep(0)
            assert time.monotonic() < deadline, f"waited in vain, seen: {self.events}"

    async def seen(self, what, count=1):
        await self.until(lambda: sum(what in event[:2] for event in self.events) >= count)

    async def settle(self):
        for _ in range(TURNS):
            await asyncio.sleep(0)

    # making

    def recorder(self, name="protocol", **acts):
        """A protocol that notes its calls; `acts` are run after that, with the protocol, and may answer for it."""
        recorder = (BufferedRecorder if self.style == "buffered" else StreamRecorder)(self, name, acts)
        self.recorders.append(recorder)
        return recorder

    def datagram_recorder(self, name="protocol", **acts):
        recorder = DatagramRecorder(self, name, acts)
        self.recorders.append(recorder)
        return recorder

    async def connect(self, **acts):
        """A recorder with a transport of the scene's kind, and the peer."""
        if self.kind == "accepted":
            return await self.accept(**acts)
        if self.kind == "unix":
            ours, theirs = socket.socketpair()
            for each in (ours, theirs):
                small_buffers(each)
        else:
            with small_buffers(socket.socket()) as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                ours = small_buffers(socket.socket(proto=socket.IPPROTO_TCP))
                ours.connect(listener.getsockname())
                theirs, _ = listener.accept()
        peer = self.resources.enter_context(Peer(self, theirs))
        _, protocol = await self.loop.create_connection(lambda: self.recorder(**acts), sock=ours)
        return protocol, peer

    async def accept(self, **acts):
        listener = small_buffers(socket.socket(proto=socket.IPPROTO_TCP))
        listener.bind(("127.0.0.1", 0))
        server = await self.loop.create_server(lambda: self.recorder(**acts), sock=listener)
        theirs = small_buffers(socket.socket())
        peer = self.resources.enter_context(Peer(self, theirs))
        theirs.setblocking(True)
        theirs.connect(listener.getsockname())
        theirs.setblocking(False)
        await self.until(lambda: self.recorders and self.recorders[-1].made)
        server.close()
        return self.recorders[-1], peer


class Peer:
    """The other end: a socket that does what the scenario says."""

    def __init__(self, scene, sock):
        self.scene = scene
        self.sock = sock
        sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def send(self, data):
        assert self.sock.send(data) == len(data)

    async def send_all(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                await self.wait(select.POLLOUT)

    async def read(self, count):
        data, end = await self.read_at_most(count)
        assert end is None, f"{end} after {len(data)} bytes of {count}"
        return data

    async def read_at_most(self, count):
        """Data, and how the stream ended if it did."""
        data = Data()
        while len(data) < count:
            try:
                piece = self.sock.recv(min(count - len(data), SMALL_BUFFER))
            except BlockingIOError:
                await self.wait(select.POLLIN)
            except ConnectionError as error:
                return data, error
            else:
                if not piece:
                    return data, "eof"
                data += piece
        return data, None

    async def read_to_end(self):
        """All data, and how the stream ended."""
        return await self.read_at_most(1 << 40)

    async def wait(self, event):
        poll = select.poll()
        poll.register(self.sock, event)
        await self.scene.until(lambda: poll.poll(0))

    async def until_reset(self):
        """How the stream ended; how much had been sent until then is the kernel's business."""
        return (await self.read_to_end())[1]

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Close with a reset where the kind of socket knows one."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def small_buffers(sock):
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SMALL_BUFFER)
    return sock


# -- recorders ------------------------------------------------------------------------------------------------------


class Recorder:
    """Notes each call, and then does what the scenario wants at this one."""

    def __init__(self, scene, name, acts):
        self.scene = scene
        self.name = name
        self.acts = acts
        self.transport = None
        self.made = False
        self.lost = False

    def act(self, call, *details):
        self.scene.note(self.name, call, *details)
        return self.answer(call)

    def answer(self, call):
        act = self.acts.get(call)
        return act(self) if act else None

    def connection_made(self, transport):
        self.transport = transport
        self.made = True
        self.act("connection_made")

    def connection_lost(self, error):
        self.lost = True
        self.act("connection_lost", error)

    def eof_received(self):
        return self.act("eof_received")

    def pause_writing(self):
        self.act("pause_writing")

    def resume_writing(self):
        self.act("resume_writing")


class StreamRecorder(Recorder, asyncio.Protocol):
    def data_received(self, data):
        self.scene.note_data(self.name, data)
        self.answer("data_received")


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """Its "data_received" is a call of `buffer_updated`."""

    def __init__(self, scene, name, acts):
        super().__init__(scene, name, acts)
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint):
        return self.answer("get_buffer") if "get_buffer" in self.acts else self.buffer

    def buffer_updated(self, count):
        self.scene.note_data(self.name, self.buffer[:count])
        self.answer("data_received")


class DatagramRecorder(Recorder, asyncio.DatagramProtocol):
    def datagram_received(self, data, address):
        self.act("datagram_received", type(data), data, type(address))

    def error_received(self, error):
        self.act("error_received", error)


def raise_error(recorder):
    raise RuntimeError("of the protocol")


# -- what is noted --------------------------------------------------------------------------------------------------


class Data(bytearray):
    """Shown by its size and checksum where it is long."""

    def __str__(self):
        return str(bytes(self)) if len(self) < 100 else f"{len(self)} bytes, {zlib.crc32(self):x}"

    __repr__ = __str__


def plain(value):
    match value:
        case BaseException():
            return f"{type(value).__name__}({plain(str(value))!r})"
        case asyncio.BaseTransport():
            return "a transport"
        case Recorder():
            return value.name
        case type():
            return value.__name__
        case Data() | None | bool() | int() | float():
            return value
        case bytes() | bytearray() | memoryview():
            return Data(value)
        case tuple() | list():
            return [plain(each) for each in value]
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case str():
            return same_on_all_loops(value)
        case _:
            return same_on_all_loops(repr(value))


def same_on_all_loops(text):
    # CPython 3.14's words, and those before
    text = text.replace("a bytes, bytearray, or memoryview object", "a bytes-like object")
    text = re.sub(r"<[\w.]*Transport\b", "<transport", text)
    text = re.sub(r"\b(fd=|0x|\bport=)-?[0-9a-f]+", r"\1?", text)
    text = re.sub(r"\bladdr=b'[^']*'", "laddr=?", text)
    return re.sub(r"\('127\.0\.0\.1', \d+\)", "(localhost, ?)", text)
