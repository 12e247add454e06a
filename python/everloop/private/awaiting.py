"""The waits that asyncio and concurrent.futures know of: the wait-for graph is made of them.

A name that is missing here costs the detection of some deadlocks, and nothing else: those waits hang, as they do
elsewhere.
"""

import asyncio
import concurrent.futures.thread
from asyncio import futures, tasks
from collections.abc import Collection, Iterator
from types import CodeType, FrameType
from typing import Any

from .names import Inner, Name, code_of
from .threads import threads_of

__all__ = [
    "awaited_by",
    "chained_to",
    "full_threads",
    "gathered_by",
    "group_members",
    "job_of_frame",
    "passes_cancel_to",
    "queued_by",
    "task_of_timeout",
    "threadsafe_call",
    "threadsafe_code",
    "threadsafe_futures",
    "waited_for",
]


def _undetected(what: str) -> str:
    return f"deadlocks {what} are not detected, and hang"


# ---- what a task awaits

FUT_WAITER = Name("asyncio.Task._fut_waiter", "the future that a suspended task awaits", _undetected("through tasks"))


def awaited_by(future: Any) -> Any:
    """The future that a suspended task awaits; None for any other future too."""
    return FUT_WAITER.of(future, kind=asyncio.Task)


# ---- futures that are made of others

CHILDREN = Name("asyncio.tasks._GatheringFuture._children", "what a gather waits for", _undetected("through gather()"))
_GatheringFuture: type = getattr(tasks, "_GatheringFuture", object)


def gathered_by(future: Any) -> Collection[Any]:
    """The futures that a gather waits for; nothing for any other future."""
    found: Collection[Any] = CHILDREN.of(future, (), kind=_GatheringFuture)
    return found


CALLBACKS = Name("asyncio.Future._callbacks", "what a future is chained to", _undetected("through shield() and others"))
DONE_CALLBACKS = Name(
    "concurrent.futures.Future._done_callbacks",
    "what the future of run_coroutine_threadsafe() is chained to",
    _undetected("through run_coroutine_threadsafe()"),
)
# Callbacks by which asyncio passes the cancellation of one future on to another one: that is in their closures.
CHAINED = Inner(
    "asyncio.futures._chain_future._call_check_cancel",
    code_of(getattr(futures, "_chain_future", None), "_call_check_cancel"),
    "source",
    "the future that another one copies",
    _undetected("through wrap_future() and run_coroutine_threadsafe()"),
)
SHIELDED = Inner(
    "asyncio.shield._outer_done_callback",
    code_of(tasks.shield, "_outer_done_callback"),
    "inner",
    "the future that is shielded",
    _undetected("through shield()"),
)


def chained_to(future: Any) -> Iterator[Any]:
    """The futures that `asyncio.wrap_future`, `run_coroutine_threadsafe` and `shield` have chained this future to."""
    callbacks = CALLBACKS.of(future, kind=asyncio.Future)
    if callbacks is None:
        callbacks = DONE_CALLBACKS.of(future, kind=concurrent.futures.Future)
    for callback in list(callbacks or ()):
        function = callback[0] if isinstance(callback, tuple) else callback
        code = code_of(function)
        for chain in (CHAINED, SHIELDED):
            if chain.is_known() and code is chain.code:
                source = chain.in_closure(function)
                if source is not None:
                    yield source


def passes_cancel_to(future: Any) -> Iterator[Any]:
    """The future that is cancelled with this one, as `asyncio.wrap_future` chains them."""
    for callback in list(CALLBACKS.of(future, kind=asyncio.Future) or ()):
        function = callback[0] if isinstance(callback, tuple) else callback
        if CHAINED.is_known() and code_of(function) is CHAINED.code:
            yield CHAINED.in_closure(function)


# ---- the members of a group, in the frames of the task that waits for them

GROUP = Inner(
    "asyncio.TaskGroup.__aexit__",
    code_of(asyncio.TaskGroup.__aexit__),
    "self",
    "the group that a frame waits for the end of",
    _undetected("through task groups"),
)
MEMBERS = Name("asyncio.TaskGroup._tasks", "the tasks of a group", _undetected("through task groups"))


def group_members(frame: FrameType) -> Collection[Any]:
    """The tasks of the group whose end this frame waits for; nothing for any other frame."""
    if not GROUP.is_known() or frame.f_code is not GROUP.code:
        return ()
    group = frame.f_locals.get(GROUP.variable)
    return () if group is None else list(MEMBERS.of(group, ()))


def _local_of_wait(variable: str) -> Inner:
    function = getattr(tasks, "_wait", None)
    return Inner(
        "asyncio.tasks._wait",
        code_of(function),
        variable,
        "what asyncio.wait() waits for",
        _undetected("through wait()"),
    )


WAIT_SET, WAIT_TIMEOUT, WAIT_RETURN_WHEN = (_local_of_wait(name) for name in ("fs", "timeout", "return_when"))


def waited_for(frame: FrameType) -> tuple[list[Any], bool] | None:
    """Of the frame of an `asyncio.wait()` without a time-out: its futures, and whether it waits for all of them."""
    parts = (WAIT_SET, WAIT_TIMEOUT, WAIT_RETURN_WHEN)
    if not all(part.is_known() for part in parts) or frame.f_code is not WAIT_SET.code:
        return None
    found, timeout, return_when = (frame.f_locals.get(part.variable) for part in parts)
    return None if timeout is not None else (list(found or ()), return_when == asyncio.ALL_COMPLETED)


TIMEOUT_TASK = Name(
    "asyncio.Timeout._task", "whose wait a time-out ends", "waits that a time-out ends are told as deadlocks"
)


def task_of_timeout(timeout: asyncio.Timeout) -> Any:
    """The task whose wait a time-out will end; None: it has not begun."""
    return TIMEOUT_TASK.of(timeout)


# ---- the threads of an executor

RUNNING_JOB = Inner(
    "concurrent.futures.thread._WorkItem.run",
    code_of(getattr(getattr(concurrent.futures.thread, "_WorkItem", None), "run", None)),
    "self",
    "the job that a thread of an executor runs",
    _undetected("through the threads of an executor"),
)
JOB_FUTURE = Name(
    "concurrent.futures.thread._WorkItem.future", RUNNING_JOB.use, _undetected("through the threads of an executor")
)


def job_of_frame(frame: FrameType | None) -> Any:
    """The future of the job that a thread of an executor runs, by its innermost frame; None: it runs none."""
    while RUNNING_JOB.is_known() and frame is not None:
        if frame.f_code is RUNNING_JOB.code:
            item = frame.f_locals.get(RUNNING_JOB.variable)
            return None if item is None else JOB_FUTURE.of(item)
        frame = frame.f_back
    return None


MAX_WORKERS = Name(
    "concurrent.futures.ThreadPoolExecutor._max_workers",
    "how many threads it may have",
    _undetected("of full executors"),
)


def full_threads(executor: concurrent.futures.ThreadPoolExecutor) -> list[Any]:
    """The threads of an executor that can start no more; none where it can."""
    threads = threads_of(executor)
    return threads if len(threads) >= MAX_WORKERS.of(executor, len(threads) + 1) else []


# ---- what run_coroutine_threadsafe has told a loop

_CALLBACK = code_of(asyncio.run_coroutine_threadsafe, "callback")


def _part_of_threadsafe(variable: str, use: str) -> Inner:
    loss = "the future of run_coroutine_threadsafe() is a plain one: result() on the loop's own thread hangs"
    return Inner("asyncio.run_coroutine_threadsafe.callback", _CALLBACK, variable, use, loss)


THREADSAFE_FUTURE = _part_of_threadsafe("future", "the future that run_coroutine_threadsafe() returns")
THREADSAFE_LOOP = _part_of_threadsafe("loop", "its loop")
THREADSAFE_COROUTINE = _part_of_threadsafe("coro", "its coroutine")
READY = Name("asyncio.BaseEventLoop._ready", "what a loop of others has not begun", THREADSAFE_FUTURE.loss)
HANDLE_CALLBACK = Name("asyncio.Handle._callback", "what a handle of others will call", THREADSAFE_FUTURE.loss)


SCHEDULED = Name(
    "asyncio.BaseEventLoop._scheduled",
    "the timers of a loop of others",
    "waits that a timer of such a loop ends are told as deadlocks",
)


def queued_by(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The handles that a loop of others has queued: those that are ready, and the timers."""
    kind = asyncio.BaseEventLoop
    return [*READY.of(loop, (), kind=kind), *SCHEDULED.of(loop, (), kind=kind)]


def threadsafe_code() -> CodeType | None:
    """The code of what `run_coroutine_threadsafe` has a loop call; None: it cannot be made out."""
    parts = (THREADSAFE_FUTURE, THREADSAFE_LOOP, THREADSAFE_COROUTINE)
    return _CALLBACK if all(part.is_known() for part in parts) else None


def threadsafe_call(callback: Any) -> tuple[Any, Any, Any]:
    """Of such a callback: the future, the loop and the coroutine."""
    cells = callback.__closure__
    return (
        cells[THREADSAFE_FUTURE.cell].cell_contents,
        cells[THREADSAFE_LOOP.cell].cell_contents,
        cells[THREADSAFE_COROUTINE.cell].cell_contents,
    )


def threadsafe_futures(loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The future that `run_coroutine_threadsafe` has returned for a loop of others that has not begun it yet."""
    for handle in list(READY.of(loop, (), kind=asyncio.BaseEventLoop)):
        callback = HANDLE_CALLBACK.of(handle, kind=asyncio.Handle)
        if THREADSAFE_FUTURE.is_known() and code_of(callback) is THREADSAFE_FUTURE.code:
            yield THREADSAFE_FUTURE.in_closure(callback)
