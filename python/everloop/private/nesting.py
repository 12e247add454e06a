"""Code that turns a loop from outside, or replaces the way in which it turns: nest_asyncio, and others like it.

Such code reaches for the parts that asyncio's own loops are turned with. An everloop turns natively and has none: each
of them raises and says so, or does what it says. None does nothing silently.
"""

import asyncio
import selectors
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["NoSelector", "Unturned", "is_nesting_allowed"]

_WAY_OUT = "wait in a step with everloop.block_on(), or apply nest_asyncio, which everloop knows"


def is_nesting_allowed() -> bool:
    """True if nest_asyncio was applied: the program wants to run coroutines inside steps."""
    return getattr(asyncio, "_nest_patched", False) is True


class NoSelector(selectors.BaseSelector):
    """Stands where asyncio keeps its selector; everloop polls natively."""

    def __init__(self, watched: Callable[[], Mapping[int, tuple[bool, bool]]]) -> None:
        self._watched = watched

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("everloop has no selector: use loop.add_reader and loop.add_writer")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(f"{fileobj!r} is not registered")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise NotImplementedError(f"everloop has no selector, and cannot be run from outside by one: {_WAY_OUT}")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return _Keys(
            (fd, selectors.SelectorKey(fd, fd, selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes, None))
            for fd, (reads, writes) in self._watched().items()
        )


class _Keys(dict[Any, selectors.SelectorKey]):
    """The keys of a selector by descriptor; found by file object too."""

    def __missing__(self, file: Any) -> selectors.SelectorKey:
        if isinstance(file, int):
            raise KeyError(file)
        return self[int(file.fileno())]


class Unturned:
    """A base of `EventLoop`, before asyncio's: the parts that asyncio's loops are turned with."""

    # nest_asyncio replaces the methods of a loop that it finds, unless this attribute is there. Ours are right as they
    # are: see `EventLoop.run_until_complete`.
    @property
    def _nest_patched(self) -> bool:
        if is_nesting_allowed():
            return True
        raise AttributeError("_nest_patched")

    def _run_once(self) -> None:
        raise NotImplementedError(
            f"everloop has no _run_once(), and cannot be run from outside turn by turn: {_WAY_OUT}"
        )

    def _process_events(self, event_list: Any) -> None:
        raise NotImplementedError("everloop takes events only from the kernel: use loop.add_reader, loop.add_writer")

    def _check_not_replaced(self) -> None:
        """RuntimeError: something has replaced what would never be called."""
        if getattr(self._run_once, "__func__", None) is not _RUN_ONCE:
            raise RuntimeError(
                f"something has replaced _run_once of {type(self).__name__}, which everloop never calls: {_WAY_OUT}; "
                "or use asyncio's own loop with that code"
            )

    # asyncio's close() clears both: of a closed loop they are empty lists, and nobody's.

    @property
    def _ready(self: Any) -> "_Queue | list[Any]":
        return [] if self._closed else _Queue(self, 0)

    @_ready.setter
    def _ready(self, queue: Any) -> None:
        _refuse_items(queue, "_ready")  # asyncio's constructor sets it, empty

    @property
    def _scheduled(self: Any) -> "_Queue | list[Any]":
        return [] if self._closed else _Queue(self, 1)

    @_scheduled.setter
    def _scheduled(self, queue: Any) -> None:
        _refuse_items(queue, "_scheduled")


_RUN_ONCE = Unturned._run_once


class _Queue:
    """The queue of a loop, for those who look at it, or queue a handle that they have made."""

    def __init__(self, loop: Any, part: int) -> None:
        self._loop = loop
        self._part = part

    def __len__(self) -> int:
        return len(self._loop._queued()[self._part])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loop._queued()[self._part])

    def append(self, handle: Any) -> None:
        if self._part:
            raise NotImplementedError("everloop's timers are not a Python list: use loop.call_at")
        self._loop._add_callback(handle)

    def clear(self) -> None:
        raise NotImplementedError("everloop's queues are not Python lists, and cannot be cleared: cancel the handles")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"everloop's queues are not Python lists, and have no {name!r}: use the loop's methods")


def _refuse_items(queue: Any, name: str) -> None:
    if len(queue):
        raise NotImplementedError(
            f"everloop's queues are not Python lists, and {name} cannot be replaced: use the loop's methods"
        )
