"""Openers: timers, which time-outs are made of, and queued callbacks, if they may still end a wait of a cycle.

A timer that is sure to end a wait refers to it: by a bound method (`task.cancel`), an argument, a closure, or by a
time-out that keeps its task. As long as such a timer has not run, the cycle is no deadlock. Other timers, that of a
supervisor which sleeps for instance, lead to a wait only through what a suspended coroutine or an object of the program
holds. They may open the cycle, or have nothing to do with it. So those count that were there when the cycle was first
seen, until they have run, and for a while those that come later. A wait that lasts too long is better than a false
alarm.
"""

import asyncio
import contextvars
import functools
import gc
import itertools
import math
import threading
import time
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from ...loop import EventLoop, live_loops
from ...private.awaiting import awaited_by, gathered_by, passes_cancel_to, queued_by, task_of_timeout

__all__ = ["PATIENCE", "Suspicion", "sure_openers"]

Node = Any

PATIENCE = 3.0  # seconds for which later timers count that may have nothing to do with a cycle

DEPTH = 10  # how many references lead from a handle to a node, at the most
MOST = 200_000  # objects that are looked at where anything may lead to a node

# From objects of these types everything, or nothing of interest, can be reached.
_LEAVES = (
    type,
    types.ModuleType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    str,
    bytes,
    int,
    float,
    weakref.ref,
    contextvars.Context,
    contextvars.ContextVar,
    threading.Thread,
    asyncio.AbstractEventLoop,
)
# Whoever calls or goes through these comes to what they refer to.
_OPEN = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.CellType,
    functools.partial,
    tuple,
    list,
    set,
    frozenset,
    dict,
)
_SUSPENDED = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)


def sure_openers(nodes: Collection[Node]) -> Iterator[Node]:
    """Those of the nodes whose wait a timer ends, or that a queued callback is about to end."""
    yield from _search(_handles(nodes), nodes, _parts_that_end)
    if any(_keeps_its_timers(node) for node in nodes):
        yield from _tasks_with_a_time_out()


class Suspicion:
    """A cycle was seen, and nothing that is sure to open it: keeps what might open it all the same."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._at_first: dict[int, Any] | None = None

    def openers(self, nodes: Collection[Node]) -> Iterator[Node]:
        """Those of the nodes that something queued leads to, which may still end their wait."""
        handles = list(_handles(nodes))
        if self._at_first is None:
            self._at_first = {id(handle): handle for handle in handles}
        elif time.monotonic() - self._since >= PATIENCE:
            handles = [handle for handle in handles if id(handle) in self._at_first]
        yield from _search(handles, nodes, _parts, MOST)


# ---- what is queued


def _handles(nodes: Collection[Node]) -> Iterator[Any]:
    """The handles that running loops have queued, and timers of `threading`. Loops that stand still are left out."""
    for loop in live_loops():
        if loop.is_running():
            yield from itertools.chain(*loop._queued())
    standing = {id(node) for node in nodes}
    others = {id(other): other for other in map(_loop_of, nodes) if other is not None}
    for other in others.values():
        if not isinstance(other, EventLoop) and id(other) not in standing:
            yield from queued_by(other)
    yield from (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))


def _loop_of(node: Node) -> asyncio.AbstractEventLoop | None:
    return node.get_loop() if asyncio.isfuture(node) else None


def _keeps_its_timers(node: Node) -> bool:
    """True if a task's loop does not show what it has queued, as uvloop's."""
    loop = _loop_of(node)
    return loop is not None and not isinstance(loop, EventLoop | asyncio.BaseEventLoop)


def _tasks_with_a_time_out() -> list[Node]:
    timeouts: list[Any] = [each for each in gc.get_objects() if isinstance(each, asyncio.Timeout)]
    ending = [task_of_timeout(each) for each in timeouts if each.when() is not None and not each.expired()]
    return [task for task in ending if task is not None]


def _parts_of_handle(handle: Any) -> list[Any]:
    if isinstance(handle, threading.Timer):
        return [] if handle.finished.is_set() else [handle.function, *handle.args, *handle.kwargs.values()]
    return [] if handle.cancelled() else gc.get_referents(handle)


# ---- what leads where


def _search(
    handles: Iterable[Any], nodes: Collection[Node], parts_of: Callable[[Any], Iterable[Any]], most: float = math.inf
) -> Iterator[Node]:
    """The nodes that are reached from the handles."""
    wanted = {id(node) for node in nodes}
    seen: dict[int, Any] = {}
    level = [part for handle in handles for part in _parts_of_handle(handle)]
    for _ in range(DEPTH):
        parts: list[Any] = []
        for each in level:
            if id(each) in seen or isinstance(each, _LEAVES):
                continue
            seen[id(each)] = each
            if id(each) in wanted:
                yield each
            elif len(seen) < most:
                parts += parts_of(each)
        level = parts


def _parts_that_end(each: Any) -> Iterable[Any]:
    """The objects that are ended, or called, by whoever calls or ends this one."""
    if asyncio.isfuture(each):
        # The search goes as far as a cancel does, which stops at a shield.
        return filter(None, [awaited_by(each), *gathered_by(each), *passes_cancel_to(each)])
    if isinstance(each, _OPEN):
        return _parts(each)
    # asyncio.Timeout, anyio.CancelScope, async_timeout.Timeout and their like.
    return gc.get_referents(each) if _is_time_out(type(each)) else ()


def _parts(each: Any) -> Iterable[Any]:
    """All objects that this one refers to, but not the globals of its module."""
    if isinstance(each, types.FunctionType):
        defaults = (each.__defaults__ or (), (each.__kwdefaults__ or {}).values())
        return itertools.chain(each.__closure__ or (), *defaults)
    if isinstance(each, _SUSPENDED):
        return _variables(each)
    return gc.get_referents(each)


def _variables(suspended: Any) -> list[Any]:
    """The variables of a suspended coroutine, and of those that it awaits: one level, however deep they are nested."""
    variables: list[Any] = []
    while isinstance(suspended, _SUSPENDED):
        referents = gc.get_referents(suspended)
        inner = next((each for each in referents if isinstance(each, _SUSPENDED)), None)
        variables += (each for each in referents if each is not inner)
        suspended = inner
    return variables


def _is_time_out(kind: type) -> bool:
    return issubclass(kind, asyncio.Timeout) or any(
        base.__module__.partition(".")[0] in ("anyio", "async_timeout") for base in kind.__mro__
    )
