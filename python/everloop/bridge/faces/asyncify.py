"""`asyncify()`: an asynchronous face for what is synchronous, and blocks."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, overload

from ...loop import EventLoop
from ..functions import close_coroutine, is_asynchronous, is_coroutine_function
from ..threads.to_thread import to_thread
from .aiterate import aiterate
from .async_context import AsyncContext
from .async_object import wrap_class, wrap_object

__all__ = ["asyncify"]


@overload  # the most special first: a context manager or generator is also just a result
def asyncify[**P, T](  # type: ignore[overload-overlap]
    thing: Callable[P, AbstractContextManager[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]: ...
@overload
def asyncify[**P, T](thing: Callable[P, Iterator[T]]) -> Callable[P, AsyncIterator[T]]: ...  # type: ignore[overload-overlap]
@overload
def asyncify[**P, T](thing: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def asyncify(thing: Any) -> Any: ...


def asyncify(thing: Any) -> Any:
    """Gives a function that blocks, or whatever else is synchronous, an asynchronous face. A decorator too.

    Args:
        thing: A function: its twin is a coroutine function that runs it in a thread. A generator function: its twin
            returns what `aiterate()` does. A function made by `@contextlib.contextmanager`: its twin is for
            `async with`, and enters and leaves on one thread. An object, or a class: a wrapper whose methods are
            coroutine functions; all of them run on one thread, and so does the making of the object.

    Returns:
        The twin, with the same signature. Context variables go along.

    Raises:
        TypeError: it is asynchronous already.

    The trap: what runs in a thread cannot be stopped. Cancelled, all of them wait until the thread is done with it.

    Example:
        >>> import everloop, sqlite3
        >>> async def main():
        ...     connection = await everloop.asyncify(sqlite3.Connection)(":memory:")
        ...     rows = [row async for row in await connection.execute("select 1 union select 2")]
        ...     await connection.close()
        ...     return rows
        >>> everloop.run(main())
        [(1,), (2,)]
    """
    if thing is None or isinstance(thing, int | float | str | bytes):
        raise TypeError(f"asyncify() is for functions, classes and objects that block, not {thing!r}")
    if inspect.iscoroutine(thing):
        close_coroutine(thing)
        raise TypeError(f"asyncify() is for functions that block; {thing!r} is asynchronous already: await it")
    if is_asynchronous(thing) or (not inspect.isclass(thing) and is_coroutine_function(thing)):
        name = getattr(thing, "__qualname__", repr(thing))
        raise TypeError(f"asyncify() is for functions that block; {name}() is asynchronous already: use it as it is")
    if inspect.isclass(thing):
        return wrap_class(thing)
    if inspect.isgeneratorfunction(thing):

        @functools.wraps(thing)
        def generator_twin(*args: Any, **kwargs: Any) -> Any:
            return aiterate(functools.partial(thing, *args, **kwargs))

        return generator_twin
    if inspect.isroutine(thing) and inspect.isgeneratorfunction(inspect.unwrap(thing)):
        # contextlib.contextmanager keeps it there

        @functools.wraps(thing)
        def context_twin(*args: Any, **kwargs: Any) -> Any:
            return AsyncContext(functools.partial(thing, *args, **kwargs))

        return context_twin
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):

        @functools.wraps(thing)
        async def twin(*args: Any, **kwargs: Any) -> Any:
            return await _in_thread(thing, *args, **kwargs)

        return twin
    return wrap_object(thing)


async def _in_thread[T](function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Calls a function on a thread of the loop."""
    call = functools.partial(function, *args, **kwargs)
    if isinstance(asyncio.get_running_loop(), EventLoop):
        return await to_thread(call)
    return await asyncio.to_thread(call)
