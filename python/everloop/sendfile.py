"""SendfileMethods: `loop.sendfile`, after which the transport is as it was, however it ends.

asyncio's, when it is cancelled or fails, may leave a transport that neither reads nor writes, and a protocol that is
told to go on without ever having been told to pause. Here the transport waits on behalf of the file's sender, so that
a connection which is lost or closed meanwhile ends the wait; and the protocol is told of flow control throughout.
"""

import asyncio
import io
import os
from typing import TYPE_CHECKING, Any

from . import _native

__all__ = ["SendfileMethods"]

# As asyncio: so much is read at once where the kernel does not send by itself.
_BLOCK = 16384


class SendfileMethods:
    """To be put before `asyncio.SelectorEventLoop` among the bases of a loop."""

    if TYPE_CHECKING:  # the loop's

        def create_future(self) -> asyncio.Future[Any]: ...
        def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]: ...

    async def _sendfile_native(self, transp: _native.SocketTransport, file: Any, offset: int, count: int | None) -> int:
        _check(file, offset, count)
        source, size = _descriptor_and_size(file)
        nothing_waits = transp._make_empty_waiter()  # from here on nobody else may write
        was_reading = transp.is_reading()
        transp.pause_reading()
        try:
            await nothing_waits
            return await _send(transp, source, offset, count or size, is_to_the_end=not count)
        finally:
            transp._reset_empty_waiter()
            if was_reading:
                transp.resume_reading()

    async def _sendfile_fallback(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        _check(file, offset, count)
        can_seek = hasattr(file, "seek")
        if can_seek:
            file.seek(offset)
        stand_in = _StandIn(transp, self.create_future)
        total = 0
        try:
            while not count or total < count:
                block = memoryview(bytearray(min(count - total, _BLOCK) if count else _BLOCK))
                read = await self.run_in_executor(None, file.readinto, block)
                if not read:
                    break  # the end of the file
                await stand_in.drain()
                transp.write(block[:read])
                total += read
            return total
        finally:
            try:
                if can_seek:
                    file.seek(offset + total)
            finally:
                stand_in.restore()


def _check(file: Any, offset: Any, count: Any) -> None:
    """Refuses, in asyncio's words, what cannot be sent."""
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None and not isinstance(count, int):
        raise TypeError(f"count must be a positive integer (got {count!r})")
    if count is not None and count <= 0:
        raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _descriptor_and_size(file: Any) -> tuple[int, int]:
    try:
        descriptor = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    try:
        return descriptor, os.fstat(descriptor).st_size
    except OSError:
        raise asyncio.SendfileNotAvailableError("not a regular file") from None


async def _send(transport: _native.SocketTransport, source: int, offset: int, size: int, *, is_to_the_end: bool) -> int:
    """Has the kernel send so many bytes of a file, as the socket takes them; it is left where they end."""
    total = 0
    if not size:
        return 0  # an empty file
    try:
        while is_to_the_end or total < size:
            if transport.is_closing():
                raise ConnectionError("Connection is closed by peer")
            block = size if is_to_the_end else size - total
            try:
                sent = os.sendfile(transport._sock_fd, source, offset + total, block)
            except (BlockingIOError, InterruptedError):
                pass
            except ConnectionError:
                raise
            except OSError as error:
                if total:
                    raise
                # The file may be none that the kernel can send.
                raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from error
            else:
                if not sent:
                    break  # the end of the file
                total += sent
            # Also when it took some: others want their turn.
            await transport._make_writable_waiter()
        return total
    finally:
        os.lseek(source, offset + total, os.SEEK_SET)


class _StandIn(asyncio.Protocol):
    """Takes the place of a transport's protocol while a file is sent: nothing is read, and `drain` can be awaited."""

    def __init__(self, transport: Any, create_future: Any) -> None:
        self._transport = transport
        self._create_future = create_future
        self._protocol = transport.get_protocol()
        self._is_paused: bool = transport._protocol_paused
        self._lost: BaseException | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._was_reading: bool = transport.is_reading()
        transport.pause_reading()
        transport.set_protocol(self)

    async def drain(self) -> None:
        """Waits until the transport wants more."""
        while self._is_paused and self._lost is None:
            self._resumed = self._create_future()
            await self._resumed
        if self._lost is not None:
            raise self._lost
        # With TLS the peer's end may wait to be read, which is not done now.
        if self._transport.is_closing() or getattr(self._transport, "_is_ending", False):
            raise ConnectionError("Connection closed by peer")

    def restore(self) -> None:
        """Gives the transport its own protocol back, unless it has got another one meanwhile, or is at its end."""
        if self._transport.is_closing() or self._transport.get_protocol() is not self:
            return
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()

    # ---- what the transport calls; the protocol is told of flow control, so that it knows how things stand afterwards

    def pause_writing(self) -> None:
        self._is_paused = True
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc if exc is not None else ConnectionError("Connection is closed by peer")
        self._wake()
        self._protocol.connection_lost(exc)

    def connection_made(self, transport: Any) -> None:
        raise RuntimeError("Invalid state: connection should have been established already.")

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> bool | None:
        keep_open: bool | None = self._protocol.eof_received()  # of TLS that is being closed
        return keep_open

    def _wake(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
