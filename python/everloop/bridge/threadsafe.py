"""ThreadsafeFuture: what `asyncio.run_coroutine_threadsafe` returns when it is given an everloop.

asyncio makes a plain future, whose `result()` on the loop's own thread never returns. `call_soon_threadsafe`, through
which asyncio must go, shows us the callback that holds the future, and the future gets this class: nothing of asyncio
is replaced, and no other loop's futures are touched.
"""

import asyncio
import concurrent.futures
import contextlib
import os
from asyncio.futures import _convert_future_exc  # type: ignore[attr-defined]
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .. import _native
from ..loop import EventLoop
from .aside import wait_in_step
from .loop_future import LoopFuture, wake_when_done
from .waits import THREADSAFE_CALLBACK, cell_of

__all__ = ["ThreadsafeFuture"]

T = TypeVar("T")


class ThreadsafeFuture(LoopFuture[T]):
    """A future whose `result()` goes aside in a step of an everloop, and takes part in the wait graph anywhere.

    As asyncio has it, time-outs and interrupts leave the coroutine alone, and `cancel()` ends the future at once, the
    coroutine soon.
    """

    def cancel(self) -> bool:
        """Ends the future, and asks the coroutine to end. False: it has ended already."""
        cancelled = self._cancel_now()
        if cancelled and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return cancelled

    def _wait_on_thread(self, timeout: float | None) -> None:
        self._is_done_within(timeout)

    def _wait_in_step(self, loop: EventLoop, timeout: float | None) -> None:
        try:
            wait_in_step(loop, wake_when_done(self, loop), timeout)
        except TimeoutError:
            pass  # the future's own words follow
        except asyncio.CancelledError:
            self.cancel()  # as an await would
            raise

    def _start(self, awaitable: Awaitable[T]) -> None:
        try:
            self._task = task = asyncio.ensure_future(awaitable, loop=self._loop)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self.set_running_or_notify_cancel():
                self.set_exception(error)
            raise
        if self.cancelled():  # before it began; from here on `cancel` sees the task
            task.cancel()
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Future[T]") -> None:
        if task.cancelled():
            self._cancel_now()
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled by another thread just now
            if self.cancelled():
                self.set_running_or_notify_cancel()
            elif (error := task.exception()) is not None:
                self.set_exception(_convert_future_exc(error))
            else:
                self.set_result(task.result())


def _adopt(callback: Any) -> Callable[[], None] | None:
    """What is to be called in place of asyncio's callback; None: that itself."""
    future = cell_of(callback, "future")
    if type(future) is not concurrent.futures.Future:
        return None
    future.__class__ = ThreadsafeFuture
    adopted: Any = future
    adopted._loop = cell_of(callback, "loop")
    adopted._process = os.getpid()
    coroutine: Any = cell_of(callback, "coro")
    return lambda: adopted._start(coroutine)


if THREADSAFE_CALLBACK is not None:
    _native.set_adopter(THREADSAFE_CALLBACK, _adopt)
