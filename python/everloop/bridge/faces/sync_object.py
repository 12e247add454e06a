"""SyncObject: an asynchronous object behind synchronous methods."""

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from ..functions import unmark
from .serial_task import Runner
from .sync_context import SyncContext
from .sync_iterator import SyncIterator

__all__ = ["SyncObject", "check_class", "wrap_class", "wrap_object"]


class SharedRunner(Runner, Protocol):
    """The runner of an object, and of the contexts and iterators that it gives."""

    def borrowed(self) -> Runner:
        """A runner on the same loop, whose `close()` leaves that open."""


NewRunner = Callable[[], SharedRunner]


class SyncObject:
    """The base of all wrappers: each method runs on the object's loop, and is waited for."""

    __slots__ = ("__weakref__", "_everloop_contexts", "_everloop_object", "_everloop_runner")

    _everloop_new_runner: ClassVar[NewRunner]  # of each class of wrappers
    _everloop_contexts: list[SyncContext]
    _everloop_object: Any
    _everloop_runner: SharedRunner

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        runner = type(self)._everloop_new_runner()
        try:
            wrapped = runner.run(_call(type(self).__wrapped__, args, kwargs))  # type: ignore[attr-defined]
        except BaseException:
            runner.close()
            raise
        _put(self, wrapped, runner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_everloop_"):
            raise AttributeError(name)  # not put in yet
        value = getattr(self._everloop_object, name)
        return _method(self, value) if getattr(value, "__self__", None) is self._everloop_object else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_everloop_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._everloop_object, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._everloop_object)})

    def __repr__(self) -> str:
        return f"<synchronous {self._everloop_object!r}>"

    def __del__(self) -> None:
        runner = getattr(self, "_everloop_runner", None)
        if runner is not None:
            runner.run_last(_nothing())


def wrap_object(thing: Any, new_runner: NewRunner) -> SyncObject:
    """A wrapper of an object that is there already."""
    wrapper_class = wrap_class(check_class(type(thing)), new_runner)
    return _wrap(wrapper_class, thing, new_runner())


def check_class(wrapped: type) -> type:
    """Refuses a class in which nothing is asynchronous."""
    functions = (getattr(value, "__func__", value) for base in wrapped.__mro__ for value in vars(base).values())
    if not any(hasattr(wrapped, name) for name in _SPECIAL) and not any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) for function in functions
    ):
        raise TypeError(f"syncify() found nothing asynchronous in {wrapped.__name__}: use it as it is")
    return wrapped


def wrap_class(wrapped: type, new_runner: NewRunner) -> type:
    """A class whose objects are wrappers of new objects of that class. Those of one class share one `new_runner`."""
    found = _classes.get(wrapped)
    if found is None:
        found = _classes[wrapped] = type(wrapped.__name__, (SyncObject,), _namespace(wrapped, new_runner))
    return found


_classes: "weakref.WeakKeyDictionary[type, type]" = weakref.WeakKeyDictionary()


def _namespace(wrapped: type, new_runner: NewRunner) -> dict[str, Any]:
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__doc__": wrapped.__doc__,
        "__module__": wrapped.__module__,
        "__qualname__": wrapped.__qualname__,
        "__wrapped__": wrapped,
        "_everloop_new_runner": staticmethod(new_runner),
    }
    for asynchronous, methods in _SPECIAL.items():
        if hasattr(wrapped, asynchronous):
            namespace.update(methods)
    for base in reversed(wrapped.__mro__[:-1]):
        for name, value in vars(base).items():
            if name in _FORWARDED:
                namespace[name] = _forward(name)
            elif isinstance(value, classmethod | staticmethod) and not name.startswith("__"):
                namespace[name] = staticmethod(_class_function(wrapped, name, new_runner))
    return namespace


# ---- making


def _wrap(wrapper_class: type, thing: Any, runner: SharedRunner) -> SyncObject:
    wrapper: SyncObject = object.__new__(wrapper_class)
    _put(wrapper, thing, runner)
    return wrapper


def _put(wrapper: SyncObject, thing: Any, runner: SharedRunner) -> None:
    wrapper._everloop_object = thing
    wrapper._everloop_runner = runner
    wrapper._everloop_contexts = []


# ---- calling


def _method(wrapper: SyncObject, method: Any) -> Any:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = wrapper._everloop_runner.run(_call(method, args, kwargs))
        return _face(result, wrapper)

    return unmark(call)


def _class_function(wrapped: type, name: str, new_runner: NewRunner) -> Any:
    """A class or static method: most of them make an object."""
    function = getattr(wrapped, name)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        runner = new_runner()
        made = None
        try:
            made = runner.run(_call(function, args, kwargs))
        finally:
            if type(made) is not wrapped:
                runner.close()
        return _wrap(wrap_class(wrapped, new_runner), made, runner) if type(made) is wrapped else made

    return call


async def _call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a function on the loop, where the synchronous methods of asynchronous objects expect to be too."""
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) and not hasattr(type(result), "__aenter__") else result


async def _nothing() -> None: ...


def _face(result: Any, wrapper: SyncObject) -> Any:
    """The synchronous face of what a method has returned."""
    if result is wrapper._everloop_object:
        return wrapper
    if hasattr(type(result), "__aenter__"):
        return SyncContext(result, wrapper._everloop_runner.borrowed)
    if hasattr(type(result), "__aiter__"):
        return SyncIterator(result, wrapper._everloop_runner.borrowed)
    return result


# ---- special methods


def _enter(self: SyncObject) -> Any:
    context = SyncContext(self._everloop_object, self._everloop_runner.borrowed)
    value = context.__enter__()
    self._everloop_contexts.append(context)
    return _face(value, self)


def _exit(self: SyncObject, *exc_info: Any) -> Any:
    return self._everloop_contexts.pop().__exit__(*exc_info)


def _iter(self: SyncObject) -> Any:
    return SyncIterator(self._everloop_object, self._everloop_runner.borrowed)


def _next(self: SyncObject) -> Any:
    try:
        return self._everloop_runner.run(_call(self._everloop_object.__anext__, (), {}))
    except StopAsyncIteration:
        raise StopIteration from None


_SPECIAL: dict[str, dict[str, Any]] = {
    "__aenter__": {"__enter__": _enter, "__exit__": _exit},
    "__aiter__": {"__iter__": _iter},
    "__anext__": {"__next__": _next},
}

_FORWARDED = {"__call__", "__contains__", "__delitem__", "__getitem__", "__len__", "__setitem__", "__str__"}


def _forward(name: str) -> Any:
    def call(self: SyncObject, *args: Any, **kwargs: Any) -> Any:
        return _method(self, getattr(self._everloop_object, name))(*args, **kwargs)

    call.__name__ = name
    return call
