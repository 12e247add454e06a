"""A clock that jumps, for tests: while a loop has nothing to do, its time moves on to the next timer at once."""

import select
import time
import weakref
from types import TracebackType
from typing import Any, Self

__all__ = ["autojump", "clock_of_run"]

# Those that are entered; the latest one counts.
_entered: list["autojump"] = []
# Of loops that have begun to run by then.
_clocks: "weakref.WeakKeyDictionary[Any, Clock]" = weakref.WeakKeyDictionary()


class autojump:  # lower case: it reads as what it does
    """Lets the time of everloops jump: `asyncio.sleep(3600)` is over at once, and time-outs too.

    A context manager for tests, around `everloop.run()`. A loop that begins to run while it is entered has a clock
    (`loop.time()`) that goes as ever while there is something to do, and jumps to the next timer when there is not. It
    keeps that clock until it is closed.

    Args:
        threshold: For how many real seconds a loop must have had nothing to do. What other processes and machines do
            takes real time: a test that waits for them wants some milliseconds.

    Raises:
        ValueError: threshold is negative, or no number.

    The trap: nothing but `loop.time()` jumps, so `time.monotonic()` does not. While a call runs on the loop's own
    threads, or a step is aside, time goes as ever.

    Example:
        >>> import asyncio, everloop
        >>> from everloop.autojump import autojump
        >>> async def main():
        ...     loop = asyncio.get_running_loop()
        ...     begin = loop.time()
        ...     await asyncio.sleep(3600)
        ...     return round(loop.time() - begin)
        >>> with autojump():
        ...     everloop.run(main())
        3600
    """

    def __init__(self, threshold: float = 0.0) -> None:
        if not (isinstance(threshold, int | float) and threshold >= 0):  # NaN is refused, too
            raise ValueError(f"autojump takes a number of seconds, not {threshold!r}")
        self.threshold = threshold

    def __enter__(self) -> Self:
        _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _entered.remove(self)


class Clock:
    """The clock of one loop, and the way in which it sleeps."""

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)
        self._jumped = 0.0

    def time(self) -> float:
        """The time of the loop."""
        return time.monotonic() + self._jumped

    def wait(self, fd: int, seconds: float | None) -> None:
        """Waits until the file is ready, for so many seconds of the loop's time; None: until then."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        threshold = _entered[-1].threshold if _entered else None
        if seconds is None or threshold is None or self._is_busy():
            poll.poll(None if seconds is None else seconds * 1000)
            return
        begin = time.monotonic()
        if not poll.poll(min(threshold, seconds) * 1000):
            # Not by what is over already.
            self._jumped += max(0.0, seconds - (time.monotonic() - begin))

    def _is_busy(self) -> bool:
        """True if a thread of the loop does something that it could wait for."""
        loop = self._loop()
        assert loop is not None, "it runs"
        pool = loop._own_pool
        threads, idle, _, _, queued = (0, 0, 0, 0, 0) if pool is None else pool._numbers()
        return bool(threads > idle or queued or loop.statistics()["aside"])


def clock_of_run(loop: Any) -> Clock | None:
    """The clock that jumps of a loop that begins to run on this thread; None: it has none, and is to get none."""
    clock = _clocks.get(loop) if _clocks else None
    if clock is None and _entered:
        clock = _clocks[loop] = Clock(loop)
        loop.time = clock.time
    return clock
