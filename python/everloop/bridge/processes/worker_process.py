"""WorkerProcess: one process of a pool, seen from the loop. It does one call at a time.

Threads of the pool start and stop it; all else happens in steps of the loop, and none of it blocks.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from ...private.threads import forget_process
from .worker_main import ANSWER, READY, Answer, work

if TYPE_CHECKING:
    from ...loop import EventLoop

RECEIVE_SIZE = 256 * 1024  # a bit more than the buffer of a Unix socket on Linux

# Held while a process starts and over each fork: a child would inherit multiprocessing's own locks as they are. A
# thread that starts one may fork in the middle of that, in a finalizer.
start_lock = threading.RLock()


class WorkerProcess:
    """A process, and the socket on which it is given calls.

    Args:
        loop: The loop whose steps call.
        ready: Called with the worker once it can be given calls.
        lost: Called with the worker when it hangs up while it has no call.
    """

    def __init__(
        self, loop: "EventLoop", ready: "Callable[[WorkerProcess], None]", lost: "Callable[[WorkerProcess], None]"
    ) -> None:
        self._loop = loop
        self._on_ready = ready
        self._on_lost = lost
        # Set by start(), on a thread; read by steps once that is done.
        self._process: BaseProcess | None = None
        self._process_descriptor: int | None = None
        self._socket: socket.socket | None = None
        # The part of a call that is yet to be sent, and the part of an answer that has come.
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._answer: asyncio.Future[Answer | None] | None = None
        # True once the process has said that it can work.
        self.is_ready = False
        # Runs when the process has been idle for long. Set by the pool.
        self.retirement: asyncio.TimerHandle | None = None
        # Set by the pool when it has this worker ended: done when the process is gone.
        self.ending: asyncio.Future[None] | None = None
        # The way the process ended, once it has.
        self.exit_code: int | None = None
        self.pid: int | None = None

    # ---- on a thread of the pool

    def start(self, context: BaseContext, lifeline: "Connection[Any, Any]") -> None:
        """Starts the process. Takes milliseconds, or a few hundred if there is no fork server yet."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, start_lock:
                # Not a daemon: those may not have children.
                process = context.Process(  # type: ignore[attr-defined]
                    target=work, args=(theirs, lifeline), name="everloop-worker", daemon=False
                )
                process.start()
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._process, self._socket, self.pid = process, ours, process.pid
        with suppress(AttributeError, OSError):  # no Linux, an old one, or the process has ended already
            self._process_descriptor = os.pidfd_open(process.pid)

    def stop(self, patience: float) -> None:
        """Returns once the process is gone: by itself within so many seconds, or killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if not self._wait_ended(process, patience):
            self._kill(process)
            self._wait_ended(process, None)
        if self._process_descriptor is not None:
            os.close(self._process_descriptor)
        process.join()
        self.exit_code = process.exitcode
        with suppress(ValueError):  # somebody else has waited for it (os.waitpid), and nobody knows how it ended
            process.close()

    # By its descriptor, not by its number, which another process may have after the fork server has waited for it; and
    # a process whose fork server was killed counts as ended in multiprocessing.

    def _wait_ended(self, process: BaseProcess, timeout: float | None) -> bool:
        if self._process_descriptor is None:
            process.join(timeout)
            return process.exitcode is not None
        return bool(multiprocessing.connection.wait([self._process_descriptor], timeout))

    def _kill(self, process: BaseProcess) -> None:
        if self._process_descriptor is None:
            process.kill()
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process_descriptor, signal.SIGKILL)

    # ---- in steps of the loop

    def attend(self) -> None:
        """Begins to listen to the process, once it was started."""
        self._loop.add_reader(self._connection(), self._receive)

    def call(self, request: memoryview) -> "asyncio.Future[Answer | None]":
        """Hands a call over: its size and its pickle. The answer is None if the process ends before it gives one."""
        self._answer = self._loop.create_future()
        self._unsent = request
        self._send()
        return self._answer

    def is_there(self) -> bool:
        """True if a worker that has no call is still there, as far as the kernel knows."""
        if self._socket is None:
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    @property
    def is_busy(self) -> bool:
        """True if it has a call, or is not ready yet: then it would not notice that the loop hangs up."""
        return not self.is_ready or self._answer is not None

    def hang_up(self) -> None:
        """Ends the conversation: an idle worker ends."""
        if self.retirement is not None:
            self.retirement.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None

    def _connection(self) -> socket.socket:
        assert self._socket is not None, "it was started, and nobody has hung up"
        return self._socket

    def _send(self) -> None:
        connection = self._connection()
        try:
            while self._unsent:
                self._unsent = self._unsent[connection.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(connection, self._send)
            return
        except OSError:
            pass  # it is gone: the reader will see that too
        self._unsent = memoryview(b"")  # an empty rest would keep the whole
        self._loop.remove_writer(connection)

    def _receive(self) -> None:
        try:
            received = self._connection().recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._lose()
            return
        self._received += received
        if len(self._received) >= ANSWER.size:
            status, text_size, payload_size = ANSWER.unpack_from(self._received)
            text_end = ANSWER.size + text_size
            if len(self._received) == text_end + payload_size:
                whole, self._received = memoryview(self._received), bytearray()
                self._take(status, str(whole[ANSWER.size : text_end], "utf-8"), whole[text_end:])

    def _take(self, status: int, text: str, payload: memoryview) -> None:
        if status == READY:
            self.is_ready = True
            self._on_ready(self)
        elif self._answer is not None:
            answer, self._answer = self._answer, None
            if not answer.done():
                answer.set_result((status, text, payload))

    def _lose(self) -> None:
        self.hang_up()
        answer, self._answer = self._answer, None
        if answer is None:
            self._on_lost(self)
        elif not answer.done():
            answer.set_result(None)

    # ---- in a forked child

    def abandon(self) -> None:
        """Lets go of the process, which is the parent's, and leaves it alone."""
        if self._process is not None:
            # Or multiprocessing wants to join it at exit, and takes its exit code from the parent.
            forget_process(self._process)
        if self._process_descriptor is not None:
            os.close(self._process_descriptor)
        if self._socket is not None:
            # Not hang_up(): the loop's poller is shared with the parent, which would no longer hear it.
            self._socket.close()
            self._socket = None
        if self._answer is not None and not self._answer.done():
            with suppress(RuntimeError):  # debug mode, when it was another thread that forked
                self._answer.set_result(None)
