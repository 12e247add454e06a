"""The inside of `concurrent.futures.Future`: its parts that can be looked at without its lock, and its waiters.

Without these names the same is asked by public methods, which take a lock, and done by callbacks, which stay.
"""

import concurrent.futures
import contextlib
from asyncio import futures
from typing import Any

from .._native import add_future_waiter as add_waiter
from .._native import is_future_cancelled as is_cancelled
from .._native import is_future_done as is_done
from .._native import returned_by_future as returned
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

# The native half asks for most of them, with each call across threads.
STATE = NAMES[f"{_PLACE}._state"]
WAITERS = NAMES[f"{_PLACE}._waiters"]
CONDITION = Name(f"{_PLACE}._condition", "the lock of those who wait", "that list is changed under the GIL alone")


def is_queued(future: Any) -> bool:
    """True if it is a job that has not begun."""
    if not isinstance(future, concurrent.futures.Future):
        return False
    state = STATE.of(future)
    return not (future.running() or future.done()) if state is None else bool(state == "PENDING")


def remove_waiter(future: concurrent.futures.Future[Any], waiter: Any) -> None:
    """The waiter has waited long enough."""
    found = WAITERS.of(future)
    if found is not None:
        with CONDITION.of(future, contextlib.nullcontext()):
            found.remove(waiter)


def waiters(future: concurrent.futures.Future[Any]) -> list[Any]:
    """Those who wait."""
    with CONDITION.of(future, contextlib.nullcontext()):
        return list(WAITERS.of(future, ()))


CONVERT = NAMES["asyncio.futures._convert_future_exc"]  # the native half has it too


def asyncio_error(error: BaseException) -> BaseException:
    """asyncio's own error in place of one of `concurrent.futures`."""
    converted: BaseException = CONVERT.of(futures, lambda error: error)(error)
    return converted
