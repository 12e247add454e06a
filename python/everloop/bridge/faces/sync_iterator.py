"""SyncIterator: an asynchronous iterable behind a synchronous iterator, in one task."""

import contextlib
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any, Self

from .serial_task import Runner, SerialTask, TaskEnded

__all__ = ["SyncIterator"]


class SyncIterator[T](Iterator[T]):
    """The iterator that `iterate()` returns. `new_runner` makes the runner of the task, for the first item."""

    def __init__(self, iterable: AsyncIterable[T], new_runner: Callable[[], Runner]) -> None:
        self._task: SerialTask | None = None  # from the first item to the last
        self._new_runner = new_runner
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
            self._task = SerialTask(self._new_runner())
        try:
            items = self._task.call(self._source.advance)
            self._task.at_end(self._source.close)
        except BaseException:
            if self._source.has_ended():  # a generator has ended by its error; an iterator of another class may go on
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
            if not self._source.has_ended():  # it may have ended with its loop
                self._task.call(self._source.close)
        except TaskEnded:
            pass  # the end of the task has closed the source
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
    """The asynchronous side, which holds no reference to the synchronous one: that can be collected half-way."""

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
