"""Ways to block: synchronous functions that take a while in some corner of the language or of the library.

A way is called inside a step with a `Here`. It waits for about `here.delay` seconds, calls `here.alone()` wherever it
runs Python code of its own in the middle, and returns what is the same in each run. What it starts it ends.

Not among them, because it is known not to work and belongs to other work:

- a finalizer that blocks and is run by the cyclic collector: rescue puts the step aside wherever the collector ran;
- an RLock held over an await: it belongs to a thread, and a task may change threads;
- sys.settrace: it belongs to a thread, too;
- deep recursion: while a step is aside a call of Python code takes some of the C stack;
- more blocked steps than there may be relief threads: the loop waits, as it says.
"""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Here:
    """Where a way blocks."""

    delay: float  # seconds
    alone: Callable[[], None]  # says so when another step of the loop runs at the same time


WAYS: dict[str, Callable[[Here], object]] = {}


def way(function):
    """Add a function to the ways to block."""
    assert function.__name__ not in WAYS, function.__name__
    WAYS[function.__name__] = function
    return function


from . import callbacks, code, files, generators, objects, sockets, threads  # noqa: E402, F401 (each adds its own)
