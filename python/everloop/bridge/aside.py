"""A step of a running everloop waits aside, in the middle of itself."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from ..loop import EventLoop
from .waits import DeadlockError, pauses, waiting

__all__ = ["raise_timeout", "wait_in_step"]

T = TypeVar("T")


def wait_in_step[T](loop: EventLoop, awaitable: Awaitable[T], timeout: float | None) -> T:
    """Waits in a step of this loop; after `timeout` seconds cancels, waits for the clean-up, raises TimeoutError."""
    waiter = asyncio.current_task(loop)
    future = asyncio.ensure_future(awaitable, loop=loop)
    with waiting(future, () if waiter is None else (waiter,), is_new=future is not awaitable) as wait:
        return _wait(loop, waiter, future, timeout, wait)


def _wait[T](
    loop: EventLoop,
    waiter: "asyncio.Task[Any] | None",
    future: "asyncio.Future[T]",
    timeout: float | None,
    wait: waiting,
) -> T:
    done = cancelled = False
    try:
        for pause in pauses(timeout):
            done, cancelled = loop._wait_aside(future, waiter, pause, cancelled)
            if done:
                break
            wait.check()
    except DeadlockError:
        # Cancelling would reach this very task; it ends by the error, and so will who waits for it.
        future.add_done_callback(_retrieve)
        raise
    except RuntimeError:
        future.cancel()
        raise
    except BaseException:
        # A signal handler raised: clean up first, as asyncio.run does.
        future.cancel()
        loop._wait_aside(future, waiter, None, cancelled)
        _retrieve(future)
        raise
    if not done:
        future.cancel()
        loop._wait_aside(future, waiter, None, cancelled)
        raise_timeout(future, timeout)
    return future.result()


def raise_timeout(task: "asyncio.Future[Any]", timeout: float | None) -> None:
    """The task was cancelled for time. An error of its clean-up comes first; a result given all the same counts."""
    if task.cancelled():
        raise TimeoutError(f"waited for {timeout} seconds; the awaitable was cancelled")


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Marks an exception as seen: another one is on its way up."""
    if not future.cancelled():
        future.exception()
