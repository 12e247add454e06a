"""Operations: what the tasks of a program do.

An operation is a coroutine function that gets a `Step` (running.py). It uses some part of asyncio, blocks now and then
with `step.block()`, and returns what is the same on every loop and in every run: never what depends on the order of
tasks, nor on time. It waits for all that it has started.
"""

import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any


class Expected(Exception):
    """Raised by operations, and caught by them."""


@dataclasses.dataclass(frozen=True)
class Kind:
    function: Callable[[Any], Coroutine[Any, Any, object]]
    weight: int  # how often it is chosen
    most_bodies: int  # how many bodies it takes at most; one at least, unless none


OPERATIONS: dict[str, Kind] = {}


def operation(weight=2, bodies=0):
    """Add a function to the operations."""

    def add(function):
        assert function.__name__ not in OPERATIONS, function.__name__
        OPERATIONS[function.__name__] = Kind(function, weight, bodies)
        return function

    return add


from . import callbacks, cancels, generators, streams, sync, tasks, threads  # noqa: E402, F401 (each adds its own)
