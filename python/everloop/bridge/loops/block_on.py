"""`block_on()`: synchronous code waits for a coroutine, wherever it runs."""

import asyncio
import inspect
from asyncio import events
from collections.abc import Awaitable, Coroutine
from typing import Any

from ... import _native
from ... import loop as loops
from ...contexts import loop_of_this_context
from ...loop import EventLoop
from ..functions import check_awaitable, close_coroutine, how_to_have_everloop, wrong_loop
from .loop_future import submit_to, through
from .own_loop import run_here
from .step_wait import raise_timeout, wait_in_step

__all__ = ["block_on"]


def block_on[T](awaitable: Awaitable[T], timeout: float | None = None) -> T:
    """Waits for an awaitable from synchronous code, without freezing the loop.

    Inside a step of a running everloop the step goes aside: other tasks go on, and so does the awaited one, as a task
    of the same loop. On a thread that was started for a task (by `to_thread`, by anyio for a `def` endpoint)
    the coroutine runs on that task's loop. Where there is no loop, it runs on a loop of its own, whose end is that of
    `asyncio.run`; but as long as it has left a connection open, the thread keeps the loop for its next `block_on`.

    Args:
        awaitable: A coroutine, task, future, or any object with `__await__`.
        timeout: The time to wait, in seconds; None for as long as it takes.

    Returns:
        The result of the awaitable.

    Raises:
        TimeoutError: the time was up. The coroutine was cancelled, and has finished its clean-up.
        DeadlockError: the awaitable waits for this very task.
        TypeError: the object cannot be awaited.
        RuntimeError: the future belongs to another loop, or the loop of this thread is not an everloop; or the system
            refuses the thread that is to go on with the loop, for longer than a moment.
        asyncio.CancelledError: the task that waits was cancelled; the awaited one was cancelled first.

    The trap: other tasks run meanwhile, as at an `await`, and on another thread: they see other thread-locals.

    Example:
        >>> import asyncio, everloop
        >>> everloop.block_on(asyncio.sleep(0.01, "done"))
        'done'
    """
    owner = check_awaitable("block_on", awaitable, timeout)
    running = events._get_running_loop()
    if running is None:
        return _from_thread(awaitable, owner, timeout)
    if not isinstance(running, EventLoop):
        close_coroutine(awaitable)
        raise RuntimeError(
            f"block_on() cannot wait here: this thread runs another kind of event loop ({type(running).__name__}), and "
            f"the wait would stop it. {how_to_have_everloop()}, or await instead"
        )
    if owner is not None and owner is not running:
        raise wrong_loop("block_on", owner)
    if not _native.is_in_step():
        # Inside `blocking()`: the step is aside already, and the loop runs elsewhere.
        return through(submit_to(running, awaitable), timeout)
    return wait_in_step(running, awaitable, timeout)


loops.wait_in_step = block_on


def _from_thread[T](awaitable: Awaitable[T], owner: asyncio.AbstractEventLoop | None, timeout: float | None) -> T:
    """Waits on a thread that runs no loop: for the loop of the awaitable or of this context, or for a new one."""
    loop = owner if owner is not None else loop_of_this_context()
    if loop is not None and loop.is_running():
        return through(submit_to(loop, awaitable), timeout)
    if owner is not None:
        raise RuntimeError(
            f"block_on() cannot wait for a future whose event loop is not running: {owner!r}. Run that loop in another "
            "thread, or wait for the future with its run_until_complete()"
        )
    coroutine = _as_coroutine(awaitable)
    return run_here(coroutine if timeout is None else _within(coroutine, timeout))


async def _within[T](coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
    """As `asyncio.wait_for`, with block_on's message."""
    task = asyncio.ensure_future(coroutine)
    done, _ = await asyncio.wait([task], timeout=timeout)
    if not done:
        task.cancel()
        await asyncio.wait([task])
        raise_timeout(task, timeout)
    return task.result()


def _as_coroutine[T](awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    if inspect.iscoroutine(awaitable):
        return awaitable

    async def wait() -> T:
        return await awaitable

    return wait()
