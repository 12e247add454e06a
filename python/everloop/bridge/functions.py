"""Functions and awaitables that are handed to the bridge: of what kind they are, their names, and what is refused."""

import asyncio
import functools
import inspect
import sys
from asyncio import events
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from .. import _native
from ..loop import EventLoop

__all__ = [
    "check_awaitable",
    "check_function",
    "close_coroutine",
    "is_asynchronous",
    "is_coroutine_function",
    "loop_for",
    "name_of",
    "running_loop",
    "unmark",
    "wrong_loop",
]


def loop_for(caller: str, function: object) -> EventLoop:
    """The everloop that runs here, for a call of this function elsewhere. Raises where either will not do."""
    loop = running_loop(caller)
    check_function(caller, function)
    return loop


def check_function(caller: str, function: object) -> None:
    """Raises TypeError for what cannot be called elsewhere, or would only make a coroutine there."""
    if _native.is_plain_function(function):
        return  # most are, and need none of what follows
    if not callable(function):
        close_coroutine(function)
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
    """True if a call of this would only make a coroutine: also of a partial, or of an object with such a `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def is_asynchronous(function: Any) -> bool:
    """True if a function is known to return a coroutine, an asynchronous generator or an asynchronous context."""
    if not (inspect.isroutine(function) or isinstance(function, functools.partial)):
        return False
    return (
        is_coroutine_function(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isasyncgenfunction(inspect.unwrap(function))  # contextlib.asynccontextmanager keeps it there
    )


def name_of(function: object) -> str:
    """The name of a function, for a message."""
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__qualname__", None) or repr(function)


def running_loop(caller: str) -> EventLoop:
    """The everloop that runs here. RuntimeError: none does, or a loop of others."""
    loop = events._get_running_loop()
    if isinstance(loop, EventLoop):
        return loop
    if loop is None:
        raise RuntimeError(
            f"everloop.{caller}() is for coroutines: no event loop is running here. Call the function itself"
        )
    raise RuntimeError(
        f"everloop.{caller}() needs an everloop, but the event loop here is {type(loop).__name__}. "
        f"{how_to_have_everloop()}, or use asyncio's own functions"
    )


def how_to_have_everloop() -> str:
    """Says what can be done where another kind of loop runs: in a notebook nobody can run the program otherwise."""
    if "ipykernel" in sys.modules:
        return (
            "In a notebook, hand the coroutine to everloop.LoopThread().run(...), or start the kernel on everloop: "
            "python -m everloop -m ipykernel_launcher"
        )
    return "Run the program with everloop.run() or python -m everloop"


def check_awaitable(caller: str, awaitable: Any, timeout: float | None = None) -> asyncio.AbstractEventLoop | None:
    """Raises for what cannot be awaited, and for a negative time-out. Returns the loop of a future; else None."""
    is_coroutine = type(awaitable) is CoroutineType  # most are, and need no search
    if not is_coroutine and not inspect.isawaitable(awaitable):
        raise TypeError(f"{caller}() needs an awaitable, not {type(awaitable).__name__}: {awaitable!r}")
    if timeout is not None and not timeout >= 0:
        close_coroutine(awaitable)
        raise ValueError(f"timeout must not be negative, but is {timeout}")
    return awaitable.get_loop() if not is_coroutine and asyncio.isfuture(awaitable) else None


# The entries that `inspect.markcoroutinefunction` leaves in the dictionary of a function. Their name is not public.
_MARKS = tuple(vars(inspect.markcoroutinefunction(lambda: None)))


def unmark(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that functools.wraps has marked as a coroutine function, which it is not, without the mark."""
    for mark in _MARKS:
        vars(function).pop(mark, None)
    return function


def wrong_loop(caller: str, owner: asyncio.AbstractEventLoop) -> RuntimeError:
    """The error of a wait for a future that belongs to another loop than the one that waits."""
    return RuntimeError(
        f"{caller}() was given a future of another event loop ({owner!r}); hand over a coroutine to that loop with "
        "asyncio.run_coroutine_threadsafe(), and wait for what that returns inside `with everloop.blocking():`"
    )


def close_coroutine(awaitable: Any) -> None:
    """Closes a coroutine that will not be awaited, so that it does not warn of that too."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
