"""`to_thread()`: a coroutine calls a function on a thread."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ... import _native
from ...contexts import loop_of_context
from ...loop import EventLoop
from ..functions import loop_for, name_of
from .limiter import Limiter

__all__ = ["check_cancelled", "to_thread"]


async def to_thread[**P, T](
    function: Callable[P, T],
    /,
    *args: Any,
    limiter: Limiter | None = None,
    abandon_on_cancel: bool = False,
    **kwargs: Any,
) -> T:
    """Calls a function on a thread, while the loop goes on.

    The function sees the caller's context variables, and the caller sees what it sets. If the task is cancelled, a call
    that has not begun never does. One that runs is waited for: the task ends when the thread is done, as nothing can
    stop a thread. `check_cancelled()` in the function ends it early.

    Args:
        function: The function to call, with `args` and `kwargs`.
        limiter: The limiter whose tokens bound the number of such calls that run at once. None: the loop's default
            executor bounds it, with as many threads as asyncio's has.
        abandon_on_cancel: True if a cancelled task leaves its thread alone at once. Nobody waits for it then, neither
            the end of the loop nor that of the program. Its token comes back when it is done.

    Returns:
        The result of the function.

    Raises:
        TypeError: the function cannot be called, or is a coroutine function.
        RuntimeError: no everloop runs here, or its default executor was shut down.

    The trap: keyword arguments called `limiter` and `abandon_on_cancel` do not reach the function; bind such with
    `functools.partial`.

    Example:
        >>> import everloop, time
        >>> async def main():
        ...     await everloop.to_thread(time.sleep, 0.01)
        ...     return "done"
        >>> everloop.run(main())
        'done'
    """
    loop: EventLoop = _native.loop_for(function) or loop_for("to_thread", function)
    future = None
    if limiter is not None:
        if not isinstance(limiter, Limiter):
            raise TypeError(
                f"everloop.to_thread() needs an everloop.Limiter as its limiter, not {type(limiter).__name__}: "
                f"{limiter!r}; a keyword argument of the function that is called so goes into a functools.partial"
            )
        future = loop.create_future()
        await limiter._acquire(future)
    try:
        job = loop._pool._call(loop, future, function, args, kwargs, limiter)
    except BaseException as error:
        if limiter is not None:
            limiter._release(future)
        if type(error) is RuntimeError and "shutdown" in str(error):
            raise RuntimeError(
                f"everloop.to_thread() cannot call {name_of(function)}: {error}. The threads of a loop end for good; "
                "use everloop.to_executor() with an executor of your own"
            ) from error
        raise
    try:
        result: T = await job.future
        return result
    except asyncio.CancelledError:
        if not job.withdraw():
            await let_end(job, loop, abandon_on_cancel)
        raise
    finally:
        job.carry_over(loop_of_context)  # but not a loop that the function made for itself


async def let_end(job: _native.Job, loop: EventLoop, abandon: bool) -> None:
    """Waits for the thread of a job whose task was cancelled, whatever comes, unless the job is to be abandoned."""
    job.cancel()
    if abandon:
        job.abandon()
        return
    while job.tell(waiter := loop.create_future()):
        with contextlib.suppress(asyncio.CancelledError):
            await waiter


def check_cancelled() -> None:
    """Ends a function on a thread early, if the task that called it has been cancelled.

    To be called now and then by functions that take long and run in `everloop.to_thread`; of no effect elsewhere.

    Raises:
        asyncio.CancelledError: the task was cancelled, and waits for this function.

    Example:
        >>> import everloop
        >>> def work():
        ...     for step in range(3):
        ...         everloop.check_cancelled()
        ...     return "done"
        >>> async def main():
        ...     return await everloop.to_thread(work)
        >>> everloop.run(main())
        'done'
    """
    job = _native.current_job()
    if job is not None and job.cancelled():
        raise asyncio.CancelledError("the task that called this function was cancelled")
