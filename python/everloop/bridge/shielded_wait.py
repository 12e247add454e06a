"""A wait that a cancellation does not cut short."""

import asyncio
from typing import Any

__all__ = ["wait_shielded"]


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
