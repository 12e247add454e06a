"""Tells when a program that was started on everloop runs on another loop after all, why, and how to change that.

Whoever runs a loop sets the interpreter's hooks for asynchronous generators before that, asyncio as well as uvloop,
rloop and trio: so we look at who sets them. A program is told once, at the first loop of its main thread, unless an
everloop has run by then: one that has another loop besides, on whatever thread, knows what it does.
"""

import asyncio
import atexit
import contextlib
import mmap
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

from .loop import EventLoop
from .policy import event_loop_policy

__all__ = ["CHOOSERS", "explain", "told_of", "watch"]


class Chooser(NamedTuple):
    """A server or library that chooses a loop of its own."""

    module: str  # of one of its frames, or the package that has it
    why: str
    remedy: str


# The first that fits counts: servers before what they are made of.
CHOOSERS = [
    *(
        Chooser(
            module,
            "uvicorn's worker class for gunicorn has chosen it",
            "give gunicorn -k everloop.gunicorn.Worker",
        )
        for module in ("uvicorn_worker", "uvicorn.workers")
    ),
    Chooser("gunicorn.workers.gasgi", "gunicorn has chosen it", "give gunicorn -k everloop.gunicorn.AsgiWorker"),
    Chooser("hypercorn", "hypercorn was given a worker class for it", "give hypercorn --worker-class asyncio"),
    Chooser("sanic", "Sanic has chosen it", "set SANIC_USE_UVLOOP=false in the environment"),
    Chooser("granian", "granian has chosen it", "give granian --loop asyncio, or set GRANIAN_LOOP=asyncio"),
    Chooser(
        "uvicorn",
        "uvicorn has chosen it",
        'give uvicorn --loop everloop:new_event_loop, or uvicorn.run() loop="everloop:new_event_loop"',
    ),
    Chooser("taskiq", "taskiq takes uvloop where that is installed", "uninstall uvloop"),
    Chooser("uvloop", "it calls uvloop.run()", "call asyncio.run() instead"),
    Chooser("trio", "trio brings its own", "use asyncio; a program that uses anyio chooses its backend"),
]


def watch(tells: bool = False) -> None:
    """From now on, until a loop has run in this process; `tells`: a program is also told that it runs on everloop."""
    global _is_command
    _is_command = True
    watcher = _Watcher(tells)
    os.register_at_fork(after_in_child=watcher.begin)
    atexit.register(watcher.end)


# True if asyncio makes everloops in this process where nobody asks for another one.
_is_command = False


class _Watcher:
    def __init__(self, tells: bool) -> None:
        self._tells = tells
        self._set_hooks: Any = sys.set_asyncgen_hooks
        # Shared with the processes that are forked: servers have many of the same kind.
        self._is_told = mmap.mmap(-1, 1)
        self.begin()

    def begin(self) -> None:
        """In this process no loop has run yet."""
        self._runs_on_everloop = False
        self._on_other_threads: str | None = None
        sys.set_asyncgen_hooks = self.set_asyncgen_hooks

    def end(self) -> None:
        """The process ends: no loop has run but those on other threads."""
        if self._on_other_threads is not None and not self._runs_on_everloop:
            self._tell(self._on_other_threads)

    def set_asyncgen_hooks(self, *args: Any, **hooks: Any) -> None:
        """Stands in for sys.set_asyncgen_hooks."""
        self._set_hooks(*args, **hooks)
        first_iteration = args[0] if args else hooks.get("firstiter")
        if first_iteration is not None and not self._runs_on_everloop:
            self._look_at(first_iteration)

    def _look_at(self, hook: Any) -> None:
        loop = getattr(hook, "__self__", None)
        if isinstance(loop, EventLoop):
            self._runs_on_everloop = True
            if self._tells:
                _write(f"everloop: this program runs on everloop (pid {os.getpid()}).\n")
        elif isinstance(loop, asyncio.AbstractEventLoop):
            self._found(_name_of(loop))
        elif _is_part(getattr(hook, "__module__", ""), "trio"):
            self._found("trio")

    def _found(self, name: str) -> None:
        text = f"everloop: {_told(name)}.\n"
        if threading.current_thread() is threading.main_thread():
            self._tell(text)
        elif self._on_other_threads is None:
            self._on_other_threads = text

    def _tell(self, text: str) -> None:
        if self._is_told[0]:
            return
        self._is_told[0] = 1
        _write(text)


def _write(text: str) -> None:
    # Not through logging or warnings, which the program may have silenced.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def told_of(loop: asyncio.AbstractEventLoop) -> str:
    """Says of a loop that it is none of ours, why, and how to change that."""
    return _told(_name_of(loop))


def _told(name: str) -> str:
    why, remedy = explain()
    return f"this program runs on {name}, not on everloop: {why}. To run it on everloop, {remedy}"


def _name_of(loop: asyncio.AbstractEventLoop) -> str:
    kind = type(loop)
    return "asyncio's own loop" if _is_part(kind.__module__, "asyncio") else f"{kind.__module__}.{kind.__qualname__}"


def explain() -> tuple[str, str]:
    """The reason why the program runs on another loop, and the remedy."""
    modules = set(_modules_of_frames())
    for chooser in CHOOSERS:
        if any(_is_part(module, chooser.module) for module in modules):
            return chooser.why, chooser.remedy
    policy = _foreign_policy()
    if policy is not None and not _is_command and _is_part(policy, "asyncio"):
        return (
            "nobody has chosen everloop",
            "start it with `python -m everloop`, or make its loop with everloop.new_event_loop",
        )
    if policy is not None:
        return f"its event loop policy is {policy}", "leave out the call that sets that policy"
    return "it was made by name, or by a loop_factory", "make it with everloop.new_event_loop, or give no loop_factory"


def _modules_of_frames() -> Iterator[str]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back


def _foreign_policy() -> str | None:
    with contextlib.suppress(AttributeError), warnings.catch_warnings():  # from CPython 3.16 on there is none
        warnings.simplefilter("ignore", DeprecationWarning)
        kind = type(asyncio.get_event_loop_policy())
        if not issubclass(kind, event_loop_policy()):
            return f"{kind.__module__}.{kind.__qualname__}"
    return None


def _is_part(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
