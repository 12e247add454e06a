"""Places: the loop on which one synchronous caller has several coroutines run, one after the other."""

import asyncio
from asyncio import events
from collections.abc import Coroutine
from typing import Any, TypeVar

from ...loop import EventLoop
from ...real_threads import new_thread
from .block_on import block_on, loop_of_this_context, through
from .loop_future import close_coroutine, submit_to
from .loop_thread import LoopThread

__all__ = ["LoopThreadOfItsOwn", "Place", "PrivateLoop", "RunningLoop", "running_loop_here"]

T = TypeVar("T")


class RunningLoop:
    """A loop that runs elsewhere, or aside of who waits."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop

    def run[T](self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        if events._get_running_loop() is self.loop:
            return block_on(coroutine, timeout)
        if not self.loop.is_running():
            close_coroutine(coroutine)
            raise RuntimeError(
                "this cannot go on: the event loop that it began on has ended, or has stayed with the process before a "
                f"fork ({self.loop!r}); make another one here"
            )
        return through(submit_to(self.loop, coroutine), timeout)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Without waiting: for finalizers, which run anywhere. A loop that has ended has cleaned up already."""
        try:
            submit_to(self.loop, coroutine)
        except RuntimeError:
            close_coroutine(coroutine)

    def close(self) -> None:
        """It belongs to others."""


class LoopThreadOfItsOwn(RunningLoop):
    """A loop on a thread of its own, which goes on while nobody waits: for what has tasks in the background."""

    def __init__(self) -> None:
        self._thread = LoopThread()
        super().__init__(self._thread.loop)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        super().run_last(coroutine)
        self._thread.close_nowait()

    def close(self) -> None:
        self._thread.close()


class PrivateLoop:
    """A loop that turns while its owner waits, and at no other time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=EventLoop)

    def run[T](self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        if events._get_running_loop() is not None:
            close_coroutine(coroutine)
            raise RuntimeError("this began on a thread without an event loop, and cannot go on inside a running one")
        return self._runner.run(coroutine)

    def run_last(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """For finalizers: on this thread, or where a loop runs on it on another one."""
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
        self._runner.close()


Place = RunningLoop | PrivateLoop


def running_loop_here() -> RunningLoop | None:
    """The loop that runs this step, or the one that this thread was started from.

    Raises RuntimeError on the loop of others, which would stand still.
    """
    running = events._get_running_loop()
    if running is None:
        loop = loop_of_this_context()
        return RunningLoop(loop) if loop is not None and loop.is_running() else None
    if not isinstance(running, EventLoop):
        raise RuntimeError(
            f"cannot wait here: the event loop of this thread is {type(running).__name__}, which stands still as long "
            "as its step waits. Run it with everloop.run(), or use everloop.LoopThread or async code instead"
        )
    return RunningLoop(running)
