"""SerialTask: several coroutines of one synchronous caller, run in turn by one task.

An asynchronous generator or context manager expects that: a task group, a time-out or a context variable that one of
its steps begins is ended by another one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from ..deadlocks.edges import link
from ..futures import wait_shielded

__all__ = ["Runner", "SerialTask", "TaskEnded"]

T = TypeVar("T")


class TaskEnded(RuntimeError):
    """The task has ended with its loop, and has ended what it had begun."""

    def __init__(self) -> None:
        super().__init__("the event loop on which this object began to work has ended: make a new object")


# The tasks that serve: nobody else may hold them while they wait for something to do.
_serving: "set[asyncio.Task[None]]" = set()


class _Serving(asyncio.Task[None]):
    """The task itself. A cancel while its loop does not run tells it that the loop ends, as `asyncio.run` does that."""

    has_lost_its_loop = False
    # Ends what was begun, should the loop end before the caller does that.
    at_end: Callable[[BaseException], Awaitable[object]] | None = None

    def cancel(self, msg: Any = None) -> bool:
        if not self.get_loop().is_running():
            self.has_lost_its_loop = True
        return super().cancel(msg)


class _Request:
    """A function to run."""

    __slots__ = ("answer", "args", "cancels", "function")

    def __init__(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], loop: Any) -> None:
        self.function = function
        self.args = args
        # The result and the error. Not the future's own: it takes no StopIteration, and nobody may be left to look.
        self.answer: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        self.cancels = 0  # by the caller that asked


class Runner(Protocol):
    """The runner of the task: see runners.py."""

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine, and waits for it."""

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine for a finalizer, without waiting where that could not be."""

    def close(self) -> None:
        """Ends what belongs to this runner alone."""


class SerialTask:
    """Runs coroutine functions in turn, in one task. For one caller at a time."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        # Both are made in the loop, at the first call.
        self._requests: asyncio.Queue[Any] | None = None
        self._task: _Serving | None = None

    def call[T, *Ts](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Has the task run a function, and waits. An interrupted wait cancels the function and awaits its clean-up."""
        return self._runner.run(self._ask(function, args))

    def at_end(self, function: Callable[[BaseException], Awaitable[object]] | None) -> None:
        """Sets the function that the task calls, with the CancelledError, if the loop ends between two calls.

        It must not hold the caller, which would never be collected.
        """
        if self._task is not None:
            self._task.at_end = function

    def end(self) -> None:
        """Ends the task, and closes the runner."""
        try:
            if self._task is not None and self._requests is not None and not self._task.done():
                # The task is told first: the caller that waits may be cancelled before its coroutine begins.
                with contextlib.suppress(RuntimeError):  # closed
                    self._task.get_loop().call_soon_threadsafe(self._requests.put_nowait, None)
                self._runner.run(wait_shielded(self._task))
        finally:
            self._runner.close()

    def end_by(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Runs a last function for a finalizer, and ends the task, without waiting where that could not be."""
        self._runner.run_last(self._finish(function, args))

    async def _ask(self, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        loop = asyncio.get_running_loop()
        if self._task is None or self._requests is None:
            self._requests = asyncio.Queue()
            self._task = _Serving(_serve(self._requests), loop=loop)
            _serving.add(self._task)
            self._task.add_done_callback(_serving.discard)
        if self._task.done():
            raise TaskEnded

        request = _Request(function, args, loop)
        link(request.answer, self._task)
        self._requests.put_nowait(request)
        try:
            result, error = await asyncio.shield(request.answer)
        except asyncio.CancelledError:
            await self._withdraw(request)
            raise
        try:
            if error is not None:
                raise error
            return cast(T, result)
        finally:
            del error  # it must not keep the frames that hold it

    async def _withdraw(self, request: _Request) -> None:
        """Cancels the function, as often as its caller was cancelled, and waits for its clean-up."""
        assert self._task is not None
        assert self._requests is not None
        if not self._requests.empty():
            self._requests.get_nowait()  # not begun
            return
        while not request.answer.done():
            if not self._task.has_lost_its_loop:  # or it has been cancelled already
                request.cancels += 1
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([request.answer])

    async def _finish(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        if self._task is None or self._requests is None or self._task.done():
            return
        try:
            await self._ask(function, args)
        finally:
            self._requests.put_nowait(None)
        await wait_shielded(self._task)


async def _serve(requests: "asyncio.Queue[Any]") -> None:
    """The life of the task. Between requests it holds nothing of its caller."""
    task = asyncio.current_task()
    assert isinstance(task, _Serving)
    try:
        while (request := await _next(requests, task)) is not None:
            cancels = task.cancelling()  # of time-outs that have caught theirs and not taken it back
            result, error = None, None
            try:
                result = await request.function(*request.args)
            except BaseException as raised:
                error = raised
            _answer(request, result, error)
            new = task.cancelling() - cancels
            for _ in range(min(new, request.cancels)):
                task.uncancel()
            # Others have cancelled the task, most likely a program that cancels all tasks at its end: no more is asked.
            is_cancelled = new > request.cancels and isinstance(error, asyncio.CancelledError)
            if is_cancelled or task.has_lost_its_loop:
                return
            del request, result, error
    finally:
        while not requests.empty():
            if (request := requests.get_nowait()) is not None:
                _answer(request, None, TaskEnded())


async def _next(requests: "asyncio.Queue[Any]", task: _Serving) -> Any:
    try:
        return await requests.get()
    except asyncio.CancelledError as error:
        if task.at_end is not None:
            await task.at_end(error)
        raise


def _answer(request: _Request, result: Any, error: BaseException | None) -> None:
    if not request.answer.done():
        request.answer.set_result((result, error))
