"""`syncify()`: a synchronous face for what is asynchronous."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast, overload

from ..functions import is_coroutine_function
from ..loops.block_on import block_on
from ..loops.runners import LoopThreadOfItsOwn, Place, running_loop_here
from .iterate import SyncIterator
from .serial_task import Ended, OneTask

__all__ = ["SyncContext", "is_asynchronous", "synchronous", "syncify", "unmark"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def syncify[**P, T](thing: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]: ...
@overload
def syncify[**P, T](thing: Callable[P, AsyncIterator[T]]) -> Callable[P, Iterator[T]]: ...
@overload
def syncify[**P, T](thing: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, AbstractContextManager[T]]: ...
@overload
def syncify(thing: Any) -> Any: ...


def syncify(thing: Any) -> Any:
    """Gives a coroutine function, or whatever else is asynchronous, a synchronous face. A decorator too.

    Args:
        thing: A coroutine function: its synchronous twin waits as `block_on()` does. An asynchronous generator
            function: its twin returns what `iterate()` does. A function made by `@contextlib.asynccontextmanager`: its
            twin is for `with`, and enters and leaves in one task. An object, or a class: a wrapper whose methods are
            synchronous; all of them run on one loop, which goes on between the calls.

    Returns:
        The twin, with the same signature.

    Raises:
        TypeError: it is synchronous already.

    The trap: context managers and objects that began where no loop was get a thread for theirs. It ends with the
    `with`, or when the object is no longer used.

    Example:
        >>> import asyncio, everloop
        >>> @everloop.syncify
        ... async def double(number):
        ...     await asyncio.sleep(0.01)
        ...     return 2 * number
        >>> double(21)
        42
        >>> box = everloop.syncify(asyncio.Queue)(maxsize=1)
        >>> box.put("a letter")
        >>> box.get()
        'a letter'
    """
    from .sync_object import (
        check_class,
        wrap_class,
        wrap_object,
    )  # it gives the results of its methods such faces in turn

    if inspect.iscoroutine(thing):
        thing.close()  # it will not be awaited, and must not warn of that too
        raise TypeError(f"syncify() is for functions and objects; wait for {thing!r} with everloop.block_on()")
    if inspect.isclass(thing):
        return wrap_class(check_class(thing))
    if is_asynchronous(thing):

        @functools.wraps(thing)
        def twin(*args: Any, **kwargs: Any) -> Any:
            return synchronous(thing(*args, **kwargs))

        return unmark(twin)
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        name = getattr(thing, "__qualname__", repr(thing))
        raise TypeError(f"syncify() is for coroutine functions; {name}() is synchronous already: call it as it is")
    return wrap_object(thing)


def is_asynchronous(function: Any) -> bool:
    """Whether a function is known to return a coroutine, an asynchronous generator or an asynchronous context."""
    call = function if inspect.isroutine(function) or isinstance(function, functools.partial) else None
    if call is None:
        return False
    return (
        is_coroutine_function(call)
        or inspect.isasyncgenfunction(call)
        or inspect.isasyncgenfunction(inspect.unwrap(call))  # contextlib.asynccontextmanager keeps it there
    )


def synchronous(result: Any, place: Place | None = None) -> Any:
    """The synchronous face of what an asynchronous function has returned."""
    if hasattr(type(result), "__aenter__"):
        return SyncContext(result, place)
    if hasattr(type(result), "__aiter__"):
        return SyncIterator(result, place)
    return block_on(result) if place is None else place.run(_wait(result))


async def _wait(awaitable: Any) -> Any:
    return await awaitable


# What `inspect.markcoroutinefunction` leaves in the dictionary of a function. Its name is not public.
_MARKS = tuple(vars(inspect.markcoroutinefunction(lambda: None)))


def unmark(function: Callable[..., Any]) -> Callable[..., Any]:
    """What functools.wraps has copied from a coroutine function is none."""
    for mark in _MARKS:
        vars(function).pop(mark, None)
    return function


class SyncContext(AbstractContextManager[Any]):
    """A context manager whose asynchronous side is entered and left by one task."""

    def __init__(self, context: Any, place: Place | None = None) -> None:
        self._context = context
        self._place = place
        self._tasks: list[OneTask] = []  # of each `with` that is entered

    def __enter__(self) -> Any:
        task = OneTask(self._place or running_loop_here() or LoopThreadOfItsOwn())
        try:
            value = task.call(self._context.__aenter__)
        except BaseException:
            task.end()
            raise
        task.at_end(functools.partial(_leave, self._context))
        self._tasks.append(task)
        return value

    def __exit__(self, *exc_info: Any) -> bool | None:
        task = self._tasks.pop()
        try:
            return cast("bool | None", task.call(self._exit, task, exc_info))
        except Ended:
            return None  # with its loop: left by that
        finally:
            task.end()

    async def _exit(self, task: OneTask, exc_info: tuple[Any, ...]) -> Any:
        task.at_end(None)
        return await self._context.__aexit__(*exc_info)


async def _leave(context: Any, error: BaseException) -> None:
    await context.__aexit__(type(error), error, error.__traceback__)
