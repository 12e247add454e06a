"""LoopFuture: the result of a coroutine on another thread's loop, for which a thread waits."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import sys
import threading
from asyncio import events
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ... import _native
from ...contexts import loop_of_context
from ...log import logger
from ...loop import EventLoop
from ...private import futures as private
from ..deadlocks.edges import link
from ..deadlocks.waiting import DeadlockError, pauses, waiting
from ..functions import close_coroutine
from ..futures import set_unless_done
from ..this_process import this_process
from ..threads.lent_slot import lent
from .step_wait import wait_in_step

__all__ = ["ExitOfCoroutine", "LoopFuture", "run_on", "submit_to", "through", "wake_when_done"]

T = TypeVar("T")

_NOT_KNOWN: Any = object()

# Seconds of a first, plain wait. Most waits end within it, and so need no entry in the wait-for graph.
_SOON = 0.001

# The looks at a loop that nobody runs before a warning: about a second and a half. Somebody may run it again.
_PATIENCE = 5


def submit_to[T](
    loop: asyncio.AbstractEventLoop,
    awaitable: Awaitable[T],
    future: "LoopFuture[T] | None" = None,
    wrap: Callable[[Awaitable[T]], Awaitable[T]] | None = None,
) -> "LoopFuture[T]":
    """Has a loop of another thread run a coroutine, in a copy of this thread's context. RuntimeError: it is closed.

    `wrap` makes our coroutine around it, on that thread: one that is never begun there must not warn of that.
    """
    if future is None:
        future = LoopFuture(loop)
    context = contextvars.copy_context()
    # Threads and tasks that the coroutine starts in turn belong to the loop on which it runs.
    reference = getattr(loop, "_reference", None)
    if loop_of_context.get() is not reference:
        context.run(loop_of_context.set, reference)
    try:
        loop.call_soon_threadsafe(future._start, awaitable, wrap, context=context)
    except RuntimeError:
        close_coroutine(awaitable)
        raise
    return future


def run_on[T](loop: EventLoop, awaitable: Awaitable[T], timeout: float | None = None) -> T:
    """Has an everloop run a coroutine, and waits: in a step of that loop the step goes aside."""
    if events._get_running_loop() is loop and _native.is_in_step():
        return wait_in_step(loop, awaitable, timeout)
    return through(submit_to(loop, awaitable), timeout)


class ExitOfCoroutine(Exception):
    """Carries a SystemExit or KeyboardInterrupt, as its cause, past the loop to whoever waits for the future."""


class LoopFuture(concurrent.futures.Future[T]):
    """The result of a coroutine on another thread's loop: a `concurrent.futures.Future` that tells the truth.

    `cancel()` asks the coroutine to end, and the future is done once it has. A `result(timeout)` whose time is up, or
    that Ctrl-C interrupts, cancels the coroutine and waits for its clean-up before it raises. A step of an everloop
    that waits for the result goes aside meanwhile. Waits that could never end raise `DeadlockError`.
    """

    _loop: asyncio.AbstractEventLoop  # where the coroutine runs; the wait graph reads it too
    _task: "asyncio.Future[T] | None" = None  # made by the loop; the wait graph reads it too
    _process: int  # the number of the process in which the coroutine runs

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._process = this_process.number

    def cancel(self) -> bool:
        """Asks the coroutine to end. False: it has ended already."""
        if self.done():
            return self.cancelled()
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # the loop is closed
            return self._cancel_now()
        return True

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result.

        Args:
            timeout: In seconds; None for as long as it takes.

        Raises:
            TimeoutError: the time was up. The coroutine was cancelled, and has finished its clean-up.
            concurrent.futures.CancelledError: the coroutine was cancelled.
            DeadlockError: the coroutine waits for the caller that waits here.
            RuntimeError: its loop was closed before it ended, or belongs to the process before a fork.
        """
        try:
            self._wait(timeout)
            result: T = private.returned(self, _NOT_KNOWN)
            return super().result(0) if result is _NOT_KNOWN else result
        finally:
            del self  # an exception must not keep the future that holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits as `result()` does, and returns the exception, or None."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        running = events._get_running_loop()
        if running is not None and isinstance(running, EventLoop) and _native.is_in_step():
            self._wait_in_step(running, timeout)
        else:
            self._wait_on_thread(timeout)

    # ---- in a step

    def _wait_in_step(self, loop: EventLoop, timeout: float | None) -> None:
        wait_in_step(loop, self._until_done(loop), timeout)

    async def _until_done(self, loop: EventLoop) -> None:
        """Ends once this future is done. Raises CancelledError if the future was cancelled because this wait was."""
        asked = False
        while not self.done():
            try:
                await wake_when_done(self, loop)
            except asyncio.CancelledError:
                asked = True
                self.cancel()
        if asked and self.cancelled():
            raise asyncio.CancelledError

    # ---- on a thread

    def _wait_on_thread(self, timeout: float | None) -> None:
        try:
            done = self._is_done_within(timeout)
        except DeadlockError:
            raise
        except BaseException:
            # A signal handler raised: clean up first.
            self._clean_up()
            raise
        if not done:
            self._clean_up()
            if self.cancelled():
                raise TimeoutError(f"waited for {timeout} seconds; the coroutine was cancelled")

    def _is_done_within(self, timeout: float | None) -> bool:
        if self._process != this_process.number:
            raise RuntimeError("this future belongs to the parent process: submit the coroutine again in this one")
        waiter = _native.FutureWaiter()
        if not self._is_awaited_by(waiter):
            return True
        soon = _SOON if timeout is None or timeout > _SOON else timeout
        done = False
        try:
            done = waiter.wait(soon) or self._comes(waiter, None if timeout is None else timeout - soon)
        finally:
            if not done:
                self._is_left_by(waiter)
        return done or self.done()

    def _comes(self, waiter: "_native.FutureWaiter", timeout: float | None) -> bool:
        """True if the future is done within so many seconds. Looks meanwhile for a deadlock, and after the loop."""
        looks_in_vain = 0
        with waiting(self, timeout=timeout) as wait, lent():
            for pause in pauses(timeout):
                if waiter.wait(pause):
                    return True
                if self._loop.is_closed() and not self.done():
                    self._cancel_now()
                    raise RuntimeError(
                        f"the event loop was closed before the coroutine ended: {self._loop!r}. Keep the loop running "
                        "until the future is done"
                    )
                if sys.is_finalizing() and not self.done():
                    raise RuntimeError(
                        f"the interpreter is ending, and no thread runs the event loop of the coroutine any more: "
                        f"{self._loop!r}. Wait for the future before the program ends"
                    )
                wait.check()
                looks_in_vain = 0 if self._loop.is_running() else looks_in_vain + 1
                if looks_in_vain == _PATIENCE:
                    logger.warning(
                        "thread %s waits for a coroutine on %r, which is not running: run that loop, or close it",
                        threading.current_thread().name,
                        self._loop,
                    )
        return False

    # ---- waiters, as those of concurrent.futures.wait()

    def _is_awaited_by(self, waiter: "_native.FutureWaiter") -> bool:
        """Tells `waiter` once this is done. False: it is. We are among those who are told before we look."""
        private.add_waiter(self, waiter)
        return not private.is_done(self)

    def _is_left_by(self, waiter: "_native.FutureWaiter") -> None:
        private.remove_waiter(self, waiter)

    def _cancel_now(self) -> bool:
        """Cancels this future, and wakes those who wait for it."""
        cancelled = super().cancel()
        if cancelled:
            for waiter in private.waiters(self):
                if isinstance(waiter, _native.FutureWaiter):
                    waiter.add_cancelled(self)
        return cancelled

    def _clean_up(self) -> None:
        if self._process == this_process.number and self.cancel():
            self._is_done_within(None)

    # ---- in the loop

    def _start(self, awaitable: Awaitable[T], wrap: Callable[[Awaitable[T]], Awaitable[T]] | None) -> None:
        try:
            wrapped = awaitable if wrap is None else wrap(awaitable)
            self._task = task = asyncio.ensure_future(wrapped, loop=self._loop)
        except BaseException as error:  # a future of another loop
            self.set_exception(error)
            return
        task.add_done_callback(self._finish)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: "asyncio.Future[T]") -> None:
        if self.done():
            return  # given up when the loop was closed
        if task.cancelled():
            self._cancel_now()
            self.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self.set_exception(error.__cause__ if isinstance(error, ExitOfCoroutine) else error)
        else:
            self.set_result(task.result())


def wake_when_done(future: "concurrent.futures.Future[Any]", loop: EventLoop) -> "asyncio.Future[None]":
    """A future of this loop that is done once the other one is. Cancelled, it leaves that alone."""
    arrived: asyncio.Future[None] = loop.create_future()
    link(arrived, future)

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # closed
            loop.call_soon_threadsafe(set_unless_done, arrived)

    future.add_done_callback(tell)
    return arrived


def through[T](future: LoopFuture[T], timeout: float | None) -> T:
    """Waits for a future as `result()` does, but raises asyncio's CancelledError."""
    try:
        return future.result(timeout)
    except concurrent.futures.CancelledError:
        if future.cancelled():
            raise asyncio.CancelledError from None
        raise
    finally:
        del future  # an exception must not keep the future that holds it
