"""A call that is to be made elsewhere, on a thread or in a process: what is refused at once, and its name."""

import functools
import inspect
from asyncio import events

from .. import _native
from ..loop import EventLoop

__all__ = ["check_function", "is_coroutine_function", "loop_for", "name_of", "running_loop"]


def loop_for(caller: str, function: object) -> EventLoop:
    """The everloop that runs here, for a call of this function elsewhere; both are looked at."""
    loop = running_loop(caller)
    check_function(caller, function)
    return loop


def check_function(caller: str, function: object) -> None:
    """A function that is to be called elsewhere is callable, and does not only make a coroutine."""
    if _native.is_plain_function(function):
        return  # most are, and need no search
    if not callable(function):
        if inspect.iscoroutine(function):
            function.close()  # it will not be awaited, and must not warn of that too
        raise TypeError(
            f"everloop.{caller}() needs a function and, after it, its arguments, not {type(function).__name__}: "
            f"{function!r}"
        )
    if is_coroutine_function(function):
        raise TypeError(
            f"everloop.{caller}() calls functions that block; {name_of(function)}() would only return a coroutine: "
            "await it here, or hand over a function that runs it with everloop.run()"
        )


def is_coroutine_function(function: object) -> bool:
    """Whether a call of this would only make a coroutine: partials and objects with such a `__call__` too."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def name_of(function: object) -> str:
    """What a message calls it."""
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__qualname__", None) or repr(function)


def running_loop(caller: str) -> EventLoop:
    """The everloop that runs here."""
    loop = events._get_running_loop()
    if isinstance(loop, EventLoop):
        return loop
    if loop is None:
        raise RuntimeError(
            f"everloop.{caller}() is for coroutines: no event loop is running here. Call the function itself"
        )
    raise RuntimeError(
        f"everloop.{caller}() needs an everloop, but the event loop here is {type(loop).__name__}: run it with "
        "everloop.run(), or use asyncio's own functions"
    )
