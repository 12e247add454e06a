"""`on_block()`: functions of the program that are told of each block."""

import contextlib
import copy
import inspect
from collections.abc import Callable
from typing import Any, Self

from ..log import logger

__all__ = ["Hook", "call_all", "is_wanted", "on_block"]

# Appended to, and removed from, by any thread; the thread that writes reports goes through a copy.
_hooks: list["Hook"] = []


class Hook:
    """A function that is told of blocks, until `remove()`; as a context manager, until its end."""

    def __init__(self, callback: Callable[[dict[str, Any]], object]) -> None:
        self._callback = callback
        self._has_failed = False

    def remove(self) -> None:
        """Ends it: the function is told of nothing more. To remove it twice does nothing."""
        with contextlib.suppress(ValueError):  # another thread may do the same
            _hooks.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<everloop.on_block({self._callback!r}){'' if self in _hooks else ' removed'}>"

    def _call(self, record: dict[str, Any]) -> None:
        try:
            self._callback(record)
        except BaseException:
            if not self._has_failed:
                self._has_failed = True
                logger.exception(
                    "a function that was given to everloop.on_block failed, and is told of blocks all the same; its "
                    "next errors are not logged: %r",
                    self._callback,
                )


def on_block(callback: Callable[[dict[str, Any]], object]) -> Hook:
    """Has a function called with the record of each block, those among them that the log does not get.

    Args:
        callback: Takes the record: a dictionary of its own, which can be written as JSON. It is called on the thread
            that writes reports, one record after the other: when a step has blocked for too long (`state` is
            "blocked"), after 1, 10 and 60 seconds ("lasts"), when that has ended ("ended"), and for a deadlock
            ("deadlock").

    Returns:
        What ends it: its method `remove()`, or the end of a `with` block.

    Raises:
        TypeError: the callback cannot be called, or is a coroutine function, which nobody would await.

    The trap: the next report waits for the function. A slow one costs reports, a thousand of which may wait, but never
    holds a loop up. An error of it is logged once.

    Example:
        >>> import time, everloop
        >>> async def main():
        ...     time.sleep(0.2)
        >>> with everloop.on_block(lambda record: print(record["state"], record["call"], record["cause"]["kind"])):
        ...     everloop.run(main())  # doctest: +ELLIPSIS
        blocked time.sleep ...
        ended time.sleep ...
    """
    if not callable(callback):
        raise TypeError(f"on_block takes a function, not {type(callback).__name__}")
    if inspect.iscoroutinefunction(callback):
        raise TypeError(
            f"on_block takes a function that is called on a thread: {callback.__qualname__}() is a coroutine"
        )
    hook = Hook(callback)
    _hooks.append(hook)
    return hook


def is_wanted() -> bool:
    """True if anybody wants to be told."""
    return bool(_hooks)


def call_all(record: dict[str, Any]) -> None:
    """Tells all of them."""
    for hook in tuple(_hooks):
        hook._call(copy.deepcopy(record))
