"""TLS over sockets: what a program sees is what it sees on asyncio's own loop, event by event.

Most tests run one scene on both loops and compare what happened; what it should be is said where it is not obvious.
"""

import asyncio
import contextlib
import gc
import ssl
import threading
import time
import weakref

import pytest

import everloop
from everloop import _native
from tls_support import (
    CERTIFICATE,
    VERSIONS,
    BufferedRecorder,
    Events,
    Recorder,
    client_context,
    connect,
    drained,
    listening,
    on_both,
    server_context,
    serving,
    wrap,
)


def collect(references):
    references.clear()
    gc.collect()


# ---- bytes go through


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_both_sides_talk(version, kind):
    message = bytes(range(256)) * 1200  # twenty records

    async def scene(events):
        server = Recorder(Events())
        client = kind(events)
        async with listening(lambda: server, server_context(version)) as address:
            transport, _ = await connect(address, client)
            transport.write(b"")
            for size in (1, 1000, 16384, 16385, len(message)):
                transport.write(message[:size])
                assert await server.receive(size) == message[:size]
                server.transport.write(bytearray(message[:size]))
                assert await client.receive(size) == message[:size]
            transport.writelines([b"a", memoryview(b"bc"), bytearray(b"d")])
            assert await server.receive(4) == b"abcd"
            server.transport.close()
            await client.lost
            await server.lost

    events = on_both(scene)
    assert [event[0] for event in events] == ["made", "data", "eof", "lost"]


def test_streams_talk():
    async def scene(events):
        async def echo(reader, writer):
            writer.write(await reader.readexactly(300_000))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"x" * 300_000)
        events.note("echo", len(await reader.read()))
        writer.close()
        await writer.wait_closed()
        await served.wait()
        server.close()

    assert on_both(scene) == [("echo", 300_000)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_that_delivers_single_bytes(version):
    async def scene(events):
        async def pump(reader, writer):
            with contextlib.suppress(ConnectionError):
                while byte := await reader.read(1):
                    writer.write(byte)
                    await writer.drain()
            writer.close()

        async def forward(reader, writer):
            onward = await asyncio.open_connection(*address)
            await asyncio.gather(pump(reader, onward[1]), pump(onward[0], writer))
            forwarded.set()

        forwarded = asyncio.Event()
        server, client = Recorder(events), Recorder(Events())
        async with listening(lambda: server, server_context(version)) as address:
            proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
            transport, _ = await connect(proxy.sockets[0].getsockname(), client)
            transport.write(b"question" * 100)
            assert await server.receive(800) == b"question" * 100
            server.transport.write(b"answer")
            assert await client.receive(6) == b"answer"
            transport.close()
            await server.lost
            await client.lost
            await forwarded.wait()
            proxy.close()

    events = on_both(scene)
    assert events == [("made",), ("data", b"question" * 100), ("eof",), ("lost", "NoneType", "None")]


def test_a_peer_that_does_not_read_pauses_the_writer():
    async def scene(events):
        gate = threading.Event()

        def serve(connection):
            with wrap(connection) as tls:
                gate.wait(20)
                count = 0
                while count < total:
                    count += len(tls.recv(65536))
                tls.sendall(b"all")
                drained(tls)

        total = 0
        with serving(serve) as address:
            client = Recorder(events)
            transport, _ = await connect(address, client)
            while not client.paused.done():
                transport.write(b"x" * 100_000)
                total += 100_000
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() >= transport.get_write_buffer_limits()[1]
            gate.set()
            await client.resumed
            assert await client.receive(3) == b"all"
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await client.lost

    events = on_both(scene)
    assert [event[0] for event in events] == ["made", "pause", "resume", "data", "eof", "lost"]


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_a_reader_that_pauses_gets_everything_later(kind):
    async def scene(events):
        size = 2_000_000
        server, client = Recorder(Events()), kind(events)
        client.size = 5000
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client)
            transport.pause_reading()
            events.note("reading", transport.is_reading())
            await server.made
            server.transport.write(b"y" * size)
            while not transport.get_read_buffer_size() >= transport.get_read_buffer_limits()[1]:
                await asyncio.sleep(0)
            assert not client.received
            transport.resume_reading()
            events.note("reading", transport.is_reading())
            assert await client.receive(size) == b"y" * size
            transport.close()
            await client.lost
            await server.lost

    events = on_both(scene)
    assert [event[0] for event in events] == ["made", "reading", "reading", "data", "eof", "lost"]


def test_another_protocol_takes_over():
    async def scene(events):
        server, first, second, third = Recorder(Events()), Recorder(events), BufferedRecorder(events), Recorder(events)
        second.size = 3  # less than a record: the rest is handed to whoever is there by then
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, first)
            assert transport.get_protocol() is first
            await server.made
            server.transport.write(b"one")
            assert await first.receive(3) == b"one"
            transport.set_protocol(second)
            server.transport.write(b"second")
            assert await second.receive(6) == b"second"
            transport.set_protocol(third)
            server.transport.write(b"third")
            assert await third.receive(5) == b"third"
            transport.close()
            await third.lost
            await server.lost

    on_both(scene)


def test_extra_information_and_what_there_is_not():
    async def scene(events):
        server, client = Recorder(Events()), Recorder(events)
        context = client_context()
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client, context)
            assert transport.get_extra_info("sslcontext") is context
            assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
            assert transport.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
            assert transport.get_extra_info("peername") == address
            assert transport.get_extra_info("socket").fileno() > 0
            assert transport.get_extra_info("nothing", 7) == 7
            events.note("cipher", transport.get_extra_info("cipher"), transport.get_extra_info("compression"))
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport._ssl_protocol, asyncio.BufferedProtocol)
            assert not transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
                transport.write("text")
            with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                transport.set_write_buffer_limits(1, 2)
            transport.set_write_buffer_limits(low=10)
            transport.set_read_buffer_limits(high=100)
            events.note("limits", transport.get_write_buffer_limits(), transport.get_read_buffer_limits())
            transport.note = "assignable"
            transport.close()
            events.note("closing", transport.is_closing())
            await client.lost
            await server.lost

    assert ("limits", (10, 40), (25, 100)) in on_both(scene)


def test_what_is_paused_can_be_asked_for():
    async def scene(events):
        server, client = Recorder(events), Recorder(Events())
        async with listening(lambda: server, server_context()) as address:
            await connect(address, client)
            await server.made
            transport, protocol = server.transport, server.transport._ssl_protocol
            for change in (transport.pause_reading, transport.resume_reading):
                change()
                events.note("reading is paused", protocol._app_reading_paused)
            names = "_app_writing_paused", "_ssl_reading_paused", "_ssl_writing_paused"
            events.note(*(getattr(protocol, name) for name in names))
            client.transport.close()
            await server.lost
            await client.lost

    seen = on_both(scene)
    assert [event for event in seen if event[0] == "reading is paused"] == [
        ("reading is paused", True),
        ("reading is paused", False),
    ]


# ---- the user's context


def test_application_protocols_server_names_and_client_certificates():
    async def scene(events):
        def choose(ssl_object, name, context):
            events.note("name", name)

        context = server_context(sni_callback=choose, verify_mode=ssl.CERT_REQUIRED)
        context.load_verify_locations(CERTIFICATE)
        context.set_alpn_protocols(["h2", "http/1.1"])
        mine = client_context()
        mine.load_cert_chain(CERTIFICATE)
        mine.set_alpn_protocols(["http/1.1"])
        server, client = Recorder(events), Recorder(Events())
        async with listening(lambda: server, context) as address:
            transport, _ = await connect(address, client, mine)
            await server.made
            chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
            subject = server.transport.get_extra_info("peercert")["subject"]
            events.note("chosen", chosen, subject)
            transport.close()
            await client.lost
            await server.lost

    events = on_both(scene)
    assert ("name", "localhost") in events
    assert ("chosen", "http/1.1", ((("commonName", "localhost"),),)) in events


def test_a_missing_client_certificate():
    async def scene(events):
        context = server_context(ssl.TLSVersion.TLSv1_2, verify_mode=ssl.CERT_REQUIRED)
        context.load_verify_locations(CERTIFICATE)
        async with listening(lambda: Recorder(events), context) as address:
            try:
                await connect(address, Recorder(events))
            except OSError as error:
                events.error("raised", error)

    on_both(scene)


def test_a_class_of_ones_own_for_the_ssl_object():
    class Counting(ssl.SSLObject):
        reads = writes = 0

        def read(self, *arguments):
            Counting.reads += 1
            return super().read(*arguments)

        def write(self, data):
            Counting.writes += 1
            return super().write(data)

    async def scene(events):
        server, client = Recorder(Events()), Recorder(events)
        context = client_context()
        context.sslobject_class = Counting
        Counting.reads = Counting.writes = 0
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client, context)
            transport.write(b"q" * 50_000)
            assert await server.receive(50_000) == b"q" * 50_000
            server.transport.write(b"a" * 50_000)
            assert await client.receive(50_000) == b"a" * 50_000
            events.note("asked", Counting.writes > 0, Counting.reads > 4)
            transport.close()
            await client.lost
            await server.lost

    assert ("asked", True, True) in on_both(scene)


def test_a_step_is_not_rescued_while_it_encrypts():
    """Other steps of the same connection would run in the middle of it."""
    rescues = []

    class Slow(ssl.SSLObject):
        def write(self, data):
            time.sleep(0.1)  # as OpenSSL does it: without the GIL
            rescues.append(loop.statistics()["rescues"])
            return super().write(data)

    async def main():
        server, client = Recorder(Events()), Recorder(Events())
        context = client_context()
        context.sslobject_class = Slow
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client, context)
            transport.write(b"q" * 100)
            assert await server.receive(100) == b"q" * 100
            transport.close()
            await client.lost
            await server.lost

    with contextlib.closing(everloop.EventLoop(rescue=True, rescue_after=0.005)) as loop:
        loop.run_until_complete(main())
    assert rescues
    assert not any(rescues)


# ---- what is left behind


def test_a_transport_that_nobody_closed_warns(loop):
    async def main():
        waiter = loop.create_future()
        protocol = _native.TlsProtocol(loop, Recorder(Events()), client_context(), waiter, False, "localhost")
        return protocol._app_transport

    transport = loop.run_until_complete(main())
    references = [transport]
    del transport
    with pytest.warns(ResourceWarning, match=r"^unclosed transport <asyncio._SSLProtocolTransport object>$"):
        collect(references)


@pytest.mark.parametrize("end", ["close", "abort", "peer"])
def test_nothing_is_left_of_a_connection(end):
    """Without the garbage collector, as on asyncio's loop."""

    async def scene(events):
        async def connection():
            server, client = Recorder(Events()), Recorder(Events())
            context = client_context()
            async with listening(lambda: server) as address:
                transport, _ = await connect(address, client, context)
                transport.write(b"x")
                await server.receive(1)
                ender = server.transport.close if end == "peer" else getattr(transport, end)
                ender()
                del ender
                await client.lost
                await server.lost
            watched = [context, client, transport, transport._ssl_protocol]
            client.transport = server.transport = None
            return [weakref.ref(thing) for thing in watched]

        references = await connection()
        for _ in range(3):
            await asyncio.sleep(0)
        events.note("left", [type(reference()).__name__ for reference in references])

    gc.collect()
    gc.disable()
    try:
        assert on_both(scene)[-1] == ("left", ["NoneType"] * 4)
    finally:
        gc.enable()


def test_a_failed_connection_leaves_nothing():
    async def scene(events):
        async def connection():
            protocol, context = Recorder(Events()), client_context(trusting=False)
            async with listening(lambda: Recorder(Events())) as address:
                with contextlib.suppress(ssl.SSLError):
                    await connect(address, protocol, context)
            return [weakref.ref(context), weakref.ref(protocol)]

        references = await connection()
        for _ in range(3):
            await asyncio.sleep(0)
        events.note("left", [type(reference()).__name__ for reference in references])

    gc.collect()
    gc.disable()
    try:
        on_both(scene)
    finally:
        gc.enable()


def test_the_collector_frees_a_cycle_through_an_attribute(loop):
    async def main():
        protocol = _native.TlsProtocol(loop, Recorder(Events()), client_context(), None, False, "localhost")
        transport = protocol._app_transport
        transport._closed = True
        transport.myself, protocol.transport = transport, transport
        return weakref.ref(protocol), weakref.ref(transport)

    references = loop.run_until_complete(main())
    gc.collect()
    assert [reference() for reference in references] == [None, None]
