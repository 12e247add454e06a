"""The edges of the wait-for graph: for whom each node waits.

The nodes: futures and tasks of asyncio, futures of `concurrent.futures`, threads (by ident), event loops of others,
which stand still while a step of theirs waits, and `AnyOf` nodes (a limiter's tokens, the threads of an executor). An
edge from a to b: a cannot end before b does; but an `AnyOf` node needs only one of those that it has edges to.

| edges | written by | read by |
|---|---|---|
| for what a step, thread, job or standing loop waits | `waiting()`, on its thread | whoever looks for a cycle |
| on what a future depends | `link()`, by whoever makes it; `LoopFuture._task`, by its loop | the same |
| for which future a thread works | `working()`, the pool, others by their frames | that thread, as it waits |
| what tasks await, gather, shield, wrap, group and `asyncio.wait` for | asyncio itself | whoever looks for a cycle |

All of it is written and read under the GIL; no lock. Not seen are events, locks and queues, and futures of
`concurrent.futures` for which no loop waits: those waits hang as they do elsewhere.
"""

import asyncio
import concurrent.futures
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

from ...pool import executor_of
from ...private.awaiting import (
    awaited_by,
    chained_to,
    full_threads,
    gathered_by,
    group_members,
    job_of_frame,
    threadsafe_futures,
    waited_for,
)
from ...private.futures import is_queued

__all__ = ["AnyOf", "Node", "Wait", "awaiting_frames", "edges_of", "link", "links", "needs_one", "waits"]

Node = Any  # a future, the ident of a thread, an event loop, or an AnyOf


class Wait(Protocol):
    """A wait that `waiting()` has noted."""

    future: Node
    ident: int  # of the thread that waits
    is_limited: bool  # True if it ends by itself
    since: float  # by time.monotonic()


# For what each waiting node waits.
waits: dict[Node, Wait] = {}
# On what a future depends beyond what asyncio tells: references, as that often calls back to whoever waits for it.
links: "weakref.WeakKeyDictionary[Any, Callable[[], Node | None]]" = weakref.WeakKeyDictionary()


def link(future: Node, other: Node) -> None:
    """`future` cannot end before `other` does: a future, or the ident of the thread that makes the result."""
    links[future] = (lambda: other) if isinstance(other, int) else weakref.ref(other)


class AnyOf:
    """A node that goes on once one of those that it has edges to has ended: a wait for a limiter's token, for one."""

    # The end of a message, where none of them can end.
    _all_wait = "whose holders all wait,"

    def _holding(self) -> Iterable[Node]:
        """The nodes of which one must end; none where it can go on already."""
        raise NotImplementedError


def needs_one(node: Node) -> bool:
    """True if a node needs only one of those that it has edges to."""
    return isinstance(node, AnyOf)


def edges_of(node: Node) -> Iterator[Node]:
    """The nodes for which a node waits."""
    wait = waits.get(node)
    if isinstance(node, int | asyncio.AbstractEventLoop):
        if wait is not None:
            yield wait.future
        return
    if isinstance(node, AnyOf):
        yield from node._holding()
        return
    if wait is not None:  # also for a call whose task was cancelled, and whose thread goes on
        yield wait.future
    if node.done():
        return
    linked = links[node]() if node in links else getattr(node, "_task", None)
    if linked is not None:
        yield linked
    # The future that a suspended task awaits, and those that a gather waits for.
    waited = awaited_by(node)
    if waited is not None:
        yield waited
        yield from _members_of_groups(node)
    yield from gathered_by(node)
    sources = list(chained_to(node))
    yield from sources
    executor = executor_of(node)
    if executor is not None and any(is_queued(each) for each in [linked, *sources]):
        yield ThreadOf(executor)
    if wait is None:
        yield from _standing_loops(node)


def _standing_loops(node: Node) -> Iterator[Node]:
    """The loop of others that a future needs, and that runs nothing while one of its steps waits."""
    loop = node.get_loop() if asyncio.isfuture(node) else getattr(node, "_loop", None)
    if loop is not None:
        if loop in waits:
            yield loop
        return
    # A future of `run_coroutine_threadsafe`, as long as the loop has not even begun with it.
    for loop in [each for each in list(waits) if isinstance(each, asyncio.AbstractEventLoop)]:
        if any(future is node for future in threadsafe_futures(loop)):
            yield loop


def _members_of_groups(task: "asyncio.Task[Any]") -> Iterator[Node]:
    """The tasks of the group that a task waits for at the end of its `async with`, or those given to `asyncio.wait`."""
    for frame in awaiting_frames(task):
        yield from group_members(frame)
        waited = waited_for(frame)
        if waited is not None:
            members, all_of_them = waited
            if all_of_them:
                yield from members
            else:
                yield FirstOf(members)


def awaiting_frames(task: "asyncio.Task[Any]") -> Iterator[FrameType]:
    """The frames of a suspended task, the outermost first."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


class FirstOf(AnyOf):
    """The futures given to an `asyncio.wait` that the first of them may end."""

    _all_wait = "which all wait,"

    def __init__(self, members: list[Node]) -> None:
        self._members = members

    def _holding(self) -> Iterable[Node]:
        return self._members

    def __repr__(self) -> str:
        return "the first of several"


class ThreadOf(AnyOf):
    """One of the threads of an executor that a job is queued on."""

    _all_wait = "which are all taken,"

    def __init__(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        self._executor = executor

    def _holding(self) -> Iterable[Node]:
        """The jobs that they run; none where a thread is free, or could be started."""
        frames = sys._current_frames()
        jobs = [job_of_frame(frames.get(thread.ident)) for thread in full_threads(self._executor)]
        return () if None in jobs else jobs

    def __repr__(self) -> str:
        return f"a thread of {self._executor!r}"
