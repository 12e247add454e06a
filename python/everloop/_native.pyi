"""The native half of everloop. What is public is re-exported by `everloop`."""

import asyncio
from asyncio import Future, Task
from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

class LoopCore:
    """The native half of an event loop. `everloop.EventLoop` is the other half: use that."""

    max_relief_threads: int
    rescue: bool
    rescue_after: float
    slow_callback_duration: float
    _closed: bool
    _debug: bool
    _stopping: bool
    _thread_id: int | None
    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], /, *args: *Ts, context: Context | None = None
    ) -> Handle:
        """Run callback(*args) in the next turn of the loop.

        Args:
            callback: Any callable. Callbacks run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            Handle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.

        The trap: from a thread that does not run the loop it wakes the loop, as
        call_soon_threadsafe does; other loops wait for their next wake-up.

        Example:
            >>> loop = everloop.new_event_loop()
            >>> handle = loop.call_soon(loop.stop)
            >>> loop.run_forever()
            >>> loop.close()
        """
    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], /, *args: *Ts, context: Context | None = None
    ) -> Handle:
        """Run callback(*args) in the next turn of the loop, from any thread.

        Args:
            callback: Any callable.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            Handle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed.
            TypeError: no callback, or a context that is none.
        """
    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], /, *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Run callback(*args) after a delay.

        Args:
            delay: In seconds; never early, and not rounded to milliseconds.
            callback: Any callable. Callbacks due at the same time run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            TimerHandle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.
            ValueError: the delay is NaN.
        """
    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], /, *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Run callback(*args) when loop.time() has reached a time.

        Args:
            when: In seconds of loop.time().
            callback: Any callable. Callbacks due at the same time run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            TimerHandle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.
            ValueError: the time is NaN.
        """
    def time(self) -> float:
        """The time of the loop's clock, in seconds."""
    def stop(self) -> None:
        """Stops the loop at the end of its turn. Steps that are aside in a blocking call come back first."""
    def is_running(self) -> bool:
        """Whether the loop is running."""
    def statistics(self) -> dict[str, int]:
        """What this loop has done so far and has at hand now.

        Returns:
            dict[str, int]: `steps` run; hand-offs that steps asked for (`releases`), that the watchdog made (`rescues`)
                and that were made at learned sites (`learned`); steps that are `aside` now; `relief_threads` alive; and
                the `learned_sites` of the process.
        """
    def _watch(self, fd: Any, handle: Handle, write: bool) -> None:
        """Runs the handle as long as the file is readable, or writable. An earlier handle of that file is cancelled."""
    def _after_fork(self) -> None:
        """In a forked child only the thread that forked is left; steps of other threads are gone with them."""
    def _close_core(self) -> None:
        """Throws away what is queued or watched; steps that are aside get RuntimeError when they come back."""
    def _new_handle(self, callback: Callable[..., object], *args: Any) -> Handle:
        """A handle that is not queued yet: for files."""
    def _relieve(self, name: str) -> None:
        """The life of a relief thread."""
    def _run(self, name: str) -> None:
        """Turns the loop on this thread until it is stopped."""
    def _staying(self) -> list[int]:
        """The idents of threads that cannot end with this run: their steps are aside, or tasks pinned to them."""
    def _unwatch(self, fd: int, write: bool) -> bool:
        """Forgets the handle of a file, and cancels it. False: there was none."""
    def _wait_aside(self, future: Future[Any], task: Task[Any] | None, timeout: float | None = None) -> bool:
        """Waits aside until `future` is done: True, or False after `timeout` seconds.

        Raises what a signal handler raises meanwhile, and RuntimeError where this thread does not run the loop.
        """
    def _watched(self) -> dict[int, tuple[bool, bool]]:
        """Descriptor -> (reads, writes) of everything that is watched."""
    def _write_to_self(self) -> None:
        """Wakes a loop that sleeps: asyncio's own code calls this after it has queued something."""

class Handle(asyncio.Handle):
    """A scheduled callback: what `loop.call_soon` returns.

    Not with PyO3's `freelist`: objects that come back from it are unknown to the garbage collector (PyO3 0.30).
    """
    def cancel(self) -> None:
        """Cancels the callback; of no effect if it was cancelled or run before."""
    def cancelled(self) -> bool:
        """Whether the callback was cancelled."""
    def get_context(self) -> Context:
        """The context that the callback runs in."""
    def _run(self) -> None:
        """Runs the callback now: asyncio's own code calls this of handles that it did not make."""
    def _report_exception(self, exception: BaseException) -> None:
        """What asyncio tells the exception handler."""

class TimerHandle(Handle, asyncio.TimerHandle):
    """A callback scheduled for a time: what `loop.call_later` and `loop.call_at` return."""
    def when(self) -> float:
        """The time of `loop.time()` at which the callback is due, in seconds."""

class Blocking:
    """The native half of `everloop.blocking`."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...

def after_fork() -> None:
    """In a forked child: forgets the threads that the parent has."""

def begin_exit(loops: list[LoopCore]) -> None:
    """The interpreter is about to end: the watchdog ends, and the threads of these loops come to rest."""

def claim_tool() -> bool:
    """Takes a tool id, once. False: none is free, and steps can only be reported, not rescued."""

def forget_sites() -> None:
    """Forgets every learned site: what blocks is found out anew."""

def is_in_step() -> bool:
    """Whether this thread is in the middle of a step of a running everloop, and holds its baton."""

def set_reporter(reporter: object | None) -> None:
    """Registers the object that makes the texts."""
