"""How TLS connections begin and end, well and badly: as on asyncio's own loop, event by event."""

import asyncio
import contextlib
import socket
import ssl
import threading

import pytest

from everloop import _native
from tls_support import (
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

SOON = 0.05  # seconds, for time limits that are meant to pass


# ---- handshakes


def test_an_untrusted_certificate():
    async def scene(events):
        async with listening(lambda: Recorder(events)) as address:
            try:
                await connect(address, Recorder(events), client_context(trusting=False))
            except ssl.SSLCertVerificationError as error:
                events.error("raised", error)

    assert on_both(scene)[0] == ("raised", "SSLCertVerificationError", "CERTIFICATE_VERIFY_FAILED")


def test_a_name_that_is_not_the_servers():
    async def scene(events):
        async with listening(lambda: Recorder(events)) as address:
            try:
                await connect(address, Recorder(events), server_hostname="elsewhere.test")
            except ssl.SSLCertVerificationError as error:
                events.error("raised", error)

    on_both(scene)


def test_a_peer_that_does_not_speak_tls():
    async def scene(events):
        def serve(connection):
            connection.recv(1)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            drained(connection)

        with serving(serve) as address:
            try:
                await connect(address, Recorder(events))
            except ssl.SSLError as error:
                events.error("raised", error)

    assert on_both(scene) == [("raised", "SSLError", "WRONG_VERSION_NUMBER")]


def test_a_peer_that_hangs_up_during_the_handshake():
    async def scene(events):
        def serve(connection):
            connection.recv(65536)

        with serving(serve) as address:
            try:
                await connect(address, Recorder(events))
            except ConnectionResetError as error:
                events.error("raised", error)

    on_both(scene)


def test_a_silent_server_is_given_up():
    async def scene(events):
        with serving(drained) as address:
            try:
                await connect(address, Recorder(events), ssl_handshake_timeout=SOON)
            except ConnectionAbortedError as error:
                events.error("raised", error)

    message = f"SSL handshake is taking longer than {SOON} seconds: aborting the connection"
    assert on_both(scene) == [("raised", "ConnectionAbortedError", message)]


def test_a_silent_client_is_given_up():
    async def scene(events):
        loop = asyncio.get_running_loop()
        async with listening(lambda: Recorder(events), ssl_handshake_timeout=SOON) as address:
            with socket.create_connection(address) as client:
                client.setblocking(False)
                try:
                    events.note("end", await loop.sock_recv(client, 1))
                except ConnectionResetError:
                    events.note("end", b"")

    assert on_both(scene) == [("end", b"")]


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_time_limits_are_positive(option, loop):
    with pytest.raises(ValueError, match=f"{option} should be a positive number, got 0"):
        _native.TlsProtocol(loop, asyncio.Protocol(), client_context(), None, **{option: 0})


def test_a_connection_that_is_cancelled_during_the_handshake():
    async def scene(events):
        asked = threading.Event()

        def serve(connection):
            connection.recv(1)
            asked.set()
            drained(connection)

        with serving(serve) as address:
            task = asyncio.ensure_future(connect(address, Recorder(events)))
            while not asked.is_set():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert on_both(scene) == []


@pytest.mark.parametrize("method", ["close", "abort"])
def test_a_transport_that_is_ended_during_the_handshake(method):
    async def scene(events):
        loop = asyncio.get_running_loop()
        with serving(drained) as address:
            plain, _ = await loop.create_connection(lambda: Recorder(events), *address)
            protocol = Recorder(events)
            upgrade = asyncio.ensure_future(
                loop.start_tls(plain, protocol, client_context(), server_hostname="localhost")
            )
            while plain.get_protocol() is None or not hasattr(plain.get_protocol(), "_app_transport"):
                await asyncio.sleep(0)
            transport = plain.get_protocol()._app_transport
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            getattr(transport, method)()
            events.note("upgraded", type(await upgrade).__name__)

    on_both(scene)


# ---- ends


def test_close_notify_from_the_peer():
    async def scene(events):
        def serve(connection):
            with wrap(connection) as tls:
                tls.sendall(b"bye")
                with contextlib.suppress(OSError):
                    tls.unwrap()

        with serving(serve) as address:
            client = Recorder(events, answer_eof=True)
            await connect(address, client)
            await client.lost

    assert on_both(scene) == [
        ("made",),
        ("data", b"bye"),
        ("eof",),
        ("logged", "returning true from eof_received() has no effect when using ssl"),
        ("lost", "NoneType", "None"),
    ]


@pytest.mark.parametrize("paused", [False, True])
def test_the_end_without_close_notify(paused):
    async def scene(events):
        gate = threading.Event()

        def serve(connection):
            tls = wrap(connection)
            tls.sendall(b"cut")
            gate.wait(20)
            tls.detach()  # no close_notify
            connection = socket.socket(fileno=descriptors.pop())
            connection.close()

        def serve_and_keep(connection):
            descriptors.append(connection.detach())
            serve(socket.socket(fileno=descriptors[0]))

        descriptors = []
        with serving(serve_and_keep) as address:
            client = Recorder(events)
            transport, _ = await connect(address, client)
            assert await client.receive(3) == b"cut"
            if paused:
                transport.pause_reading()
            gate.set()
            if paused:
                while transport._ssl_protocol._state.name != "FLUSHING":
                    await asyncio.sleep(0)
                events.note("resuming")
                transport.resume_reading()
            await client.lost

    on_both(scene)


def test_a_peer_that_never_answers_close_notify():
    async def scene(events):
        gate = threading.Event()

        def serve(connection):
            tls = wrap(connection)
            gate.wait(20)
            tls.close()

        with serving(serve) as address:
            client = Recorder(events)
            transport, _ = await connect(address, client, ssl_shutdown_timeout=SOON)
            transport.close()
            transport.close()
            await client.lost
            gate.set()

    assert on_both(scene) == [("made",), ("lost", "TimeoutError", "SSL shutdown timed out")]


def test_a_reset():
    async def scene(events):
        def serve(connection):
            tls = wrap(connection)
            tls.recv(1)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            tls.close()

        with serving(serve) as address:
            client = Recorder(events)
            transport, _ = await connect(address, client)
            transport.write(b"x")
            await client.lost

    assert on_both(scene) == [("made",), ("lost", "ConnectionResetError", "[Errno 104] Connection reset by peer")]


def test_abort_loses_what_was_written():
    async def scene(events):
        server, client = Recorder(Events()), Recorder(events)
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client)
            transport.abort()
            events.note("closing", transport.is_closing())
            for _ in range(7):
                transport.write(b"x")
            await client.lost
            await server.lost

    events = on_both(scene)
    assert events[-1] == ("lost", "NoneType", "None")
    assert ("logged", "SSL connection is closed") in events


def test_what_was_written_before_close_arrives():
    async def scene(events):
        server, client = Recorder(events), Recorder(Events())
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client)
            transport.write(b"z" * 3_000_000)
            transport.close()
            await server.lost
            await client.lost

    events = on_both(scene)
    assert events == [("made",), ("data", b"z" * 3_000_000), ("eof",), ("lost", "NoneType", "None")]


@pytest.mark.parametrize(
    ("kind", "raising"),
    [
        *((Recorder, method) for method in ("data", "eof", "lost")),
        *((BufferedRecorder, method) for method in ("data", "eof", "lost", "get_buffer")),
    ],
)
def test_a_protocol_that_raises(kind, raising):
    async def scene(events):
        server, client = Recorder(Events()), kind(events, raising)
        async with listening(lambda: server) as address:
            try:
                await asyncio.wait_for(connect(address, client, ssl_handshake_timeout=2), 5)
            except (OSError, TimeoutError) as error:
                events.error("raised", error)
            if raising != "get_buffer":  # which comes before the client has sent the end of its handshake
                await server.made
                server.transport.write(b"data")
                server.transport.close()
                await server.lost
            await client.lost

    on_both(scene)


@pytest.mark.parametrize("raising", ["pause", "resume"])
def test_a_protocol_that_raises_in_flow_control(raising):
    async def scene(events):
        server, client = Recorder(Events()), Recorder(events, raising)
        async with listening(lambda: server) as address:
            transport, _ = await connect(address, client)
            await server.made
            server.transport.pause_reading()
            transport.set_write_buffer_limits(high=1000)
            while not client.paused.done():
                transport.write(b"x" * 100_000)
                await asyncio.sleep(0)
            server.transport.resume_reading()
            await client.resumed
            transport.close()
            await client.lost
            await server.lost

    events = on_both(scene)
    message = f"protocol.{raising}_writing() failed"
    assert ("reported", message, "ZeroDivisionError", f"in {raising}", "protocol", "transport") in events


# ---- start_tls


def test_both_sides_start_tls():
    async def scene(events):
        loop = asyncio.get_running_loop()
        server, client = Recorder(events), Recorder(Events())

        async def upgrade_server():
            await server.made
            assert await server.receive(8) == b"STARTTLS"
            server.transport.write(b"go")
            return await loop.start_tls(server.transport, server, server_context(), server_side=True)

        listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(lambda: client, *listener.sockets[0].getsockname())
        upgraded = asyncio.ensure_future(upgrade_server())
        transport.write(b"STARTTLS")
        assert await client.receive(2) == b"go"
        transport = await loop.start_tls(transport, client, client_context(), server_hostname="localhost")
        server_transport = await upgraded
        transport.write(b"secret")
        assert await server.receive(6) == b"secret"
        server_transport.write(b"answer")
        assert await client.receive(6) == b"answer"
        transport.close()
        await client.lost
        await server.lost
        listener.close()

    events = on_both(scene)
    assert events == [("made",), ("data", b"STARTTLSsecret"), ("eof",), ("lost", "NoneType", "None")]


def test_streams_start_tls():
    async def scene(events):
        async def serve(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            await writer.start_tls(server_context())
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\n")
        events.note("line", await reader.readline())
        await writer.start_tls(client_context(), server_hostname="localhost")
        writer.write(b"secret\n")
        events.note("line", await reader.readline())
        events.note("end", await reader.read())
        writer.close()
        await writer.wait_closed()
        await served.wait()
        server.close()

    assert on_both(scene) == [("line", b"plain\n"), ("line", b"secret\n"), ("end", b"")]


def test_start_tls_says_what_is_wrong():
    async def scene(events):
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match=r"sslcontext is expected to be an instance of ssl.SSLContext, got None"):
            await loop.start_tls(None, None, None)
        with pytest.raises(TypeError, match=r"transport None is not supported by start_tls\(\)"):
            await loop.start_tls(None, None, client_context())

    on_both(scene)


def test_a_server_needs_a_context(loop):
    with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
        _native.TlsProtocol(loop, asyncio.Protocol(), None, None, True)


def test_a_failed_upgrade_closes_the_transport():
    async def scene(events):
        loop = asyncio.get_running_loop()

        def serve(connection):
            connection.sendall(b"this is no handshake at all")
            drained(connection)

        with serving(serve) as address:
            transport, protocol = await loop.create_connection(lambda: Recorder(events), *address)
            await protocol.receive(27)
            upgrade = loop.start_tls(
                transport,
                protocol,
                client_context(trusting=False),
                ssl_handshake_timeout=SOON,
                server_hostname="localhost",
            )
            try:
                await upgrade
            except OSError as error:
                events.error("raised", error)
            events.note("closing", transport.is_closing())

    on_both(scene)


def test_tls_in_tls():
    async def scene(events):
        loop = asyncio.get_running_loop()
        server, client = Recorder(events), Recorder(Events())

        async def upgrade_server():
            await server.made
            server.transport.write(b"go")
            return await loop.start_tls(server.transport, server, server_context(), server_side=True)

        async with listening(lambda: server) as address:
            outer, _ = await connect(address, client)
            upgraded = asyncio.ensure_future(upgrade_server())
            assert await client.receive(2) == b"go"
            inner = await loop.start_tls(outer, client, client_context(), server_hostname="localhost")
            server_inner = await upgraded
            inner.write(b"deep" * 100_000)
            assert await server.receive(400_000) == b"deep" * 100_000
            server_inner.write(b"down")
            assert await client.receive(4) == b"down"
            assert inner.get_extra_info("peername") == address
            inner.close()
            await client.lost
            await server.lost

    events = on_both(scene)
    assert [event[0] for event in events] == ["made", "data", "eof", "lost"]
