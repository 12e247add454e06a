"""The loop on which `block_on` runs coroutines where there is none.

It ends as that of `asyncio.run`: what still runs is cancelled, and the loop closed. But where a connection stays open
its thread keeps the loop for the next coroutine: synchronous code that makes a client, and uses it call by call.
"""

import asyncio
import atexit
import contextvars
import os
import threading
from asyncio import events
from collections.abc import Coroutine
from typing import Any

from ...contexts import loop_of_context
from ...loop import EventLoop

__all__ = ["run_here"]

_here = threading.local()
_lost: "list[OwnLoop]" = []  # loops of the parent process, which a child must neither close nor collect


def run_here[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the loop of this thread."""
    kept: OwnLoop | None = getattr(_here, "loop", None)
    own = _here.loop = kept if kept is not None and kept.is_usable() else OwnLoop()
    try:
        return own.run(coroutine)
    finally:
        if own.is_idle():
            if getattr(_here, "loop", None) is own:
                del _here.loop
            own.close()


class OwnLoop:
    """A loop that only runs while somebody waits for it."""

    def __init__(self) -> None:
        # In a context of its own: a new loop is noted in the one that it is made in.
        loop = self._loop = contextvars.copy_context().run(EventLoop)
        self._runner = asyncio.Runner(loop_factory=lambda: loop)
        self._process = os.getpid()
        self._users = 0  # more than one where a finalizer or a signal handler comes between

    def is_usable(self) -> bool:
        if self._process != os.getpid():
            _lost.append(self)
            return False
        return not self._loop.is_closed()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop, context = self._loop, contextvars.copy_context()
        context.run(loop_of_context.set, loop._reference)
        before = asyncio.all_tasks(loop)
        self._users += 1
        try:
            return self._runner.run(coroutine, context=context)
        finally:
            self._users -= 1
            left = asyncio.all_tasks(loop) - before
            if left or loop._has_open_files():
                self._end(left)

    def is_idle(self) -> bool:
        """True if nobody uses the loop, and no file or transport of it is open."""
        return not self._users and not self._loop._has_open_files()

    def close(self) -> None:
        self._runner.close()

    def _end(self, tasks: "set[asyncio.Task[Any]]") -> None:
        """Cancels the tasks that are left, as asyncio.run does at its end. Transports that were told to close do so."""
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(_ended(tasks))
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                self._loop.call_exception_handler(
                    {
                        "message": "unhandled exception of a task at the end of everloop.block_on()",
                        "exception": task.exception(),
                        "task": task,
                    }
                )

    def __del__(self) -> None:
        """Closes the loop when its thread has ended."""
        if self._process == os.getpid() and not self._loop.is_closed():
            self._loop.close()


async def _ended(tasks: "set[asyncio.Task[Any]]") -> None:
    if tasks:
        await asyncio.wait(tasks)
    for _ in range(2):
        await asyncio.sleep(0)


def _close_at_exit() -> None:
    own = getattr(_here, "loop", None)
    if own is not None and own.is_usable() and events._get_running_loop() is None:
        del _here.loop
        own.close()


atexit.register(_close_at_exit)
