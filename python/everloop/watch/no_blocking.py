"""`no_blocking()`: a gate for tests, which fails where a step has blocked."""

import time
import warnings
from types import TracebackType
from typing import Any, Self

from .. import _native
from .hook import Hook, on_block

__all__ = ["BlockingError", "no_blocking"]

# The start of a step is known to a fifth of the limit.
_EXACT = 0.8
# The watchdog has looked by then at what has just ended, unless the machine is short of processors.
_LOOK_SECONDS = 0.02

# Those that are entered: the strictest one counts for the watchdog.
_entered: list["no_blocking"] = []


class BlockingError(AssertionError):
    """A step has blocked inside `everloop.no_blocking()`.

    It is an AssertionError since what fails is a promise of the program, not the test: unittest calls that a failure,
    and no error. `records` has the record of each block, as `everloop.on_block` gives it; the message is their text.
    """

    def __init__(self, records: list[dict[str, Any]]) -> None:
        super().__init__(records)
        self.records = records

    def __str__(self) -> str:
        return "\n\n".join(record["text"] for record in self.records)


class no_blocking:  # lower case: it reads as what it does
    """Fails if a step of an everloop blocks for longer than this, in any thread, until the block is left.

    A context manager for tests, around `everloop.run()` or inside a coroutine. Steps count that were rescued, too;
    those that said so (`everloop.blocking()`, `everloop.block_on()`) do not, nor do steps of a machine that had no
    processor for them, nor the imports of a program that starts.

    Args:
        seconds: How long a step may take. The limit counts for all loops instead of `slow_callback_duration`, where
            that is longer. The start of a step is known to a fifth of it: one may fail that took four fifths.

    Raises:
        BlockingError: when the block is left. If that happens by another error, this one gets a note.
        ValueError: seconds is not a positive number.
        RuntimeError: it is entered while it is entered already.

    The trap: it sees the steps of everloops only. Under `asyncio.run` nothing ever fails.

    Example:
        >>> import time, everloop
        >>> async def main():
        ...     time.sleep(0.2)
        >>> try:
        ...     with everloop.no_blocking(0.05):
        ...         everloop.run(main())
        ... except everloop.BlockingError as error:
        ...     print(error.records[0]["call"])
        time.sleep
    """

    def __init__(self, seconds: float = 0.1) -> None:
        if not (isinstance(seconds, int | float) and seconds > 0):  # NaN is refused, too
            raise ValueError(f"no_blocking takes a positive number of seconds, not {seconds!r}")
        self._seconds = seconds
        self._hook: Hook | None = None
        self._since = 0.0
        self._found: list[dict[str, Any]] = []  # the records of blocks that count
        # By their numbers, the last records of blocks that have not ended, and when these came.
        self._open: dict[int, tuple[dict[str, Any], float]] = {}

    def __enter__(self) -> Self:
        if self._hook is not None:
            raise RuntimeError("this no_blocking() is entered already: make one for each block")
        _native.write_notes()  # of blocks before
        self._found, self._open = [], {}
        self._since = time.monotonic()
        self._hook = on_block(self._note)
        _entered.append(self)
        _set_limit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        now = time.monotonic()
        if now - self._since >= _EXACT * self._seconds:  # else nothing can have blocked for so long
            time.sleep(min(self._seconds / 4, _LOOK_SECONDS))
        _entered.remove(self)
        _set_limit()
        if not _native.write_notes():
            warnings.warn(
                "everloop.no_blocking() could not wait for all reports, since a handler of the log is stuck: a block "
                "may have been missed",
                RuntimeWarning,
                stacklevel=2,
            )
        assert self._hook is not None
        self._hook.remove()
        self._hook = None
        for record, came in list(self._open.values()):
            self._judge(record, record["seconds"] + max(now - came, 0.0), now)
        if not self._found:
            return
        blocked = BlockingError(self._found)
        if error is None:
            raise blocked
        error.add_note(f"everloop.no_blocking() has seen besides:\n{blocked}")

    def _note(self, record: dict[str, Any]) -> None:
        """A record has come, on the thread that writes reports. What blocks is judged when it has ended."""
        number, now = record["number"], time.monotonic()
        match record["state"]:
            case "blocked" | "lasts":
                self._open[number] = record, now
            case "ended" if number is None or self._open.pop(number, None) is not None:
                self._judge(record, record["seconds"], now)

    def _judge(self, record: dict[str, Any], seconds: float, now: float) -> None:
        """Keeps the record of a block that somebody is to blame for, and that was long enough since it was entered."""
        if record["level"] == "warning" and min(seconds, now - self._since) >= _EXACT * self._seconds:
            self._found.append(record)


def _set_limit() -> None:
    _native.limit_steps(min((each._seconds for each in _entered), default=None))
