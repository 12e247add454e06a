"""ThreadsafeFuture: the future that `asyncio.run_coroutine_threadsafe` returns when it is given an everloop.

asyncio makes a plain future, whose `result()` on the loop's own thread never returns. `call_soon_threadsafe`, through
which asyncio must go, shows us the callback that holds the future, and the future gets this class: nothing of asyncio
is replaced, and no other loop's futures are touched.
"""

import asyncio
import concurrent.futures
import functools
from asyncio import events
from collections.abc import Callable
from typing import Any, TypeVar

from ... import _native
from ...loop import EventLoop
from ...private.awaiting import threadsafe_call, threadsafe_code
from ...private.futures import asyncio_error, is_cancelled
from ..this_process import this_process
from .loop_future import LoopFuture, wake_when_done
from .step_wait import wait_in_step

__all__ = ["ThreadsafeFuture", "install"]

T = TypeVar("T")


class ThreadsafeFuture(LoopFuture[T]):
    """A future whose `result()` goes aside in a step of an everloop, and takes part in the wait graph anywhere.

    As asyncio has it, time-outs and interrupts leave the coroutine alone, and `cancel()` ends the future at once, the
    coroutine soon.
    """

    def cancel(self) -> bool:
        """Ends the future, and asks the coroutine to end. False: it has ended already."""
        cancelled = self._cancel_now()
        task = self._task
        if cancelled and task is not None and not task.done():
            if events._get_running_loop() is self._loop and _native.is_in_step():
                task.cancel()
            else:
                self._loop.call_soon_threadsafe(task.cancel)
        return cancelled

    def _wait_on_thread(self, timeout: float | None) -> None:
        self._is_done_within(timeout)

    def _wait_in_step(self, loop: EventLoop, timeout: float | None) -> None:
        try:
            wait_in_step(loop, wake_when_done(self, loop), timeout)
        except TimeoutError:
            pass  # the caller raises the TimeoutError of concurrent.futures
        except asyncio.CancelledError:
            self.cancel()  # as an await would
            raise

    def _begin(self, coroutine: Any) -> None:
        try:
            self._task = task = self._loop.create_task(coroutine)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self.set_running_or_notify_cancel():
                self.set_exception(error)
            raise
        if is_cancelled(self):  # before it began; from here on `cancel` sees the task
            task.cancel()
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Future[T]") -> None:
        if task.cancelled():
            self._cancel_now()
        if is_cancelled(self):
            self.set_running_or_notify_cancel()
            return
        error = task.exception()
        try:
            if error is None:
                self.set_result(task.result())
            else:
                self.set_exception(asyncio_error(error))
        except concurrent.futures.InvalidStateError:  # another thread has cancelled it just now
            self.set_running_or_notify_cancel()


def _give_class(callback: Any) -> Callable[[], None] | None:
    """The function to be called in place of asyncio's callback; None: the callback itself."""
    future, loop, coroutine = threadsafe_call(callback)
    if type(future) is not concurrent.futures.Future:
        return None
    future.__class__ = ThreadsafeFuture
    ours: Any = future
    ours._loop = loop
    ours._process = this_process.number
    return functools.partial(ours._begin, coroutine)


def install() -> None:
    """Has each `run_coroutine_threadsafe` on an everloop give a ThreadsafeFuture from now on."""
    code = threadsafe_code()
    if code is not None:
        _native.set_threadsafe_hook(code, _give_class)
