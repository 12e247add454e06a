"""Who waits for whom: a wait that could never end is an error, at its beginning or soon after.

The nodes of the graph: futures and tasks of asyncio, futures of `concurrent.futures`, threads (by ident), event loops
of others, which stand still while a step of theirs waits, and what is handed on (`HandedOn`: a limiter's tokens). An
edge from a to b: a cannot end before b does; but what is handed on needs only one of those that it has edges to.

| edges | written by | read by |
|---|---|---|
| what a step, thread, job or standing loop waits for | `waiting()`, on its thread | who looks for a cycle |
| what a future depends on | `link()`, by who makes it; `LoopFuture._task`, by its loop | the same |
| for which future a thread works | `working()`, the pool, others by their frames | that thread, as it waits |
| what tasks await, gather, shield, wrap, group and `asyncio.wait` for | asyncio itself | who looks for a cycle |

All of it is written and read under the GIL; no lock. Each wait is noted before it is checked, so that of two threads
that close a cycle at the same moment one at least sees it. A cycle can also be closed by an `await`, which nobody
announces: who waits looks again after 50 ms, then each time after twice as long, up to a minute.

What is not seen: events, locks and queues, and futures of `concurrent.futures` that no loop waits for. Those waits hang
as they do elsewhere.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
import sys
import threading
import time
import weakref
from asyncio import events
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from ... import _native
from ...pool import call_of, describe, executor_of
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
from .openers import Suspicion, sure_openers

__all__ = ["DeadlockError", "HandedOn", "link", "pauses", "waiting", "working"]

Node = Any  # a future, the ident of a thread, an event loop, or something that is handed on

STACK_DEPTH = 8  # frames shown of each member of a cycle


class DeadlockError(RuntimeError):
    """A wait that could never end: each of its members waits for the next. The message names their lines."""


# What each waiting node waits for.
_waits: "dict[Node, waiting]" = {}
# What a future depends on beyond what asyncio tells: references, as that often calls back to whoever waits for it.
_links: "weakref.WeakKeyDictionary[Any, Callable[[], Node | None]]" = weakref.WeakKeyDictionary()
# For which futures a thread works, the latest last.
_jobs = threading.local()


class waiting:  # lower case: it reads as what it does
    """`with waiting(future):` from here on this thread's step, job or thread waits for it.

    Raises DeadlockError at its beginning, and from `check()`, where the future cannot end before the waiter does.
    """

    __slots__ = ("_before", "_is_new", "_suspicion", "_waiters", "future", "ident", "is_limited", "since")

    def __init__(
        self,
        future: Node,
        waiters: tuple[Node, ...] | None = None,
        is_new: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.future = future
        self.ident = threading.get_ident()
        self.since = time.monotonic()
        self.is_limited = timeout is not None  # the wait ends by itself; taken back by who waits on after that
        self._waiters = waiters if waiters is not None else tuple(_waiters(self.ident))
        self._is_new = is_new  # a task that has not begun waits for nobody yet
        self._suspicion: Suspicion | None = None  # from when on a circle is there, and nobody is sure to open it

    def __enter__(self) -> "waiting":
        self._before = [_waits.get(waiter) for waiter in self._waiters]
        for waiter in self._waiters:
            _waits[waiter] = self
        if not self._is_new:
            try:
                self.check()
            except BaseException:
                self._forget()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._forget()

    def check(self) -> None:
        """Looks for a circle that nobody will open."""
        if not self._waiters or _path(self.future, self._waiters) is None:
            self._suspicion = None
            return
        # Seldom, as it looks at all timers.
        path = _path(self.future, self._waiters, self._openers)
        if path is None:
            return
        message = _tell([path[-1], *path])
        # Others may have seen it at the same moment. Where one of them has given up, the rest can go on.
        if _path(self.future, self._waiters) is not None:
            raise DeadlockError(message)

    def _openers(self, graph: dict[Node, list[Node]]) -> list[Node]:
        """Who of those in a graph will end, or may end, although they wait."""
        ending = [node for node in graph if (wait := _waits.get(node)) is not None and wait.is_limited]
        ending += sure_openers(graph)
        if _nearest(self.future, self._waiters, _stuck(graph, ending)) is None:
            self._suspicion = None
            return ending
        if self._suspicion is None:
            self._suspicion = Suspicion()
        return [*ending, *self._suspicion.openers(graph)]

    def _forget(self) -> None:
        for waiter, before in zip(self._waiters, self._before, strict=True):
            if before is None:
                _waits.pop(waiter, None)
            else:
                _waits[waiter] = before


class HandedOn:
    """What its holders hand on, as tokens: who waits for it goes on once one of them has ended."""

    def holding(self) -> Iterable[Node]:
        """Those who have all of it; nobody where some is left."""
        raise NotImplementedError


@contextlib.contextmanager
def working(future: Node) -> Iterator[None]:
    """`with working(future):` this thread works for it: what it waits for, the future waits for too."""
    jobs = _jobs.__dict__.setdefault("futures", [])
    jobs.append(future)
    try:
        yield
    finally:
        jobs.remove(future)


def link(future: Node, other: Node) -> None:
    """`future` cannot end before `other` does: a future, or the ident of the thread that makes the result."""
    _links[future] = (lambda: other) if isinstance(other, int) else weakref.ref(other)


def pauses(timeout: float | None) -> Iterator[float]:
    """How long to wait, in seconds, until the next look for a cycle; all together make `timeout`."""
    pause = 0.05
    while timeout is None or timeout > pause:
        yield pause
        if timeout is not None:
            timeout -= pause
        pause = min(2 * pause, 60.0)
    yield timeout


def current_waits() -> list[tuple[str, str, float]]:
    """Who waits in the bridge, for what, and since when, in seconds of `time.monotonic()`."""
    return [(_describe(waiter), _describe(wait.future), wait.since) for waiter, wait in list(_waits.items())]


# ---- the nodes


def _waiters(ident: int) -> Iterator[Node]:
    """Who waits when this thread does."""
    loop = events._get_running_loop()
    if loop is not None:
        if isinstance(loop, _native.LoopCore):
            # It goes on without this step. Inside `blocking()` its current task may be another one.
            task = asyncio.current_task(loop) if _native.is_in_step() else None
            if task is not None:
                yield task
            return
        task = asyncio.current_task(loop)
        if task is not None:
            yield task
        yield loop
    yield ident
    yield from _jobs.__dict__.get("futures", ())
    own_job = _native.current_job()
    if own_job is not None:
        yield own_job.future
    job = job_of_frame(sys._getframe())
    if job is not None:
        yield job


# ---- the edges


def _path(
    start: Node,
    targets: tuple[Node, ...],
    openers: Callable[[dict[Node, list[Node]]], Iterable[Node]] = lambda graph: (),
) -> list[Node] | None:
    """The nodes from `start` to one of the targets: each waits for the next, and none can ever end, as openers can.

    Who those are is asked after the edges: a time-out that is younger than they are counts.
    """
    graph = _reachable(start)
    if _nearest(start, targets, graph) is None:
        return None
    return _nearest(start, targets, _stuck(graph, openers(graph)))


def _reachable(start: Node) -> dict[Node, list[Node]]:
    """The edges of all nodes that `start` waits for. O(nodes waited for)."""
    graph: dict[Node, list[Node]] = {}
    open_nodes = [start]
    while open_nodes:
        node = open_nodes.pop()
        if node not in graph:
            graph[node] = list(_waited_for(node))
            open_nodes += graph[node]
    return graph


def _stuck(graph: dict[Node, list[Node]], openers: Iterable[Node]) -> dict[Node, list[Node]]:
    """What is left of a graph without the nodes that can end: `openers`, and from there on all that waits for them."""
    waiters: dict[Node, list[Node]] = {node: [] for node in graph}
    missing = {node: 1 if isinstance(node, HandedOn) else len(nodes) for node, nodes in graph.items()}
    for node, nodes in graph.items():
        for next_node in nodes:
            waiters[next_node].append(node)
    stuck = dict(graph)
    ending = [node for node, nodes in graph.items() if not nodes]
    ending += [node for node in openers if node in graph]
    while ending:
        node = ending.pop()
        if stuck.pop(node, None) is None:
            continue
        for waiter in waiters[node]:
            missing[waiter] -= 1
            if missing[waiter] == 0:
                ending.append(waiter)
    return stuck


def _nearest(start: Node, targets: tuple[Node, ...], graph: dict[Node, list[Node]]) -> list[Node] | None:
    """The shortest path in a graph from `start` to one of the targets."""
    reached_from: dict[Node, Node] = {start: None}
    open_nodes = [start] if start in graph else []
    for node in open_nodes:
        if any(node is target or (isinstance(node, int) and node == target) for target in targets):
            path = [node]
            while reached_from[path[-1]] is not None:
                path.append(reached_from[path[-1]])
            return path[::-1]
        for next_node in graph[node]:
            if next_node not in reached_from and next_node in graph:
                reached_from[next_node] = node
                open_nodes.append(next_node)
    return None


def _waited_for(node: Node) -> Iterator[Node]:
    wait = _waits.get(node)
    if isinstance(node, int | asyncio.AbstractEventLoop):
        if wait is not None:
            yield wait.future
        return
    if isinstance(node, HandedOn):
        yield from node.holding()
        return
    if wait is not None:  # also for a call whose task was cancelled, and whose thread goes on
        yield wait.future
    if node.done():
        return
    linked = _links[node]() if node in _links else getattr(node, "_task", None)
    if linked is not None:
        yield linked
    # What a suspended task awaits, and what a gather waits for.
    waited = awaited_by(node)
    if waited is not None:
        yield waited
        yield from _members_of_groups(node)
    yield from gathered_by(node)
    sources = list(chained_to(node))
    yield from sources
    executor = executor_of(node)
    if executor is not None and any(is_queued(each) for each in [linked, *sources]):
        yield _ThreadsOf(executor)
    if wait is None:
        yield from _standing_loops(node)


def _standing_loops(node: Node) -> Iterator[Node]:
    """The loop of others that this needs, and that runs nothing while one of its steps waits."""
    loop = node.get_loop() if asyncio.isfuture(node) else getattr(node, "_loop", None)
    if loop is not None:
        if loop in _waits:
            yield loop
        return
    # What `run_coroutine_threadsafe` returns, as long as the loop has not even begun.
    for loop in [each for each in list(_waits) if isinstance(each, asyncio.AbstractEventLoop)]:
        if any(future is node for future in threadsafe_futures(loop)):
            yield loop


def _members_of_groups(task: "asyncio.Task[Any]") -> Iterator[Node]:
    """The tasks of the group that a task waits for at the end of its `async with`, or those given to `asyncio.wait`."""
    for frame in _awaiting_frames(task):
        yield from group_members(frame)
        waited = waited_for(frame)
        if waited is not None:
            members, all_of_them = waited
            if all_of_them:
                yield from members
            else:
                yield _FirstOf(members)


class _FirstOf(HandedOn):
    """Those given to an `asyncio.wait` that the first of them may end."""

    def __init__(self, members: list[Node]) -> None:
        self._members = members

    def holding(self) -> Iterable[Node]:
        return self._members


class _ThreadsOf(HandedOn):
    """The threads of an executor that a job is queued on."""

    def __init__(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        self._executor = executor

    def holding(self) -> Iterable[Node]:
        """The jobs that they run; none where a thread is free, or could be started."""
        frames = sys._current_frames()
        jobs = [job_of_frame(frames.get(thread.ident)) for thread in full_threads(self._executor)]
        return () if None in jobs else jobs

    def __repr__(self) -> str:
        return f"a thread of {self._executor!r}"


# ---- the message


def _tell(cycle: list[Node]) -> str:
    lines = [f"a wait that would never end: {_describe(cycle[0])} waits for itself"]
    for node, next_node in itertools.pairwise(cycle):
        lines.append(f"  {_describe(node)} waits for {_describe(next_node)}")
        lines += [f"    at {place}" for place in _stack(node)]
        for other in node.holding() if isinstance(node, HandedOn) else ():
            if other is not next_node:
                lines += [f"  and for {_describe(other)}", *(f"    at {place}" for place in _stack(other))]
    return "\n".join(lines)


def _describe(node: Node) -> str:
    if isinstance(node, int):
        name = next((thread.name for thread in threading.enumerate() if thread.ident == node), node)
        return f"thread {name!r}"
    if isinstance(node, _FirstOf):
        return "the first of several, which all wait,"
    if isinstance(node, _ThreadsOf):
        return f"{node!r}, which are all taken,"
    if isinstance(node, HandedOn):
        return f"{node!r}, whose holders all wait,"
    if isinstance(node, asyncio.AbstractEventLoop):
        return f"{node!r}, which stands still meanwhile,"
    if isinstance(node, asyncio.Task):
        coroutine: Any = node.get_coro()
        return f"task {node.get_name()!r} ({getattr(coroutine, '__qualname__', type(coroutine).__name__)})"
    if isinstance(node, concurrent.futures.Future):
        return f"{type(node).__name__} at {id(node):#x}"
    call = call_of(node)
    if call is not None:
        return f"the call of {describe(call[1].function)}"
    return f"{type(node).__name__} {id(node):#x}"


def _stack(node: Node) -> list[str]:
    """Where a node waits, the innermost line first."""
    wait = _waits.get(node)
    if wait is not None:
        frames = list(_thread_frames(wait.ident, getattr(node, "get_coro", lambda: None)()))
    elif isinstance(node, asyncio.Task):
        frames = list(_awaiting_frames(node))[::-1]
    else:
        return []
    shown = [frame for frame in frames if not _is_machinery(frame.f_code.co_filename)] or frames
    return [f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in shown[:STACK_DEPTH]]


def _thread_frames(ident: int, coroutine: Any) -> Iterator[FrameType]:
    """The frames of a thread, up to the one of the coroutine whose step it is."""
    outermost = getattr(coroutine, "cr_frame", None)
    frame = sys._current_frames().get(ident)
    while frame is not None:
        yield frame
        frame = None if frame is outermost else frame.f_back


def _awaiting_frames(task: "asyncio.Task[Any]") -> Iterator[FrameType]:
    """The frames of a suspended task, the outermost first."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


_MACHINERY = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (os.path.dirname(os.path.dirname(__file__)), asyncio.__file__, concurrent.futures.__file__)
)


def _is_machinery(filename: str) -> bool:
    return filename.startswith(_MACHINERY) or filename == threading.__file__
