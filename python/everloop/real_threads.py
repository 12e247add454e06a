"""Threads of the system, also where a program has replaced those of `threading`: gevent's patch puts greenlets there.

A greenlet runs on the thread that started it, when that lets it. An event loop hands to another thread the calls that
its own thread must not wait for: on a greenlet the loop would wait for itself.
"""

import _thread
import contextlib
import importlib
import os
import sys
import threading
import types
from collections.abc import Callable, Iterable
from importlib import machinery, util
from typing import Any

__all__ = ["is_replaced", "new_lock", "new_thread", "own_ident", "replaced_by", "sleeper"]


def _real() -> Any:
    """The module `_thread` as the interpreter made it."""
    if isinstance(_thread.start_new_thread, types.BuiltinFunctionType):
        module: Any = _thread
        return types.SimpleNamespace(**vars(module))
    # The module was patched before this one was imported: take another copy, in which nobody has replaced anything.
    spec = machinery.BuiltinImporter.find_spec("_thread")
    assert spec is not None, "_thread is built in"
    module = util.module_from_spec(spec)
    machinery.BuiltinImporter.exec_module(module)
    return module


_system = _real()


def new_lock() -> Any:
    """A lock of the system. Any thread may release it."""
    return _system.allocate_lock()


def own_ident() -> int:
    """Names the calling thread; `threading.get_ident()` may name a greenlet."""
    return int(_system.get_ident())


def is_replaced() -> bool:
    """True if the threads that the program starts are none of the system's."""
    # Debuggers put a function of theirs around `start_new_thread`, and what it starts is a thread all the same: whoever
    # starts something else must say, too, which one runs.
    replaced = _thread.start_new_thread is not _system.start_new_thread
    return replaced and not isinstance(_thread.get_ident, types.BuiltinFunctionType)


def replaced_by() -> str:
    """The name of the library that has replaced them, as far as it can be told."""
    return next((name for name in ("gevent", "eventlet") if name in sys.modules), "another package")


def sleeper() -> Callable[[int, float | None], object] | None:
    """Returns a function by which the main thread waits for a file, for some seconds, while its greenlets go on.

    None: the main thread waits as usual. On asyncio's own loop they go on since gevent has replaced its selector.
    """
    if not is_replaced() or "gevent" not in sys.modules or _system.get_native_id() != os.getpid():
        return None
    wait_read: Any = importlib.import_module("gevent.socket").wait_read

    def wait(fd: int, seconds: float | None) -> None:
        with contextlib.suppress(_TimeIsUp):
            wait_read(fd, seconds, _TimeIsUp())

    return wait


class _TimeIsUp(Exception):
    """gevent raises it; no error."""


def new_thread(
    target: Callable[..., object], args: Iterable[Any] = (), *, name: str, daemon: bool = True
) -> threading.Thread:
    """A thread of the system, not started yet."""
    kind: Any = _Thread if is_replaced() else threading.Thread
    thread: threading.Thread = kind(target=target, args=tuple(args), name=name, daemon=daemon)
    return thread


class _Thread:
    """As much of a `threading.Thread` as is asked for here. `threading.current_thread()` on it is another one."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...], name: str, daemon: bool) -> None:
        self.name = name
        self.daemon = daemon
        self.ident: int | None = None
        self._target: Callable[..., object] | None = target
        self._args = args
        self._over = new_lock()  # held while it runs
        self._is_started = False

    def start(self) -> None:
        self._over.acquire()
        self._is_started = True
        try:
            _system.start_new_thread(self._run, ())
        except BaseException:
            self._is_started = False
            self._over.release()
            raise

    def _run(self) -> None:
        self.ident = own_ident()
        target, args = self._target, self._args
        self._target, self._args = None, ()
        try:
            assert target is not None, "a thread is started once"
            target(*args)
        finally:
            self._is_started = False
            self._over.release()

    def is_alive(self) -> bool:
        return self._is_started

    def join(self, timeout: float | None = None) -> None:
        if self._over.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            self._over.release()

    def __repr__(self) -> str:
        return f"<everloop thread {self.name!r}>"
