"""ThreadsafeFuture: what `asyncio.run_coroutine_threadsafe` returns when it is given an everloop.

asyncio makes a plain future, whose `result()` on the loop's own thread never returns. `call_soon_threadsafe`, through
which asyncio must go, shows us the callback that holds the future, and the future gets this class: nothing of asyncio
is replaced, and no other loop's futures are touched.
"""

import asyncio
import concurrent.futures
from asyncio import events
from typing import Any, TypeVar

from .. import _native
from ..loop import EventLoop
from .aside import wait_in_step
from .loop_future import is_done_within, wake_when_done
from .waits import THREADSAFE_CALLBACK, cell_of, waiting

__all__ = ["ThreadsafeFuture"]

T = TypeVar("T")


class ThreadsafeFuture(concurrent.futures.Future[T]):
    """A future whose `result()` goes aside in a step of an everloop, and takes part in the wait graph anywhere.

    Time-outs and interrupts leave the coroutine alone, as asyncio has it; `LoopThread.submit` makes others.
    """

    _loop: asyncio.AbstractEventLoop  # where the coroutine runs: put in by `_adopt`; the wait graph reads it too

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result, `timeout` seconds at the most."""
        try:
            self._wait(timeout)
            return super().result(0)
        finally:
            del self  # an exception must not keep the future that holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits as `result()` does, and returns the exception, or None."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        running = events._get_running_loop()
        if isinstance(running, EventLoop) and _native.is_in_step():
            self._wait_in_step(running, timeout)
        else:
            with waiting(self) as wait:
                is_done_within(self, timeout, wait.check)

    def _wait_in_step(self, loop: EventLoop, timeout: float | None) -> None:
        try:
            wait_in_step(loop, wake_when_done(self, loop), timeout)
        except TimeoutError:
            pass  # the future's own words follow
        except asyncio.CancelledError:
            self.cancel()  # as an await would
            raise


def _adopt(callback: Any) -> None:
    future = cell_of(callback, "future")
    if type(future) is concurrent.futures.Future:
        future.__class__ = ThreadsafeFuture
        adopted: Any = future
        adopted._loop = cell_of(callback, "loop")


if THREADSAFE_CALLBACK is not None:
    _native.set_adopter(THREADSAFE_CALLBACK, _adopt)
