"""AsyncContext: a synchronous context manager behind an asynchronous one, on one thread."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from ..futures import wait_shielded
from .serial_thread import SerialThread

__all__ = ["AsyncContext"]


class AsyncContext(AbstractAsyncContextManager[Any]):
    """Makes, enters and leaves the synchronous side on one thread: its own one, or that of the object it belongs to."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]], thread: SerialThread | None = None) -> None:
        self._make = make
        self._thread = thread
        self._entered: list[tuple[SerialThread, AbstractContextManager[Any]]] = []

    async def __aenter__(self) -> Any:
        thread = self._thread or SerialThread()
        made: list[AbstractContextManager[Any]] = []

        def enter() -> Any:
            context = self._make()
            value = context.__enter__()
            made.append(context)
            return value

        try:
            value = await thread.call(enter)
        except BaseException:
            try:
                if made:  # cancelled: nobody will leave it
                    await _leave(thread, made[0], None, None, None)
            finally:
                self._let_go(thread)
            raise
        self._entered.append((thread, made[0]))
        return value

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        thread, context = self._entered.pop()
        try:
            return await _leave(thread, context, *exc_info)
        finally:
            self._let_go(thread)

    def _let_go(self, thread: SerialThread) -> None:
        if thread is not self._thread:
            thread.end()


async def _leave(thread: SerialThread, context: AbstractContextManager[Any], *exc_info: Any) -> bool | None:
    """Leaves a context, also where the task is cancelled before the thread has begun to leave it."""
    left = asyncio.ensure_future(thread.call(context.__exit__, *exc_info))
    await wait_shielded(left)
    return left.result()
