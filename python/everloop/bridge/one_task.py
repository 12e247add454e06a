"""OneTask: several coroutines of one synchronous caller, run in turn by one task.

An asynchronous generator or context manager expects that: a task group, a time-out or a context variable that one of
its steps begins is ended by another one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple, cast

from .places import Place
from .waits import link

__all__ = ["OneTask"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The tasks that serve: nobody else may hold them while they wait for something to do.
_serving: "set[asyncio.Task[None]]" = set()


class _Request:
    """A function to run."""

    __slots__ = ("answer", "args", "cancelled", "function")

    def __init__(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], loop: Any) -> None:
        self.function = function
        self.args = args
        # The result and the error. Not the future's own: it takes no StopIteration, and nobody may be left to look.
        self.answer: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        self.cancelled = False  # by who asked


class OneTask:
    """Runs coroutine functions in turn, in one task of one place. For one caller at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # Both made in the loop, at the first call.
        self._requests: asyncio.Queue[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def call[T, *Ts](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Waits until the task has run it. What interrupts the wait cancels the function and waits for its clean-up."""
        return self._place.run(self._ask(function, args))

    def end(self) -> None:
        """Ends the task, and its place if that is private."""
        try:
            if self._task is not None and not self._task.done():
                self._place.run(self._finish())
        finally:
            self._place.close()

    def end_by(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """From a finalizer: runs a last function, and ends the task, without waiting where that could not be."""
        self._place.run_last(self._finish(function, args))

    async def _ask(self, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        loop = asyncio.get_running_loop()
        if self._task is None or self._requests is None:
            self._requests = asyncio.Queue()
            self._task = loop.create_task(_serve(self._requests))
            _serving.add(self._task)
            self._task.add_done_callback(_serving.discard)
        if self._task.done():
            raise RuntimeError("the event loop that this began on has ended")

        request = _Request(function, args, loop)
        link(request.answer, self._task)
        self._requests.put_nowait(request)
        try:
            result, error = await asyncio.shield(request.answer)
        except asyncio.CancelledError:
            if not self._requests.empty():
                self._requests.get_nowait()  # not begun
            elif not request.answer.done():
                request.cancelled = True
                self._task.cancel()
                await asyncio.wait([request.answer])
            raise
        try:
            if error is not None:
                raise error
            return cast(T, result)
        finally:
            del error  # it must not keep the frames that hold it

    async def _finish(self, function: Callable[..., Awaitable[None]] | None = None, args: tuple[Any, ...] = ()) -> None:
        if self._task is None or self._requests is None or self._task.done():
            return
        if function is not None:
            await self._ask(function, args)
        self._requests.put_nowait(None)
        await asyncio.wait([self._task])


async def _serve(requests: "asyncio.Queue[Any]") -> None:
    """The life of the task. Between requests it holds nothing of its caller."""
    task = asyncio.current_task()
    assert task is not None
    while (request := await requests.get()) is not None:
        result, error = None, None
        try:
            result = await request.function(*request.args)
        except BaseException as raised:
            error = raised
        if not request.answer.done():
            request.answer.set_result((result, error))
        if task.cancelling():
            if not request.cancelled:
                return  # by the end of the loop
            task.uncancel()
        del request, result, error
