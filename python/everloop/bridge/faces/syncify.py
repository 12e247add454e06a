"""`syncify()`: a synchronous face for what is asynchronous."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, overload

from ..functions import close_coroutine, is_asynchronous, unmark
from ..loops.block_on import block_on
from ..loops.loop_thread import LoopThread
from .runners import OnRunningLoop, runner_here, runner_or_private_loop
from .sync_context import SyncContext
from .sync_iterator import SyncIterator
from .sync_object import check_class, wrap_class, wrap_object

__all__ = ["syncify"]


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
    if inspect.iscoroutine(thing):
        close_coroutine(thing)
        raise TypeError(f"syncify() is for functions and objects; wait for {thing!r} with everloop.block_on()")
    if inspect.isclass(thing):
        return wrap_class(check_class(thing), _new_runner)
    if is_asynchronous(thing):

        @functools.wraps(thing)
        def twin(*args: Any, **kwargs: Any) -> Any:
            return _face_of(thing(*args, **kwargs))

        return unmark(twin)
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        name = getattr(thing, "__qualname__", repr(thing))
        raise TypeError(f"syncify() is for coroutine functions; {name}() is synchronous already: call it as it is")
    return wrap_object(thing, _new_runner)


def _face_of(result: Any) -> Any:
    """The synchronous face of what an asynchronous function has returned."""
    if hasattr(type(result), "__aenter__"):
        return SyncContext(result, _new_runner)
    if hasattr(type(result), "__aiter__"):
        return SyncIterator(result, runner_or_private_loop)
    return block_on(result)


class _OnLoopThread(OnRunningLoop):
    """Runs coroutines on a loop thread of its own, whose loop goes on between them: for what has background tasks."""

    def __init__(self) -> None:
        self._thread = LoopThread()
        super().__init__(self._thread.loop)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        super().run_last(coroutine)
        self._thread.close_nowait()

    def close(self) -> None:
        self._thread.close()


def _new_runner() -> OnRunningLoop:
    """The loop that runs here, or a loop thread for a context or object that begins where no loop is."""
    return runner_here() or _OnLoopThread()
