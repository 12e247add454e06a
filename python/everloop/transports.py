"""The making of transports: native ones, in the places where asyncio's code asks for its own."""

import asyncio
import contextvars
from asyncio import constants
from typing import Any

from . import _native
from .private import loops as private

try:
    import ssl
except ImportError:  # a Python without it
    ssl = None  # type: ignore[assignment]

__all__ = ["TransportMethods"]


class TransportMethods:
    """To be put before `asyncio.SelectorEventLoop` among the bases of a loop, which `self` is: a LoopCore too."""

    def _ensure_fd_no_transport(self: Any, fd: Any) -> None:
        try:
            number = fd if isinstance(fd, int) else int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
        transport = self._transport_of(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    def _make_socket_transport(
        self: Any,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: contextvars.Context | None = None,
    ) -> _native.SocketTransport:
        self._ensure_fd_no_transport(sock)
        return _native.SocketTransport._open(self, sock, protocol, waiter, extra, server, context)

    def _make_datagram_transport(
        self: Any, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> _native.DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return _native.DatagramTransport._open(self, sock, protocol, address, waiter, extra)

    def _make_read_pipe_transport(
        self: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> _native.ReadPipeTransport:
        return _native.ReadPipeTransport._open(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> _native.WritePipeTransport:
        return _native.WritePipeTransport._open(self, pipe, protocol, waiter, extra)

    def _make_ssl_transport(
        self: Any,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Any = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: contextvars.Context | None = None,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        tls = _native.TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        _native.SocketTransport._open(self, rawsock, tls, None, extra, server, context)
        return tls._app_transport

    async def start_tls(
        self: Any,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Upgrades a transport to TLS.

        Args:
            transport: The transport that the protocol has now; made by this loop, and may be TLS itself.
            protocol: The protocol that goes on with the connection. Its connection_made() is not called again.
            sslcontext: An `ssl.SSLContext`.
            server_side: True if this side is the server.
            server_hostname: The name that the server's certificate must be for.
            ssl_handshake_timeout: In seconds; None for asyncio's 60.
            ssl_shutdown_timeout: In seconds; None for asyncio's 30.

        Returns:
            asyncio.Transport: the one that the protocol should write to from now on.

        Raises:
            TypeError: no SSLContext, or a transport that cannot be upgraded.
            ssl.SSLError, OSError: the handshake failed. The transport is closed.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not private.can_start_tls(transport):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")

        waiter = self.create_future()
        tls = _native.TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing may be received before the protocol has its transport.
        transport.pause_reading()
        if server_side:
            _move_early_bytes(protocol, tls)
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            raise
        return tls._app_transport

    def _start_serving(
        self: Any,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: contextvars.Context | None = None,
    ) -> None:
        timeouts = ssl_handshake_timeout, ssl_shutdown_timeout
        _native.Listener(self, protocol_factory, sock, sslcontext, server, backlog, *timeouts, context).start()


def _move_early_bytes(protocol: Any, tls: _native.TlsProtocol) -> None:
    """Gives TLS what a stream has read of the handshake already, as asyncio does from 3.14 on (gh-142352)."""
    if not isinstance(protocol, asyncio.StreamReaderProtocol):
        return
    received = private.early_bytes(protocol)
    if received:
        tls._incoming.write(received)
        received.clear()
