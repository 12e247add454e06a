"""Waits that could never end: an error at the beginning of the wait, or soon after.

Each wait is noted before it is checked, so that of two threads that close a cycle at the same moment one at least sees
it. A cycle can also be closed by an `await`, which nobody announces: a thread that waits looks again after 50 ms, then
each time after twice as long, up to a minute. edges.py says which edges the graph has, and which waits it does not see.
"""

import asyncio
import contextlib
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from ... import _native
from ...private.awaiting import job_of_frame
from .edges import Node, awaiting_frames, edges_of, needs_one, waits
from .graph import nearest, reachable, stuck
from .message import describe, tell
from .openers import Suspicion, sure_openers

__all__ = ["DeadlockError", "current_waits", "pauses", "waiting", "working"]


class DeadlockError(RuntimeError):
    """A wait that could never end: each of its members waits for the next. The message names their lines."""

    __module__ = "everloop"


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
        self.is_limited = timeout is not None  # the wait ends by itself; taken back by a waiter that goes on after that
        self._waiters = waiters if waiters is not None else tuple(_waiters(self.ident))
        self._is_new = is_new  # a task that has not begun waits for nobody yet
        self._suspicion: Suspicion | None = None  # from when on a cycle is there, and nobody is sure to open it

    def __enter__(self) -> "waiting":
        self._before = [waits.get(waiter) for waiter in self._waiters]
        for waiter in self._waiters:
            waits[waiter] = self
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
        """Raises DeadlockError if this wait is part of a cycle that nothing will open."""
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
        """The nodes of a graph that will end, or may end, although they wait."""
        ending = [node for node in graph if (wait := waits.get(node)) is not None and wait.is_limited]
        ending += sure_openers(graph)
        if nearest(self.future, self._waiters, stuck(graph, ending, needs_one)) is None:
            self._suspicion = None
            return ending
        if self._suspicion is None:
            self._suspicion = Suspicion()
        return [*ending, *self._suspicion.openers(graph)]

    def _forget(self) -> None:
        for waiter, before in zip(self._waiters, self._before, strict=True):
            if before is None:
                waits.pop(waiter, None)
            else:
                waits[waiter] = before


@contextlib.contextmanager
def working(future: Node) -> Iterator[None]:
    """`with working(future):` this thread works for the future, which so waits for all that the thread waits for."""
    jobs = _jobs.__dict__.setdefault("futures", [])
    jobs.append(future)
    try:
        yield
    finally:
        jobs.remove(future)


def pauses(timeout: float | None) -> Iterator[float]:
    """The seconds to wait until each next look for a cycle; all together they make `timeout`."""
    pause = 0.05
    while timeout is None or timeout > pause:
        yield pause
        if timeout is not None:
            timeout -= pause
        pause = min(2 * pause, 60.0)
    yield timeout


def current_waits() -> list[tuple[str, str, float]]:
    """The waits in the bridge: who waits, for what, and since when, in seconds of `time.monotonic()`."""
    return [(describe(waiter), describe(wait.future), wait.since) for waiter, wait in list(waits.items())]


# ---- the nodes


def _waiters(ident: int) -> Iterator[Node]:
    """The nodes that wait when this thread does."""
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


# ---- the search


def _path(
    start: Node,
    targets: tuple[Node, ...],
    openers: Callable[[dict[Node, list[Node]]], Iterable[Node]] = lambda graph: (),
) -> list[Node] | None:
    """The nodes from `start` to one of the targets: each waits for the next, and none can ever end, as openers can.

    The openers are asked for after the edges, so that a time-out counts that began while the edges were collected.
    """
    graph = reachable(start, edges_of)
    if nearest(start, targets, graph) is None:
        return None
    return nearest(start, targets, stuck(graph, openers(graph), needs_one))


def _tell(cycle: list[Node]) -> str:
    return tell(cycle, _frames_of)


def _frames_of(node: Node) -> list[FrameType]:
    """The frames in which a node waits, the innermost first."""
    wait = waits.get(node)
    if wait is not None:
        return list(_thread_frames(wait.ident, getattr(node, "get_coro", lambda: None)()))
    if isinstance(node, asyncio.Task):
        return list(awaiting_frames(node))[::-1]
    return []


def _thread_frames(ident: int, coroutine: Any) -> Iterator[FrameType]:
    """The frames of a thread, up to the one of the coroutine whose step it is."""
    outermost = getattr(coroutine, "cr_frame", None)
    frame = sys._current_frames().get(ident)
    while frame is not None:
        yield frame
        frame = None if frame is outermost else frame.f_back
