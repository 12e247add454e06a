"""`aiterate()`: an `async for` over a synchronous iterable, which one thread goes through."""

import asyncio
import collections
import contextlib
import contextvars
import inspect
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Self

from ...real_threads import new_thread
from ..deadlocks.edges import link
from ..futures import set_unless_done
from ..this_process import this_process

__all__ = ["ThreadIterator", "aiterate"]

_numbers = itertools.count(1)


def aiterate[T](iterable: Iterable[T] | Callable[[], Iterable[T]], block: int = 64) -> "ThreadIterator[T]":
    """Goes through a synchronous iterable in a coroutine; what blocks in it blocks a thread of its own.

    That thread makes the iterator, takes all its items and closes it, in a copy of the caller's context variables. It
    runs ahead of the consumer by a block at most; the first item is handed over as soon as it is there. Exceptions
    come in order, behind the items before them.

    Args:
        iterable: An iterable; or a function without arguments that returns one, called on the thread: for what is
            bound to it, as `sqlite3` is.
        block: The number of items that the thread may be ahead, 1 or more.

    Returns:
        AsyncIterator: with `aclose()`. Left half-way (`aclose()`, `break`, forgotten) it has its thread close the
        generator, or whatever the function returned, and end.

    Raises:
        TypeError: neither an iterable nor a function; or a coroutine function.
        ValueError: the block is smaller than 1.

    The trap: a thread that is blocked in the iterable cannot be interrupted: `aclose()` waits for it.

    Example:
        >>> import everloop
        >>> async def main():
        ...     return [line async for line in everloop.aiterate(lambda: open("pyproject.toml"))][0]
        >>> everloop.run(main())
        '[build-system]\\n'
    """
    if not isinstance(block, int):
        raise TypeError(f"aiterate() needs a whole number as its block, not {block!r}")
    if block < 1:
        raise ValueError(f"block must be 1 or more, but is {block}")
    if hasattr(type(iterable), "__aiter__"):
        raise TypeError(f"aiterate() takes a synchronous iterable; use `async for` with {type(iterable).__name__}")
    if inspect.iscoroutinefunction(iterable) or inspect.isasyncgenfunction(iterable):
        raise TypeError(f"aiterate() takes a synchronous function; await {iterable!r} instead")
    is_function = callable(iterable) and not hasattr(type(iterable), "__iter__")
    if not is_function:
        iter_of: Any = getattr(type(iterable), "__iter__", None) or getattr(type(iterable), "__getitem__", None)
        if iter_of is None:
            raise TypeError(f"aiterate() needs an iterable or a function, not {type(iterable).__name__}")
    return ThreadIterator(_Feed(iterable, is_function, block))


class ThreadIterator[T](AsyncIterator[T]):
    """The iterator that `aiterate()` returns."""

    def __init__(self, feed: "_Feed[T]") -> None:
        self._feed = feed
        self._context = contextvars.copy_context()
        self._started = False
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._started and not self._feed.has_news():  # not closed before it began
            self._start()
        self._taken += 1
        if self._taken % self._feed.block == 0:
            await asyncio.sleep(0)  # items that are there already must not keep other tasks from running
        while not self._feed.has_news():
            await self._feed.wait(self._feed.has_news)
        return self._feed.take()

    async def aclose(self) -> None:
        """Closes the iterator on its thread, and waits for that. Again: of no effect."""
        self._feed.abandon()
        while self._started and not self._feed.ended:
            await self._feed.wait(lambda: self._feed.ended)
        self._feed.raise_error_of_close()

    def __del__(self) -> None:
        self._feed.abandon()

    def _start(self) -> None:
        self._started = True
        name = f"everloop-iterate-{next(_numbers)}"
        # Daemon: one that nobody closes must not keep the interpreter from ending.
        self._feed.thread = new_thread(self._context.run, (self._feed.produce,), name=name)
        self._feed.thread.start()


class _Waiter:
    """One wait of the consumer."""

    __slots__ = ("future", "woken")

    def __init__(self, future: "asyncio.Future[None]") -> None:
        self.future = future
        self.woken = False  # by the thread


class _Feed[T]:
    """The queue between the thread and the consumer. It holds no reference to the consumer's object.

    Without a mutex: a finalizer may call `abandon()` anywhere, on the thread too, in the middle of anything. Each side
    writes first what the other one reads, and then reads what the other one writes; under the GIL one of them sees it.
    """

    def __init__(self, iterable: Any, is_function: bool, block: int) -> None:
        self.block = block
        self._process = this_process.number  # where the thread is
        self.thread: threading.Thread | None = None  # set by the consumer, before it starts
        self.ended = False  # set by the thread: nothing more comes
        self._iterable = iterable  # dropped by the thread
        self._is_function = is_function
        self._items: collections.deque[T] = collections.deque()  # the thread appends, the consumer takes
        self._error: BaseException | None = None  # of the iterator: behind the items
        self._error_of_close: BaseException | None = None
        self._abandoned = False  # set by the consumer: the thread is to end
        self._waiter: _Waiter | None = None  # set and cleared by the consumer
        # Taken by the thread to wait for room, given back to wake it. A bare lock, whose use nothing interrupts.
        self._room = threading.Lock()

    # ---- the consumer

    def has_news(self) -> bool:
        return bool(self._items) or self.ended or self._abandoned

    def take(self) -> T:
        """Returns the next item, or raises at the end. To be called only if `has_news()`."""
        if self._items and not self._abandoned:
            item = self._items.popleft()
            self._wake_thread()
            return item
        error, self._error = self._error, None
        try:
            raise error if error is not None and not self._abandoned else StopAsyncIteration
        finally:
            del error

    async def wait(self, until: Callable[[], bool]) -> None:
        """Waits until the thread has done something, unless the condition holds already."""
        if self._process != this_process.number:
            raise RuntimeError(
                "the thread of this aiterate() exists only in the parent process: call aiterate() again in this one"
            )
        if self._waiter is not None:
            raise RuntimeError("another task already waits for the next item: let one task at a time take items")
        waiter = self._waiter = _Waiter(asyncio.get_running_loop().create_future())
        if self.thread is not None and self.thread.ident is not None:
            link(waiter.future, self.thread.ident)
        try:
            if not until():
                await waiter.future
        finally:
            self._waiter = None

    def abandon(self) -> None:
        self._abandoned = True
        self._wake_thread()

    def raise_error_of_close(self) -> None:
        error, self._error_of_close = self._error_of_close, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def _wake_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # woken already
            self._room.release()

    # ---- the thread

    def produce(self) -> None:
        """The life of the thread."""
        iterator: Iterator[T] | None = None
        closes: Any = None
        try:
            made = self._iterable() if self._is_function else self._iterable
            closes = made if self._is_function else None
            iterator = iter(made)
            del made
            if inspect.isgenerator(iterator):
                closes = iterator
            while self._waits_for_room():
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                self._items.append(item)
                del item
                self._wake_consumer()
        except BaseException as error:
            self._error = _as_error(error)
        finally:
            try:
                if hasattr(closes, "close"):
                    closes.close()
            except BaseException as error:
                self._error_of_close = error
            del iterator, closes
            self._iterable = None
            if self._abandoned:
                self._items.clear()
            self.ended = True
            self._wake_consumer()

    def _waits_for_room(self) -> bool:
        """Waits until there is room for another item. False: nobody wants more."""
        while not self._abandoned:
            if len(self._items) < self.block:
                return True
            self._room.acquire()
        return False

    def _wake_consumer(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.woken:
            return
        waiter.woken = True
        try:
            waiter.future.get_loop().call_soon_threadsafe(set_unless_done, waiter.future)
        except RuntimeError:  # the loop is closed, and the consumer gone
            self.abandon()


def _as_error(error: BaseException) -> BaseException:
    """Wraps a StopIteration that is out of place: it must not be taken for the end of the coroutine that gets it."""
    if not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    wrong = RuntimeError(f"the iterable raised {type(error).__name__}")
    wrong.__cause__ = error
    return wrong
