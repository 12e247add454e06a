"""Child: a child process, whose end is seen at once and with its true status, whoever else waits for children.

It goes by a descriptor (pidfd), which can mean no other process: no signal is sent to a stranger that has got its
number meanwhile, and nothing is taken from those who wait for children themselves. As long as there is one SIGCHLD is
not ignored, or the kernel would throw its status away: a program that ignores it, or was started so, ignores it again
afterwards. (The trap: what it starts in between, by whatever means, begins with the default.)
"""

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from . import _native
from .log import asyncio_logger

__all__ = ["Child"]


class Child:
    """A child process, from its start until somebody knows of its end.

    Args:
        start: Starts it.
    """

    def __init__(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        # -1: the kernel gives none, or its end is known.
        self._pidfd = -1
        self._is_kept = True
        _native.keep_children()
        try:
            self.process = start()
        except BaseException:
            self.forget()
            raise
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self.process.pid)

    def watch(self, loop: Any, tell: Callable[[int], object]) -> None:
        """Has the loop call tell(status) when it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):  # the kernel watches no more files for this user
                loop.add_reader(self._pidfd, self._look, loop, tell)
                return
        name = f"everloop-waitpid-{self.process.pid}"
        threading.Thread(target=self._wait_on_thread, args=(loop, tell), name=name, daemon=True).start()

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                self.process.send_signal(number)  # Popen looks first whether the child has ended

    def end(self, status: int) -> None:
        """It has ended with this status."""
        self.process.returncode = status
        self.forget()

    def forget(self) -> None:
        """Nobody wants to know of its end any more."""
        if self._is_kept:
            self._is_kept = False
            _native.release_children()
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            os.close(pidfd)

    def __del__(self) -> None:
        self.forget()

    # ---- its end

    def _look(self, loop: Any, tell: Callable[[int], object]) -> None:
        status = self._reap(os.WNOHANG)
        if status is not None:
            loop.remove_reader(self._pidfd)
            tell(status)

    def _wait_on_thread(self, loop: Any, tell: Callable[[int], object]) -> None:
        """Waits for the end where there is no descriptor."""
        while (status := self._reap(0)) is None:
            os.sched_yield()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, status)

    def _reap(self, how: int) -> int | None:
        """Its status, as Popen.returncode. None: it has not ended, or another thread is just being told of that."""
        which, number = (os.P_PID, self.process.pid) if self._pidfd < 0 else (os.P_PIDFD, self._pidfd)
        try:
            end = os.waitid(which, number, os.WEXITED | os.WNOWAIT | how)
        except ChildProcessError:
            return self._status_that_was_taken()
        if end is None:
            return None
        # Popen has a lock, for those who wait for it on other threads.
        self.process.poll()
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def _status_that_was_taken(self) -> int | None:
        """Somebody else has waited for it: by its Popen object, or for any child. Or the kernel has, for nobody."""
        status = _status_of(self._pidfd)
        if status is None:
            status = self.process.returncode
        if status is None:
            # Popen takes a status that it cannot know for 0.
            status = self.process.poll()
            if status == 0:
                asyncio_logger.warning(
                    "child process pid %d exit status already read: will report returncode 255", self.process.pid
                )
                status = 255
        return status


# From linux/pidfd.h: a request, what is asked for, how large the answer is, and where in there the status stands.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_SIZE = 64
_STATUS_AT = 60


def _status_of(pidfd: int) -> int | None:
    """The status of a child that was waited for already: Linux knows it, from 6.15 on."""
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except (OSError, ValueError):
        return None
    if not struct.unpack_from("=Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    return os.waitstatus_to_exitcode(struct.unpack_from("=i", info, _STATUS_AT)[0])
