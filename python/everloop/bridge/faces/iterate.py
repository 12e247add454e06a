"""`iterate()`: a synchronous `for` over an asynchronous iterable."""

import contextlib
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any, Self, TypeVar

from ..loops.runners import Place, PrivateLoop, running_loop_here
from .serial_task import Ended, OneTask

__all__ = ["SyncIterator", "iterate"]

T = TypeVar("T")


def iterate[T](iterable: AsyncIterable[T]) -> "SyncIterator[T]":
    """Goes through an asynchronous iterable in synchronous code, item by item.

    In a step of a running everloop the step goes aside for each item, and other tasks go on. On a thread that was
    started for a task the iterable runs on that task's loop; where there is none, on a loop of the iterator's own,
    which turns while an item is waited for. All of it runs in one task, in a copy of the caller's context variables.

    Args:
        iterable: An asynchronous generator, or any object with `__aiter__`.

    Returns:
        Iterator: with `close()`. Left half-way (`close()`, `break`, forgotten) it closes the asynchronous generator.

    Raises:
        TypeError: the object cannot be iterated asynchronously.
        RuntimeError: the loop of this thread is not an everloop, or the one that it began on has ended.

    The trap: background tasks of the iterable stand still between two items, where there was no loop before.

    Example:
        >>> import asyncio, everloop
        >>> async def count():
        ...     for number in range(3):
        ...         await asyncio.sleep(0.01)
        ...         yield number
        >>> list(everloop.iterate(count()))
        [0, 1, 2]
    """
    return SyncIterator(iterable)


class SyncIterator[T](Iterator[T]):
    """What `iterate()` returns."""

    def __init__(self, iterable: AsyncIterable[T], place: Place | None = None) -> None:
        self._task: OneTask | None = None  # from the first item to the last
        self._place = place
        self._ended = False
        if not hasattr(type(iterable), "__aiter__"):
            hint = ": wait for it with everloop.block_on()" if inspect.isawaitable(iterable) else ""
            raise TypeError(f"iterate() needs an asynchronous iterable, not {type(iterable).__name__}{hint}")
        self._source = _Source(iterable)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        if self._task is None:
            self._task = OneTask(self._place or running_loop_here() or PrivateLoop())
        try:
            items = self._task.call(self._source.advance)
            self._task.at_end(self._source.close)
        except BaseException:
            if self._source.has_ended():  # by that; an iterator of another class may go on
                self._end()
            raise
        if not items:
            self._end()
            raise StopIteration
        return items[0]

    def close(self) -> None:
        """Closes the asynchronous generator, and waits for its clean-up. Again: of no effect."""
        if self._task is None:
            self._ended = True
            return
        try:
            if not self._source.has_ended():  # with its loop
                self._task.call(self._source.close)
        except Ended:
            pass  # closed by that
        finally:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(Exception):  # at the interpreter's end there may be no way
                task.end_by(self._source.close)

    def _end(self) -> None:
        self._ended = True
        task, self._task = self._task, None
        if task is not None:
            task.end()


class _Source[T]:
    """The asynchronous side, which must not keep the synchronous one."""

    def __init__(self, iterable: AsyncIterable[T]) -> None:
        self._iterable = iterable
        self._iterator: AsyncIterator[T] | None = None

    def has_ended(self) -> bool:
        return inspect.isasyncgen(self._iterator) and self._iterator.ag_frame is None

    async def advance(self) -> tuple[T] | tuple[()]:
        """The next item, in a tuple that is empty at the end."""
        if self._iterator is None:
            self._iterator = aiter(self._iterable)
        try:
            return (await anext(self._iterator),)
        except StopAsyncIteration:
            return ()

    async def close(self, _: object = None) -> None:
        close: Any = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
