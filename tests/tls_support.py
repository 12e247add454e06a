"""Scenes over TLS that run on asyncio's loop and on ours, and must look the same to the program."""

import asyncio
import contextlib
import gc
import logging
import pathlib
import socket
import ssl
import threading

import everloop

CERTIFICATE = pathlib.Path(__file__).with_name("localhost.pem")  # self-signed, with its key, for a hundred years
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def server_context(version=None, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    if version:
        context.minimum_version = context.maximum_version = version
    for name, value in options.items():
        setattr(context, name, value)
    return context


def client_context(trusting=True):
    return ssl.create_default_context(cafile=CERTIFICATE if trusting else None)


class Events(list):
    """What happened, in order; pieces of data that follow each other are one."""

    def note(self, name, *details):
        if name == "data" and self and self[-1][0] == "data":
            self[-1] = ("data", self[-1][1] + details[0])
        else:
            self.append((name, *details))

    def error(self, name, error):
        self.note(name, type(error).__name__, ssl_reason(error))


def ssl_reason(error):
    """The text of an error, without the line of OpenSSL's C code that it came from."""
    return getattr(error, "reason", None) or str(error)


class Recorder(asyncio.Protocol):
    """Notes every call. `raising` names a method that raises once it has noted its call."""

    def __init__(self, events, raising=None, answer_eof=None):
        loop = asyncio.get_running_loop()
        self.events, self.raising, self.answer_eof = events, raising, answer_eof
        self.made, self.lost, self.eof, self.paused, self.resumed = (loop.create_future() for _ in range(5))
        self.transport = None
        self.arrived = asyncio.Event()
        self.received = b""

    def call(self, name, *details):
        self.events.note(name, *details)
        if self.raising == name:
            raise ZeroDivisionError(f"in {name}")

    def set(self, future):
        if not future.done():
            future.set_result(None)

    def connection_made(self, transport):
        self.transport = transport
        self.set(self.made)
        self.call("made")

    def take(self, data):
        self.received += data
        self.arrived.set()

    def data_received(self, data):
        assert type(data) is bytes
        self.take(data)
        self.call("data", data)

    def eof_received(self):
        self.set(self.eof)
        self.call("eof")
        return self.answer_eof

    def pause_writing(self):
        self.set(self.paused)
        self.call("pause")

    def resume_writing(self):
        self.set(self.resumed)
        self.call("resume")

    def connection_lost(self, exc):
        self.set(self.lost)
        self.call("lost", type(exc).__name__, ssl_reason(exc))

    async def receive(self, count):
        while len(self.received) < count:
            self.arrived.clear()
            await self.arrived.wait()
        data, self.received = self.received[:count], self.received[count:]
        return data


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    size = 1000

    def get_buffer(self, hint):
        if self.raising == "get_buffer":
            raise ZeroDivisionError("in get_buffer")
        self.buffer = bytearray(self.size)
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        self.take(bytes(self.buffer[:count]))
        self.call("data", bytes(self.buffer[:count]))


@contextlib.contextmanager
def serving(serve):
    """A plain listening socket; a thread runs `serve(connection)` with the one connection that is made."""
    failures = []

    def run():
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            try:
                serve(connection)
            except BaseException as error:
                failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()
        thread.join()
    if failures:
        raise failures[0]


def wrap(connection):
    """The server's side of TLS on a blocking socket."""
    return server_context().wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)


def drained(connection):
    """Reads to the end, however it ends."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


@contextlib.contextmanager
def reported(loop, events):
    """Notes what goes to the exception handler and to asyncio's log."""

    def handle(loop, context):
        error = context.get("exception")
        parties = sorted(key for key in ("transport", "protocol") if context.get(key) is not None)
        events.note("reported", context["message"], type(error).__name__, ssl_reason(error), *parties)

    class Handler(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING:
                events.note("logged", record.getMessage())

    loop.set_exception_handler(handle)
    handler = Handler()
    logging.getLogger("asyncio").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("asyncio").removeHandler(handler)


def on_both(scene):
    """Runs `scene(events)` on asyncio's loop and on ours, and returns what happened: the same."""

    async def run(events):
        loop = asyncio.get_running_loop()
        with reported(loop, events):
            await scene(events)

    seen = []
    for factory in (asyncio.SelectorEventLoop, everloop.EventLoop):
        events = Events()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run(events))
        gc.collect()
        seen.append(list(events))
    theirs, ours = seen
    assert ours == theirs, (ours, theirs)
    return ours


async def connect(address, protocol, context=None, **options):
    loop = asyncio.get_running_loop()
    options.setdefault("server_hostname", "localhost")
    return await loop.create_connection(lambda: protocol, *address, ssl=context or client_context(), **options)


@contextlib.asynccontextmanager
async def listening(factory, context=None, **options):
    """A TLS server on the running loop; yields its address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context or server_context(), **options)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await server.wait_closed()
