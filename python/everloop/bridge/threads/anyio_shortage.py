"""Says once when anyio's own pool stands still: each of its threads waits, and so do calls that want a thread.

Requests that are inside a dependency with `yield` hold a connection, and wait for a thread; the threads wait for
connections. On everloop's threads they go on (anyio_threads.py); on anyio's nothing moves until a time-out, and nothing
tells why. So a loop that serves looks at anyio's default limiter once a second, where anyio is there.
"""

import collections
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from ... import loop as loops
from ...log import logger
from .anyio_threads import is_replaced

__all__ = ["install"]

LOOK = 1.0  # seconds between two looks
THREAD = "AnyIO worker thread"  # the name that anyio gives its threads

# The borrowers of a look at which the pool was exhausted, by their ids.
Seen = frozenset[int]

_is_told = False
# What writes reports, in the form that was asked for, and what knows the program's own files. They stand above, and so
# are put here.
tell: Callable[[int, str], object] = logger.log
is_own: Callable[[str], bool] = bool


def begin(loop: Any) -> None:
    """The loop begins to serve: from now on it looks, if anyio is there with threads of its own."""
    to_thread: Any = sys.modules.get("anyio.to_thread")
    if to_thread is None or is_replaced() or loop._looks_at_anyio or _is_told:
        return
    try:
        limiter = to_thread.current_default_thread_limiter()
    except Exception:  # not in a task: nobody whose calls anyio would take
        return
    loop._looks_at_anyio = True
    loop.call_later(LOOK, _look_again, loop, limiter, frozenset())


def _look_again(loop: Any, limiter: Any, before: Seen) -> None:
    if not is_replaced() and not _is_told:
        loop.call_later(LOOK, _look_again, loop, limiter, look(limiter, before))


def look(limiter: Any, before: Seen) -> Seen:
    """Looks at a limiter, and tells if it was exhausted at the last look, too, by the same calls, which all wait."""
    global _is_told
    statistics = limiter.statistics()
    if not statistics.tasks_waiting or statistics.borrowed_tokens < statistics.total_tokens:
        return frozenset()
    seen = frozenset(map(id, statistics.borrowers))
    lines = lines_of_waits() if seen == before else None
    if not lines or _is_told:
        return seen
    _is_told = True
    [((file, line, function), count)] = lines.most_common(1)
    tell(
        logging.WARNING,
        f"all {statistics.borrowed_tokens} threads of anyio's pool have waited for a second for other threads of this "
        f"process, {count} of them at {file}:{line} in {function}, while {statistics.tasks_waiting} calls wait for a "
        "thread. If these hold what the threads wait for, as requests do inside a dependency with `yield`, nothing "
        "moves until a time-out. On everloop's threads they go on: set EVERLOOP_ANYIO_POOL=1, start the program with "
        "`python -m everloop`, or call everloop.replace_anyio_pool()",
    )
    return seen


def lines_of_waits() -> "collections.Counter[tuple[str, int, str]] | None":
    """Where anyio's threads wait for other threads (conditions, events, queues); None: one of them does something else.

    The line of each is its innermost that is of no library.
    """
    frames = sys._current_frames()
    lines: collections.Counter[tuple[str, int, str]] = collections.Counter()
    for thread in threading.enumerate():
        frame: Any = frames.get(thread.ident or 0) if thread.name == THREAD else None
        if frame is None:
            continue
        if not _is_wait(frame):
            return None
        while frame is not None and _is_wait(frame):
            frame = frame.f_back
        if frame is None or frame.f_globals.get("__name__", "").startswith("anyio."):
            continue  # an idle one
        own = frame
        while own is not None and not is_own(own.f_code.co_filename):
            own = own.f_back
        found = frame if own is None else own
        lines[found.f_code.co_filename, found.f_lineno, found.f_code.co_qualname] += 1
    return lines


def _is_wait(frame: Any) -> bool:
    return frame.f_globals.get("__name__") in ("threading", "queue")


def install() -> None:
    """Has loops that begin to serve look at anyio's pool."""
    loops.begin_to_serve = begin
