"""AsyncObject: a synchronous object behind coroutine functions, all on one thread."""

import functools
import weakref
from collections.abc import AsyncIterator, Generator
from typing import Any, Self

from .async_context import AsyncContext
from .serial_thread import SerialThread

__all__ = ["AsyncObject", "wrap_class", "wrap_object"]


class AsyncObject:
    """The base of all wrappers. The object itself is made at the first call, or by `await`."""

    __slots__ = ("__weakref__", "_everloop_contexts", "_everloop_make", "_everloop_object", "_everloop_thread")

    _everloop_contexts: list[AsyncContext]
    _everloop_make: Any  # None once the object is made; on the thread
    _everloop_object: Any
    _everloop_thread: SerialThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _put(self, SerialThread(), functools.partial(type(self).__wrapped__, *args, **kwargs))  # type: ignore[attr-defined]

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._everloop_thread.call(_object, self).__await__()
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_everloop_"):
            raise AttributeError(name)  # not put in yet
        wrapped = type(self).__wrapped__  # type: ignore[attr-defined]
        if not hasattr(wrapped, name):
            return getattr(_made(self, name), name)
        if not callable(getattr(wrapped, name)):
            return getattr(_made(self, name), name)

        @functools.wraps(getattr(wrapped, name))
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await _call(self, name, *args, **kwargs)

        return call

    def __repr__(self) -> str:
        if self._everloop_make is not None:
            return f"<asynchronous {type(self).__name__}, not made yet>"
        return f"<asynchronous {self._everloop_object!r}>"


def wrap_object(thing: Any) -> AsyncObject:
    """A wrapper of an object that is there already."""
    return _wrap(thing, SerialThread())


def wrap_class(wrapped: type) -> type:
    """A class whose objects are wrappers of new objects of that class."""
    found = _classes.get(wrapped)
    if found is None:
        namespace: dict[str, Any] = {
            "__slots__": (),
            "__doc__": wrapped.__doc__,
            "__module__": wrapped.__module__,
            "__qualname__": wrapped.__qualname__,
            "__wrapped__": wrapped,
        }
        for synchronous, methods in _SPECIAL.items():
            # Not hasattr: each class itself can be called.
            if any(synchronous in vars(base) for base in wrapped.__mro__):
                namespace.update(methods)
        found = _classes[wrapped] = type(wrapped.__name__, (AsyncObject,), namespace)
    return found


_classes: "weakref.WeakKeyDictionary[type, type]" = weakref.WeakKeyDictionary()


# ---- making


def _wrap(thing: Any, thread: SerialThread) -> AsyncObject:
    wrapper: AsyncObject = object.__new__(wrap_class(type(thing)))
    _put(wrapper, thread, None)
    wrapper._everloop_object = thing
    return wrapper


def _put(wrapper: AsyncObject, thread: SerialThread, make: Any) -> None:
    wrapper._everloop_thread = thread
    wrapper._everloop_make = make
    wrapper._everloop_contexts = []


def _object(wrapper: AsyncObject) -> Any:
    """The object, on its thread; made if need be."""
    if wrapper._everloop_make is not None:
        wrapper._everloop_object = wrapper._everloop_make()
        wrapper._everloop_make = None
    return wrapper._everloop_object


def _made(wrapper: AsyncObject, name: str) -> Any:
    if wrapper._everloop_make is not None:
        raise AttributeError(f"{wrapper!r} has no {name!r} yet: await it first, which makes the object")
    return wrapper._everloop_object


# ---- calling


async def _call(wrapper: AsyncObject, name: str, *args: Any, **kwargs: Any) -> Any:
    def call() -> Any:
        return getattr(_object(wrapper), name)(*args, **kwargs)

    return _face(await wrapper._everloop_thread.call(call), wrapper)


def _face(result: Any, wrapper: AsyncObject) -> Any:
    """The asynchronous face of a result that is to be gone through or entered; a value stays a value."""
    if result is wrapper._everloop_object:
        return wrapper
    if hasattr(type(result), "__next__") or hasattr(type(result), "__enter__"):
        return _wrap(result, wrapper._everloop_thread)
    return result


# ---- special methods


async def _enter(self: AsyncObject) -> Any:
    context = AsyncContext(lambda: _object(self), self._everloop_thread)
    value = await context.__aenter__()
    self._everloop_contexts.append(context)
    return _face(value, self)


async def _exit(self: AsyncObject, *exc_info: Any) -> Any:
    return await self._everloop_contexts.pop().__aexit__(*exc_info)


def _iter(self: AsyncObject) -> AsyncIterator[Any]:
    return _items(self)


_BLOCK = 64  # items for each change of threads


async def _items(self: AsyncObject) -> AsyncIterator[Any]:
    """All items; a block of them is taken at once, and what raises behind some items raises behind them."""
    iterator = await self._everloop_thread.call(lambda: iter(_object(self)))

    def take() -> tuple[list[Any], BaseException | None]:
        items: list[Any] = []
        try:
            while len(items) < _BLOCK:
                items.append(next(iterator))
        except BaseException as error:
            return items, error
        return items, None

    while True:
        items, error = await self._everloop_thread.call(take)
        for item in items:
            yield item
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error


async def _call_itself(self: AsyncObject, *args: Any, **kwargs: Any) -> Any:
    return await _call(self, "__call__", *args, **kwargs)


_SPECIAL: dict[str, dict[str, Any]] = {
    "__call__": {"__call__": _call_itself},
    "__enter__": {"__aenter__": _enter, "__aexit__": _exit},
    "__iter__": {"__aiter__": _iter},
}
