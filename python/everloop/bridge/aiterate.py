"""`aiterate()`: an `async for` over a synchronous iterable, which one thread goes through."""

import asyncio
import collections
import contextlib
import contextvars
import inspect
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from .waits import link

__all__ = ["ThreadIterator", "aiterate"]

T = TypeVar("T")

_numbers = itertools.count(1)


def aiterate[T](iterable: Iterable[T] | Callable[[], Iterable[T]], block: int = 64) -> "ThreadIterator[T]":
    """Goes through a synchronous iterable in a coroutine; what blocks in it blocks a thread of its own.

    That thread makes the iterator, takes all its items and closes it, in a copy of the caller's context variables. It
    runs ahead of the consumer by a block at most; the first item is handed over as soon as it is there. Exceptions
    come in order, behind the items before them.

    Args:
        iterable: An iterable; or a function without arguments that returns one, called on the thread: for what is
            bound to it, as `sqlite3` is.
        block: How many items the thread may be ahead, 1 or more.

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
    """What `aiterate()` returns."""

    def __init__(self, feed: "_Feed[T]") -> None:
        self._feed = feed
        self._context = contextvars.copy_context()
        self._started = False
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._started:
            self._start()
        self._taken += 1
        if self._taken % self._feed.block == 0:
            await asyncio.sleep(0)  # items that are there already must not keep other tasks from running
        while not self._feed.has_news():
            await self._feed.wait()
        return self._feed.take()

    async def aclose(self) -> None:
        """Closes the iterator on its thread, and waits for that. Again: of no effect."""
        self._feed.abandon()
        while self._started and not self._feed.ended:
            await self._feed.wait()
        self._feed.raise_error_of_close()

    def __del__(self) -> None:
        self._feed.abandon()

    def _start(self) -> None:
        self._started = True
        name = f"everloop-iterate-{next(_numbers)}"
        # Daemon: one that nobody closes must not keep the interpreter from ending.
        self._feed.thread = threading.Thread(
            target=self._context.run, args=(self._feed.produce,), name=name, daemon=True
        )
        self._feed.thread.start()


class _Feed[T]:
    """What the thread and the consumer share; it does not keep the consumer's object."""

    def __init__(self, iterable: Any, is_function: bool, block: int) -> None:
        self.block = block
        self.thread: threading.Thread | None = None  # set by the consumer, before it starts
        self.ended = False  # set by the thread: nothing more comes
        self._iterable = iterable  # dropped by the thread
        self._is_function = is_function
        self._changed = threading.Condition()  # guards what follows; reentrant, for finalizers
        self._items: collections.deque[T] = collections.deque()  # the thread appends, the consumer takes
        self._error: BaseException | None = None  # of the iterator: behind the items
        self._error_of_close: BaseException | None = None
        self._abandoned = False  # set by the consumer: the thread is to end
        self._waiter: asyncio.Future[None] | None = None  # the consumer's; taken by the thread that wakes it

    # ---- the consumer

    def has_news(self) -> bool:
        return bool(self._items) or self.ended or self._abandoned

    def take(self) -> T:
        with self._changed:
            if self._items:
                item = self._items.popleft()
                self._changed.notify()
                return item
            error, self._error = self._error, None
        try:
            raise error if error is not None else StopAsyncIteration
        finally:
            del error

    async def wait(self) -> None:
        """Until there is something to take, or the thread has ended."""
        loop = asyncio.get_running_loop()
        with self._changed:
            if self._waiter is not None:
                raise RuntimeError("another task waits for the next item of this iterator already")
            if self.ended or (self._items and not self._abandoned):
                return
            self._waiter = waiter = loop.create_future()
        if self.thread is not None and self.thread.ident is not None:
            link(waiter, self.thread.ident)
        try:
            await waiter
        finally:
            with self._changed:
                if self._waiter is waiter:
                    self._waiter = None

    def abandon(self) -> None:
        with self._changed:
            self._abandoned = True
            dropped, self._items = self._items, collections.deque()
            self._error = None
            self._changed.notify()
        dropped.clear()

    def raise_error_of_close(self) -> None:
        error, self._error_of_close = self._error_of_close, None
        try:
            if error is not None:
                raise error
        finally:
            del error

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
                self._put(item)
                del item
        except BaseException as error:
            # The end of a coroutine, or of an asynchronous iterator, is not what these would mean there.
            if isinstance(error, StopIteration | StopAsyncIteration):
                wrong = RuntimeError(f"the iterable raised {type(error).__name__}")
                wrong.__cause__ = error
                self._error = wrong
            else:
                self._error = error
        finally:
            try:
                if hasattr(closes, "close"):
                    closes.close()
            except BaseException as error:
                self._error_of_close = error
            del iterator, closes
            self._iterable = None
            self._end()

    def _waits_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._items) < self.block)
            return not self._abandoned

    def _put(self, item: T) -> None:
        with self._changed:
            if not self._abandoned:
                self._items.append(item)
            waiter, self._waiter = self._waiter, None
        self._wake(waiter)

    def _end(self) -> None:
        with self._changed:
            self.ended = True
            waiter, self._waiter = self._waiter, None
        self._wake(waiter)

    def _wake(self, waiter: "asyncio.Future[None] | None") -> None:
        if waiter is None:
            return
        try:
            waiter.get_loop().call_soon_threadsafe(_set, waiter)
        except RuntimeError:  # the loop is closed, and the consumer gone
            with contextlib.suppress(RuntimeError):
                self.abandon()


def _set(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
