"""Futures of asyncio: a wait that a cancellation does not cut short, and a result that may come too late."""

import asyncio
from typing import Any

__all__ = ["set_unless_done", "wait_shielded"]


async def wait_shielded(future: "asyncio.Future[Any]") -> None:
    """Waits until a future is done, whatever comes. A cancellation that came meanwhile is raised after that."""
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    try:
        if cancelled is not None:
            raise cancelled
    finally:
        del cancelled


def set_unless_done(future: "asyncio.Future[Any]", result: Any = None) -> None:
    """Sets the result of a future, unless it is done: cancelled, most likely. To be called on its loop."""
    if not future.done():
        future.set_result(result)
