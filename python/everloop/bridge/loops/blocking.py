"""`blocking()`: a step says that it is going to block. The hand-off itself is native (`_native.Blocking`)."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ... import _native

P = ParamSpec("P")
R = TypeVar("R")


class blocking(_native.Blocking):  # lower case: it reads as what it does
    """Lets other tasks go on while this one is in a blocking call.

    A context manager, or a decorator of a function. The call stays on its own thread, in the middle of its step; the
    loop is handed to another thread until the block is left. Outside a step of a running everloop it does nothing, so
    the same function can be called from anywhere.

    Raises:
        RuntimeError: when the block is left after an `await` inside it: that ended the step.
        TypeError: for a decorated coroutine function or generator function, which run later than they are called.

    The trap: other tasks run while the block lasts, as at an `await`, and on another thread, with other thread-locals.

    Example:
        >>> import time, everloop
        >>> async def main():
        ...     with everloop.blocking():
        ...         time.sleep(0.01)
        ...     return "done"
        >>> everloop.run(main())
        'done'
    """

    __slots__ = ()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if not callable(function):
            raise TypeError(f"@everloop.blocking() decorates a function, not {type(function).__name__}")
        if (
            inspect.iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise TypeError(
                f"@everloop.blocking() decorates a function that blocks; {function.__qualname__}() would only return a "
                "coroutine or generator: use `with everloop.blocking():` around the call inside it"
            )

        @functools.wraps(function)
        def blocked(*args: P.args, **kwargs: P.kwargs) -> R:
            with blocking():
                result = function(*args, **kwargs)
            return result

        return blocked
