"""The inside of `concurrent.futures.Future`: what of it can be looked at without its lock, and who waits for it.

Without these names the same is asked by public methods, which take a lock, and done by callbacks, which stay.
"""

import concurrent.futures
import contextlib
from asyncio import futures
from typing import Any

from .names import NAMES, Name

__all__ = [
    "add_waiter",
    "asyncio_error",
    "is_cancelled",
    "is_done",
    "is_queued",
    "remove_waiter",
    "returned",
    "waiters",
]

_PLACE = "concurrent.futures.Future"
_LOCKS = "futures are looked at under their lock, which costs more"
_CALLBACKS = "each wait for a future leaves a callback there until it is done"

STATE = Name(f"{_PLACE}._state", "whether it is queued, or done", _LOCKS)
RESULT = Name(f"{_PLACE}._result", "what it has returned", _LOCKS)
EXCEPTION = Name(f"{_PLACE}._exception", "what it has raised", _LOCKS)
WAITERS = Name(f"{_PLACE}._waiters", "who waits, as concurrent.futures.wait() does", _CALLBACKS)
CONDITION = Name(f"{_PLACE}._condition", "the lock of those who wait", "that list is changed under the GIL alone")

# These are asked for with each call across threads. So the state is looked up in place: that is half the cost of `of`.
_CANCELLED, _FINISHED = "CANCELLED", "FINISHED"
_DONE = {_CANCELLED, "CANCELLED_AND_NOTIFIED", _FINISHED}


def is_queued(future: Any) -> bool:
    """Whether it is a job that has not begun."""
    if not isinstance(future, concurrent.futures.Future):
        return False
    state = STATE.of(future)
    return not (future.running() or future.done()) if state is None else bool(state == "PENDING")


def is_done(future: concurrent.futures.Future[Any]) -> bool:
    """As `done()`."""
    state = getattr(future, STATE.attribute, None) or STATE.of(future)
    return future.done() if state is None else state in _DONE


def is_cancelled(future: concurrent.futures.Future[Any]) -> bool:
    """Whether it was cancelled, and who waits for it in `concurrent.futures.wait` has not been told."""
    state = getattr(future, STATE.attribute, None) or STATE.of(future)
    return future.cancelled() if state is None else bool(state == _CANCELLED)


def returned(future: concurrent.futures.Future[Any], otherwise: Any) -> Any:
    """What it has returned; `otherwise`: it has not, or that cannot be seen without its lock."""
    state = getattr(future, STATE.attribute, None) or STATE.of(future)
    if state != _FINISHED or EXCEPTION.of(future, otherwise) is not None:
        return otherwise
    return RESULT.of(future, otherwise)


def add_waiter(future: concurrent.futures.Future[Any], waiter: Any) -> None:
    """Calls `waiter.add_result(future)`, or one of its like, when it is done: unless it is done already.

    Without the lock: who ends it sets the state, and then tells those in the list.
    """
    found = WAITERS.of(future)
    if found is None:
        future.add_done_callback(waiter.add_result)
    else:
        found.append(waiter)


def remove_waiter(future: concurrent.futures.Future[Any], waiter: Any) -> None:
    """It has waited long enough."""
    found = WAITERS.of(future)
    if found is not None:
        with CONDITION.of(future, contextlib.nullcontext()):
            found.remove(waiter)


def waiters(future: concurrent.futures.Future[Any]) -> list[Any]:
    """Who waits."""
    with CONDITION.of(future, contextlib.nullcontext()):
        return list(WAITERS.of(future, ()))


CONVERT = NAMES["asyncio.futures._convert_future_exc"]  # the native half has it too


def asyncio_error(error: BaseException) -> BaseException:
    """asyncio's own error in place of one of `concurrent.futures`."""
    converted: BaseException = CONVERT.of(futures, lambda error: error)(error)
    return converted
