"""Runners: each runs the coroutines of one synchronous caller, one after the other, on one loop.

As `asyncio.Runner`, but the loop may be one that runs elsewhere already.
"""

import asyncio
from asyncio import events
from collections.abc import Coroutine
from typing import Any

from ...contexts import loop_of_this_context
from ...loop import EventLoop
from ...real_threads import new_thread
from ..functions import close_coroutine, how_to_have_everloop
from ..loops.loop_future import run_on, submit_to

__all__ = ["OnPrivateLoop", "OnRunningLoop", "runner_here", "runner_or_private_loop"]


class OnRunningLoop:
    """Runs coroutines on a loop that runs elsewhere, or goes on while the step that waits is aside."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop

    def run[T](self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine, and waits for it."""
        if events._get_running_loop() is not self.loop and not self.loop.is_running():
            close_coroutine(coroutine)
            raise RuntimeError(
                f"the event loop on which this object began to work has ended, or belongs to the parent process: "
                f"{self.loop!r}. Make a new object here"
            )
        return run_on(self.loop, coroutine, timeout)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine for a finalizer, without waiting. A loop that is closed has cleaned up already."""
        try:
            submit_to(self.loop, coroutine)
        except RuntimeError:
            close_coroutine(coroutine)

    def borrowed(self) -> "OnRunningLoop":
        """A runner on the same loop for somebody whose end must not close that."""
        return OnRunningLoop(self.loop)

    def close(self) -> None:
        """Does nothing: the loop belongs to others."""


class OnPrivateLoop:
    """Runs coroutines on a loop that turns while its owner waits, and at no other time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=EventLoop)

    def run[T](self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine on this thread."""
        if events._get_running_loop() is not None:
            close_coroutine(coroutine)
            raise RuntimeError(
                "this object began to work on a thread without an event loop, and cannot be used inside a running one: "
                "make a new object here"
            )
        return self._runner.run(coroutine)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine for a finalizer, and closes the loop: on another thread, where a loop runs on this one."""
        if events._get_running_loop() is None:
            self._run_and_close(coroutine)
        else:
            new_thread(self._run_and_close, (coroutine,), name="everloop-last", daemon=False).start()

    def _run_and_close(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            self.run(coroutine)
        finally:
            self.close()

    def close(self) -> None:
        """Closes the loop."""
        self._runner.close()


def runner_here() -> OnRunningLoop | None:
    """A runner on the loop that runs this step, or on the one that this thread was started from; None without one.

    Raises RuntimeError on a loop of others, which would stand still.
    """
    running = events._get_running_loop()
    if running is None:
        loop = loop_of_this_context()
        return OnRunningLoop(loop) if loop is not None and loop.is_running() else None
    if not isinstance(running, EventLoop):
        raise RuntimeError(
            f"cannot wait here: this thread runs another kind of event loop ({type(running).__name__}), and the wait "
            f"would stop it. {how_to_have_everloop()}, or use everloop.LoopThread, or await instead"
        )
    return OnRunningLoop(running)


def runner_or_private_loop() -> OnRunningLoop | OnPrivateLoop:
    """A runner on the loop that is here, else on one that turns while it is waited for."""
    return runner_here() or OnPrivateLoop()
