"""SerialThread: several functions of one coroutine, run in turn by one thread, in one context.

What is bound to a thread (`sqlite3`, thread-locals, locks) expects that of its owner.
"""

import asyncio
import contextvars
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ...real_threads import new_thread
from ..deadlocks.edges import link
from ..deadlocks.waiting import working
from ..futures import wait_shielded
from ..this_process import this_process

__all__ = ["SerialThread"]

T = TypeVar("T")

_numbers = itertools.count(1)


class SerialThread:
    """Runs functions in turn on a thread of its own; that ends with `end()`, or when this object is forgotten."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._context = contextvars.copy_context()
        self._process = this_process.number  # where the thread is

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Has the thread call a function, and returns its result. Cancelled, it waits until the function has ended."""
        thread = self._thread or self._start()
        if self._process != this_process.number:
            raise RuntimeError(
                "the thread of this object exists only in the parent process: make a new object in this one"
            )
        future: Future[T] = Future()
        link(future, thread.ident)  # behind what the thread does
        self._jobs.put((future, function, args, kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not future.cancel():  # it has begun
                await wait_shielded(waiter)
            raise

    def end(self) -> None:
        """Has the thread end once it has called all that it was given."""
        if self._thread is not None:
            self._jobs.put(None)

    def __del__(self) -> None:
        self.end()

    def _start(self) -> threading.Thread:
        name = f"everloop-one-{next(_numbers)}"
        self._process = this_process.number
        # Daemon: one that nobody ends must not keep the interpreter from ending.
        self._thread = new_thread(self._context.run, (_serve, self._jobs), name=name)
        self._thread.start()
        return self._thread


_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def _serve(jobs: "queue.SimpleQueue[_Job | None]") -> None:
    """The life of the thread. Between jobs it holds nothing of its caller."""
    while (job := jobs.get()) is not None:
        future, function, args, kwargs = job
        if future.set_running_or_notify_cancel():
            with working(future):
                try:
                    result = function(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
        del job, future, function, args, kwargs
