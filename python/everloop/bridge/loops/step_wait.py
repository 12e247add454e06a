"""A step of a running everloop waits for an awaitable: aside, in the middle of the step."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from ... import _native
from ...loop import EventLoop
from ..deadlocks.waiting import DeadlockError, pauses, waiting

__all__ = ["raise_timeout", "wait_in_step"]


def wait_in_step[T](loop: EventLoop, awaitable: Awaitable[T], timeout: float | None) -> T:
    """Waits in a step of this loop; after `timeout` seconds cancels, waits for the clean-up, raises TimeoutError."""
    waiter = asyncio.current_task(loop)
    future = asyncio.ensure_future(awaitable, loop=loop)
    waiters = () if waiter is None else (waiter,)
    with waiting(future, waiters, is_new=future is not awaitable, timeout=timeout) as wait:
        step = loop._wait_for(future, waiter)
        try:
            return _wait(future, timeout, wait, step)
        except DeadlockError:
            # Cancelling would reach this very task; it ends by the error, and so will those that wait for it.
            future.add_done_callback(_retrieve)
            raise
        finally:
            future.remove_done_callback(step)


def _wait[T](future: "asyncio.Future[T]", timeout: float | None, wait: waiting, step: _native.StepWait) -> T:
    try:
        done = _is_done_within(timeout, wait, step)
    except DeadlockError:
        raise
    except RuntimeError:
        future.cancel()
        raise
    except BaseException:
        # A signal handler raised: clean up first, as asyncio.run does.
        future.cancel()
        with contextlib.suppress(DeadlockError):
            _is_done_within(None, wait, step)
        future.add_done_callback(_retrieve)
        raise
    if not done:
        future.cancel()
        _is_done_within(None, wait, step)
        raise_timeout(future, timeout)
    return future.result()


def _is_done_within(timeout: float | None, wait: waiting, step: _native.StepWait) -> bool:
    """Waits aside, and looks for a deadlock now and then: also for one that only the clean-up has closed."""
    for pause in pauses(timeout):
        if step.aside(pause):
            return True
        wait.check()
    wait.is_limited = False
    return False


def raise_timeout(task: "asyncio.Future[Any]", timeout: float | None) -> None:
    """Raises TimeoutError if the task was cancelled. Does nothing if it has a result or an error all the same."""
    if task.cancelled():
        raise TimeoutError(f"waited for {timeout} seconds; the awaitable was cancelled")


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Marks an exception as seen: another one is on its way up."""
    if not future.cancelled():
        future.exception()
