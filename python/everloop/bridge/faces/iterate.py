"""`iterate()`: a synchronous `for` over an asynchronous iterable."""

from collections.abc import AsyncIterable

from .runners import runner_or_private_loop
from .sync_iterator import SyncIterator

__all__ = ["iterate"]


def iterate[T](iterable: AsyncIterable[T]) -> SyncIterator[T]:
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
    return SyncIterator(iterable, runner_or_private_loop)
