"""SocketMethods: `sock_recv` and those like it, which take nothing from the kernel that they do not hand over.

asyncio's receive in a callback, and pass what they got on to the waiting task in the next turn; if that task is
cancelled in between, the bytes are lost. These only wait in a callback, and receive in the task itself: between that
and the return there is no await, so no cancellation.

`sock_sendall`, `sock_sendto`, `sock_connect` and `sock_sendfile` stay asyncio's: there is nothing that they could lose.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .private.loops import check_socket

__all__ = ["SocketMethods"]

T = TypeVar("T")


class SocketMethods:
    """To be put before `asyncio.SelectorEventLoop` among the bases of a loop."""

    if TYPE_CHECKING:  # the loop's
        _debug: bool

        def create_future(self) -> asyncio.Future[Any]: ...
        def _ensure_fd_no_transport(self, fd: Any) -> None: ...
        def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> Any: ...
        def _remove_reader(self, fd: Any) -> bool: ...

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receives up to n bytes. Empty: the peer has closed."""
        self._check_socket(sock)
        try:
            return sock.recv(n)
        except (BlockingIOError, InterruptedError):
            pass
        return await self._once_readable(sock, sock.recv, n)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receives into a writable buffer, and returns how many bytes."""
        self._check_socket(sock)
        try:
            return sock.recv_into(buf)
        except (BlockingIOError, InterruptedError):
            pass
        return await self._once_readable(sock, sock.recv_into, buf)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receives a datagram, and returns it with the address that it came from."""
        self._check_socket(sock)
        try:
            return sock.recvfrom(bufsize)
        except (BlockingIOError, InterruptedError):
            pass
        return await self._once_readable(sock, sock.recvfrom, bufsize)

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receives a datagram into a writable buffer, and returns its size with the address that it came from."""
        self._check_socket(sock)
        if not nbytes:
            nbytes = len(buf)
        try:
            return sock.recvfrom_into(buf, nbytes)
        except (BlockingIOError, InterruptedError):
            pass
        return await self._once_readable(sock, sock.recvfrom_into, buf, nbytes)

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accepts a connection, and returns its socket with the address of the peer."""
        self._check_socket(sock)
        try:
            connection, address = sock.accept()
        except (BlockingIOError, InterruptedError):
            connection, address = await self._once_readable(sock, sock.accept)
        connection.setblocking(False)
        return connection, address

    def _check_socket(self, sock: socket.socket) -> None:
        check_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _once_readable(self, sock: socket.socket, receive: Callable[..., T], *args: Any) -> T:
        """Calls `receive` until it no longer says that it would block, and returns its result."""
        descriptor = sock.fileno()
        while True:
            self._ensure_fd_no_transport(descriptor)
            readable = self.create_future()
            handle = self._add_reader(descriptor, _set_readable, readable)
            try:
                await readable
            finally:
                # Whoever has taken this reader's place meanwhile has cancelled the handle.
                if not handle.cancelled():
                    self._remove_reader(descriptor)
            try:
                return receive(*args)
            except (BlockingIOError, InterruptedError):
                pass  # another was quicker, or it was a false alarm


def _set_readable(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
