"""`to_executor()`: a coroutine has an executor call a function.

The outcome takes the same way from each of them: the executor's future ends on some thread, its outcome is taken there
(a cluster's may have to be fetched), and the loop is told. Nothing here waits on the loop's own thread.
"""

import asyncio
import concurrent.futures
import contextvars
import inspect
import sys
from collections.abc import Callable
from typing import Any, Protocol, cast

from ... import _native
from ...contexts import loop_of_context
from ...log import logger
from ...pool import note_executor
from ...private.threads import threads_of
from ...real_threads import new_thread
from ..deadlocks.edges import link
from ..functions import check_function, name_of
from ..futures import set_unless_done

__all__ = ["to_executor"]

type Outcome = tuple[BaseException | None, Any]


class SubmitsCalls(Protocol):
    """The part of an executor that to_executor() needs; every `concurrent.futures.Executor` has it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Returns a future with `add_done_callback`, `cancel`, and `result`."""


async def to_executor[**P, R](executor: SubmitsCalls, f: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Has an executor call a function, and waits for the result while the loop goes on.

    On a `ThreadPoolExecutor` the function runs in a copy of the caller's context, and the context variables that it
    has set are set in the caller's context afterwards. To any other executor it is submitted as it is.

    Args:
        executor: Any `concurrent.futures.Executor`: threads, processes, Dask's `client.get_executor()`, mpi4py's. Or
            an object whose `submit` returns a future with `add_done_callback`, `cancel` and `result`.
        f: The function. Where the executor leaves the process, it must pickle, and so must arguments and result.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments. They pass through the executor's `submit`, which may have some of its own.

    Returns:
        The result of the function.

    Raises:
        TypeError: no executor, no function, or a coroutine function.
        RuntimeError: the executor is shut down, or its threads or processes were left behind by a fork.
        asyncio.CancelledError: the task was cancelled; or the executor has cancelled the call, because it was shut down
            or has lost its cluster. Then `asyncio.current_task().cancelling()` is 0.
        BaseException: whatever the function raises; the same object, if the executor hands over that.

    The trap: cancelling the task takes work out of the executor's queue, but does not stop work that has begun. The
    CancelledError comes at once, as from asyncio's `run_in_executor`, and the work goes on; its outcome is dropped.

    Example:
        >>> import concurrent.futures, everloop
        >>> with concurrent.futures.ThreadPoolExecutor() as executor:
        ...     everloop.run(everloop.to_executor(executor, sum, [1, 2]))
        3
    """
    _check_executor(executor)
    check_function("to_executor", f)

    if not _runs_on_threads_of_this_interpreter(executor):
        return cast(R, await outcome_of(executor, submit_for("to_executor", f, executor, f, args, kwargs)))

    before = contextvars.copy_context()
    there = before.copy()
    # No variable holds the executor's future: its exception would hold this frame, and so itself.
    return cast(
        R,
        await outcome_of(
            executor, submit_for("to_executor", f, executor, there.run, (f, *args), kwargs), (before, there)
        ),
    )


# ---- from the executor's future to the awaiting task


def submit_for(
    caller: str, f: Callable[..., Any], executor: SubmitsCalls, function: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """Submits a function, and returns the executor's future. An error names the function and the executor."""
    try:
        future = executor.submit(function, *args, **kwargs)
    except RuntimeError as error:
        if type(error) is not RuntimeError:
            raise  # a broken pool says so itself
        raise RuntimeError(f"everloop.{caller}() cannot submit {name_of(f)} to {executor!r}: {error}") from error

    if not all(hasattr(future, method) for method in ("add_done_callback", "cancel", "result")):
        if inspect.iscoroutine(future):
            future.close()
        raise TypeError(
            f"everloop.{caller}() needs an executor whose submit() returns a future with add_done_callback(), cancel() "
            f"and result(); that of {executor!r} returned {type(future).__name__}"
        )
    if _left_behind_by_a_fork(executor) and not future.done():
        future.cancel()
        raise RuntimeError(
            f"everloop.{caller}() cannot run {name_of(f)}: {executor!r} was used before this process was forked, and "
            "what ran its work has stayed with the parent; make another executor in the child"
        )
    return future


async def outcome_of(
    executor: SubmitsCalls, future: Any, contexts: tuple[contextvars.Context, contextvars.Context] | None = None
) -> Any:
    """Waits for the executor's future. Tells it when the awaiting task is cancelled.

    `contexts` are the function's context as it was before, and the one that it has run in.
    """
    waiter = _waiter_for(executor, future, asyncio.get_running_loop())
    try:
        error, value = await waiter
    except BaseException:
        # The task was cancelled, or the coroutine closed: an error of the function is in the outcome.
        _cancel(executor, future)
        raise
    if contexts is not None:
        # A variable that has no value there any more keeps the one that it has here.
        _native.carry_over(*contexts, loop_of_context)  # but not a loop that the function made for itself
    try:
        if error is not None:
            raise error
        return value
    finally:
        del error, value, waiter, future  # an exception must not keep alive the frame that holds it


def _waiter_for(executor: SubmitsCalls, future: Any, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Outcome]":
    """A future whose result is the outcome: so nobody is told of an exception that is not awaited any more."""
    waiter: asyncio.Future[Outcome] = loop.create_future()

    def deliver(future: Any) -> None:
        # On the executor's thread, because taking the outcome of a remote future may block.
        outcome = _take(future)
        try:
            loop.call_soon_threadsafe(set_unless_done, waiter, outcome)
        except RuntimeError:
            if not loop.is_closed():
                raise

    future.add_done_callback(deliver)
    if isinstance(future, concurrent.futures.Future):
        link(waiter, future)
        note_executor(waiter, executor)
    return waiter


def _take(future: Any) -> Outcome:
    """The outcome of a future that is done: an exception, or else the result."""
    try:
        if hasattr(future, "cancelled") and future.cancelled():
            return _cancelled_by_the_executor(), None
        # Asked for first, because result() raises it, which adds frames to its traceback.
        error = future.exception() if hasattr(future, "exception") else None
        return error, None if error is not None else future.result()
    except BaseException as error:
        return error, None


def _cancelled_by_the_executor() -> asyncio.CancelledError:
    return asyncio.CancelledError("the executor has cancelled the call: it was shut down, or lost its connection")


def _cancel(executor: SubmitsCalls, future: Any) -> None:
    """Takes the work out of the queue, if it has not begun."""
    if isinstance(executor, concurrent.futures.ThreadPoolExecutor | concurrent.futures.ProcessPoolExecutor):
        future.cancel()
        return
    # Futures of other kinds may ask a server first: Dask's wait for its scheduler, without end if that is gone.
    new_thread(_cancel_far_away, (future,), name="everloop-cancel").start()


def _cancel_far_away(future: Any) -> None:
    try:
        future.cancel()
    except Exception:
        # Nobody waits for it any more: typically the connection was closed meanwhile.
        logger.debug("%r could not be cancelled", future, exc_info=True)


def _runs_on_threads_of_this_interpreter(executor: SubmitsCalls) -> bool:
    if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
        return False
    # A subclass of ThreadPoolExecutor. While nobody has imported its module there can be none.
    interpreter: Any = sys.modules.get("concurrent.futures.interpreter")
    return interpreter is None or not isinstance(executor, interpreter.InterpreterPoolExecutor)


def _left_behind_by_a_fork(executor: SubmitsCalls) -> bool:
    """True if an executor of the standard library will never run what it has just taken: its threads are gone.

    A child inherits the object without the threads, and submit() waits for ever for one that it believes to be idle.
    """
    threads = threads_of(executor) if isinstance(executor, concurrent.futures.Executor) else []
    return bool(threads) and not any(thread.is_alive() for thread in threads)


# ---- what is refused at once


def _check_executor(executor: object) -> None:
    if isinstance(executor, type):
        raise TypeError(
            f"everloop.to_executor() needs an executor, not the class {executor.__qualname__}: make one, and keep it"
        )
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"everloop.to_executor() needs an executor, which has a submit(), not {type(executor).__name__}: "
            f"{executor!r}; make one, such as concurrent.futures.ThreadPoolExecutor() or ProcessPoolExecutor()"
        )
