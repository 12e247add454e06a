"""SubprocessMethods: child processes and their pipes.

Everything as on asyncio's loop, but that `wait()` ends with the process, whoever keeps its pipes (gh-119710); that its
end and its signals go by a descriptor (see children.py); and that the protocol is told everything in the context in
which the process was started.
"""

import asyncio
import contextlib
import contextvars
import functools
import subprocess
import warnings
from asyncio import events, unix_events
from collections.abc import Callable
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any

from .children import Child
from .log import asyncio_logger

__all__ = ["SubprocessMethods", "SubprocessTransport"]

_events: Any = events  # child watchers are gone in CPython 3.14
_unix_events: Any = unix_events


class SubprocessMethods:
    """To be put before `asyncio.SelectorEventLoop` among the bases of a loop."""

    if TYPE_CHECKING:  # the loop's

        def create_future(self) -> asyncio.Future[Any]: ...
        def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> "SubprocessTransport":
        watcher = _watcher_of_the_program()
        with watcher or contextlib.nullcontext():
            if watcher is not None and not watcher.is_active():
                raise RuntimeError("asyncio.get_child_watcher() is not activated, subprocess support is not installed.")
            kwargs.update(shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize)
            transport = SubprocessTransport(self, protocol, lambda: subprocess.Popen(args, **kwargs), extra)
            if watcher is None:
                transport._child.watch(self, transport._process_exited)
            else:
                tell = functools.partial(self.call_soon_threadsafe, transport._process_exited)
                watcher.add_child_handler(transport.get_pid(), lambda pid, status: tell(status))
            try:
                await transport._connect()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                await asyncio.shield(transport._wait())
                raise
        return transport


def _watcher_of_the_program() -> Any:
    """The child watcher that the program has chosen (CPython 3.12 and 3.13); None: one that asyncio would choose."""
    if not hasattr(_events, "get_child_watcher"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        watcher = _events.get_child_watcher()
    chosen_by_asyncio = (_unix_events.PidfdChildWatcher, _unix_events.ThreadedChildWatcher)
    return None if type(watcher) in chosen_by_asyncio else watcher


class SubprocessTransport(asyncio.SubprocessTransport):
    """A child process and its protocol: what `subprocess_exec` and `subprocess_shell` give.

    Args:
        loop: The loop that it belongs to.
        protocol: The protocol that is told of it.
        start: Starts the process.
        extra: Further answers of `get_extra_info`.
    """

    def __init__(
        self, loop: Any, protocol: Any, start: Callable[[], "subprocess.Popen[bytes]"], extra: dict[str, Any] | None
    ) -> None:
        super().__init__(extra)
        self._is_closed = True  # until there is something to close
        self._child = Child(start)
        self._is_closed = False
        # None once the protocol was told of the end.
        self._loop, self._protocol = loop, protocol
        # The protocol is told everything in this context, in order.
        self._context = contextvars.copy_context()
        self._returncode: int | None = None
        self._ends: set[asyncio.Future[None]] = set()
        # Calls of the protocol that wait until it has been told of its connection.
        self._early_calls: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = []
        process = self._child.process
        files = {0: process.stdin, 1: process.stdout, 2: process.stderr}
        self._pipes = {number: _Pipe(self, number, file) for number, file in files.items() if file is not None}
        if loop.get_debug():
            asyncio_logger.debug("process %r created: pid %s", process.args, process.pid)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._is_closed:
            info.append("closed")
        info.append(f"pid={self.get_pid()}")
        info.append("running" if self._returncode is None else f"returncode={self._returncode}")
        names = ("stdin", "stdout", "stderr")
        info += [f"{names[number]}={pipe.transport}" for number, pipe in self._pipes.items()]
        return f"<{' '.join(info)}>"

    async def _connect(self) -> None:
        """Connects the pipes, and has the protocol told."""
        try:
            for pipe in self._pipes.values():
                await pipe.connect(self._loop)
        except BaseException:
            # asyncio leaves the pipes open, up to 3.13.
            for pipe in self._pipes.values():
                pipe.close()
            raise
        calls, self._early_calls = self._early_calls or [], None
        connected = self._loop.create_future()
        for callback, data in [(self._protocol.connection_made, (self,)), *calls, (_set_done, (connected,))]:
            self._tell(callback, *data)
        await connected

    # ---- public

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Facts about the process, by name: "subprocess" is the Popen object."""
        return self._child.process if name == "subprocess" else super().get_extra_info(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closed

    def get_pid(self) -> int:
        return self._child.process.pid

    def get_returncode(self) -> int | None:
        return self._returncode

    def get_pipe_transport(self, fd: int) -> Any:
        return self._pipes[fd].transport if fd in self._pipes else None

    def send_signal(self, signal: int) -> None:
        """Sends the process a signal. Of no effect if it has ended, and nobody could know that yet.

        Raises:
            ProcessLookupError: it has ended, as its return code says.
        """
        if self._returncode is not None:
            raise ProcessLookupError("the process has ended")
        self._child.send_signal(signal)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(SIGKILL)

    def close(self) -> None:
        """Closes the pipes, and kills the process if it runs."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._loop is not None and not self._loop.is_closed():
            for pipe in self._pipes.values():
                pipe.close()
        if self._returncode is None and self._child.process.poll() is None:
            if self._loop.get_debug():
                asyncio_logger.warning("Close running child process: kill %r", self)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it may run as another user
                self._child.process.kill()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self._is_closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()

    async def _wait(self) -> int:
        """Waits for the end of the process alone, for asyncio's Process.wait()."""
        if self._returncode is None:
            end = self._loop.create_future()
            self._ends.add(end)
            try:
                await end
            finally:
                self._ends.discard(end)
        assert self._returncode is not None
        return self._returncode

    # ---- what happens to the process

    def _process_exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            asyncio_logger.info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        self._child.end(returncode)
        self._tell(self._protocol.process_exited)
        for end in self._ends:
            _set_done(end)
        self._end_if_all_is_over()

    def _pipe_lost(self, number: int, error: Exception | None) -> None:
        self._tell(self._protocol.pipe_connection_lost, number, error)
        self._end_if_all_is_over()

    def _end_if_all_is_over(self) -> None:
        if self._returncode is not None and all(pipe.is_lost for pipe in self._pipes.values()):
            self._tell(self._connection_lost)

    def _connection_lost(self) -> None:
        try:
            self._protocol.connection_lost(None)
        finally:
            self._loop = self._protocol = None

    def _tell(self, callback: Callable[..., object], *data: Any) -> None:
        if self._early_calls is not None:
            self._early_calls.append((callback, data))
        else:
            self._loop.call_soon(callback, *data, context=self._context)


class _Pipe(asyncio.Protocol):
    """One of the pipes to a process.

    Args:
        owner: The transport of the process, which is told.
        number: The number of the standard stream that it is.
        file: Our end.
    """

    def __init__(self, owner: SubprocessTransport, number: int, file: Any) -> None:
        self._owner: SubprocessTransport | None = owner
        self._number = number
        self._file = file
        self.transport: Any = None
        self.is_lost = False

    async def connect(self, loop: Any) -> None:
        connect = loop.connect_read_pipe if self._number else loop.connect_write_pipe
        await connect(lambda: self, self._file)

    def close(self) -> None:
        (self._file if self.transport is None else self.transport).close()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._owner is not None
        self._owner._tell(self._owner._protocol.pipe_data_received, self._number, data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._owner is not None
        self.is_lost = True
        owner, self._owner = self._owner, None
        owner._pipe_lost(self._number, exc)

    def pause_writing(self) -> None:
        assert self._owner is not None
        self._owner._protocol.pause_writing()

    def resume_writing(self) -> None:
        assert self._owner is not None
        self._owner._protocol.resume_writing()


def _set_done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
