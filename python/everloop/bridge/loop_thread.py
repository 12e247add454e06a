"""LoopThread: an event loop on a thread of its own, for synchronous code that needs coroutines."""

import asyncio
import atexit
import inspect
import itertools
import os
import sys
import threading
from asyncio import events
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

from .. import _native
from ..loop import EventLoop
from .block_on import block_on, through
from .blocking import blocking
from .loop_future import ExitOfCoroutine, LoopFuture, close_coroutine, submit_to
from .waits import DeadlockError

__all__ = ["LoopThread"]

T = TypeVar("T")

EXIT_PATIENCE = 2.0  # seconds that the interpreter's end waits for the clean-up of threads that nobody has closed

_numbers = itertools.count(1)
# Those whose thread runs, and those that a forked child has inherited without their thread.
_running: "set[LoopThread]" = set()
_lost_loops: list[EventLoop] = []  # of the parent: closing or collecting them is not the child's business
_ending = threading.Event()  # set when the interpreter has begun to end


class LoopThread:
    """An event loop on a thread of its own: any thread hands it coroutines and waits for what they return.

    The thread starts when it is first needed, with `start()`, or at `with`. Its end is that of `asyncio.run`: what
    still runs is cancelled, and cleans up. A forked child gets a new thread when it next uses the object; what ran in
    the parent stays there.

    Args:
        name: The name of the thread; None for one with a number.
        rescue: Whether blocked steps are put aside while others go on. None: what `EVERLOOP_RESCUE` says.
        debug: Debug mode, as in asyncio. None: what `PYTHONASYNCIODEBUG` says.

    Example:
        >>> import asyncio, everloop
        >>> with everloop.LoopThread() as portal:
        ...     future = portal.submit(asyncio.sleep(0.01, "later"))
        ...     portal.run(asyncio.sleep(0, "now")), future.result()
        ('now', 'later')
    """

    def __init__(self, *, name: str | None = None, rescue: bool | None = None, debug: bool | None = None) -> None:
        self._name = name if name is not None else f"everloop-thread-{next(_numbers)}"
        self._rescue = rescue
        self._debug = debug
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # held to start, to submit and to begin the end: nothing is handed over too late
        self._thread: threading.Thread | None = None  # set by who starts it
        self._loop: EventLoop | None = None  # set by the thread, before it says that it is ready
        self._stop: asyncio.Event | None = None  # the same

    # ---- its life

    def start(self) -> Self:
        """Starts the thread, unless it runs, and returns this object once its loop runs.

        Raises:
            RuntimeError: it was closed.
        """
        with self._lock:
            self._start()
        return self

    def close(self) -> None:
        """Ends the loop: cancels what still runs, waits for its clean-up and for the thread. Again: of no effect.

        Raises:
            DeadlockError: called from a coroutine of this very loop, or from a function that this loop has put on a
                thread: it would have to wait for itself.
        """
        if self._loop is not None:
            job = _native.current_job()
            if self._loop in (events._get_running_loop(), getattr(job, "loop", None)):
                raise DeadlockError(
                    f"{self!r} cannot be closed by its own coroutine, nor by a function that this waits for; close it "
                    "from another thread, or begin its end with close_nowait()"
                )
        with self._lock:
            self._closed = True
            self._begin_end()
            thread = self._thread
        if thread is not None and not sys.is_finalizing():  # no thread goes on any more then
            with blocking():
                thread.join()

    def close_nowait(self) -> None:
        """Begins to end the loop, and does not wait: for finalizers, which run anywhere and take no lock."""
        self._closed = True
        self._begin_end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._thread is not None else "not started"
        return f"<everloop.LoopThread {self._name!r} {state}>"

    @property
    def loop(self) -> EventLoop:
        """The loop; started if need be. Other threads may use its `call_soon_threadsafe`, and little else."""
        self.start()
        assert self._loop is not None
        return self._loop

    # ---- its use

    def submit[T](self, awaitable: Awaitable[T]) -> LoopFuture[T]:
        """Has the loop run a coroutine, in a copy of this thread's context variables, and does not wait.

        Args:
            awaitable: A coroutine, or any object with `__await__`.

        Returns:
            concurrent.futures.Future: whose `cancel()` cancels the coroutine, and whose `result(timeout)`, when its
            time is up or Ctrl-C comes, cancels it too and waits for its clean-up before it raises.

        Raises:
            TypeError: the object cannot be awaited.
            RuntimeError: the thread was closed.

        The trap: a future that is not looked at keeps its exception to itself.

        Example:
            >>> import asyncio, everloop
            >>> with everloop.LoopThread() as portal:
            ...     futures = [portal.submit(asyncio.sleep(0.01, number)) for number in range(3)]
            ...     [future.result(timeout=5) for future in futures]
            [0, 1, 2]
        """
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"submit() needs an awaitable, not {type(awaitable).__name__}: {awaitable!r}")
        with self._lock:
            try:
                self._start()
            except BaseException:
                close_coroutine(awaitable)
                raise
            assert self._loop is not None
            future = submit_to(self._loop, _keep_exits(awaitable))
        future.add_done_callback(lambda _: close_coroutine(awaitable))  # cancelled before it began
        return future

    def run[T](self, awaitable: Awaitable[T], timeout: float | None = None) -> T:
        """Has the loop run a coroutine, and waits for it.

        From a step of this loop it is `block_on()`: the step goes aside. A step of another everloop goes aside as well;
        a step of any other loop, a notebook's for instance, stands still as long as it waits.

        Args:
            awaitable: A coroutine, or any object with `__await__`.
            timeout: How long to wait, in seconds; None for as long as it takes.

        Returns:
            What the awaitable returns.

        Raises:
            TimeoutError: the time was up. The coroutine was cancelled, and has finished its clean-up.
            DeadlockError: the coroutine waits for who waits here.
            TypeError: the object cannot be awaited.
            RuntimeError: the thread was closed.
            asyncio.CancelledError: the coroutine was cancelled.
        """
        if self._loop is not None and events._get_running_loop() is self._loop:
            return block_on(awaitable, timeout)
        try:
            return through(self.submit(awaitable), timeout)
        except asyncio.CancelledError:
            _leave_daemon()
            raise

    # ---- the thread

    def _start(self) -> None:
        if self._closed:
            _leave_daemon()
            raise RuntimeError(f"{self!r} cannot be used any more: make another LoopThread, or close this one later")
        if self._thread is not None:
            return
        ready = threading.Event()
        failures: list[BaseException] = []
        # Daemon: the interpreter's end waits for it in `_end_all`, with a bound.
        self._thread = threading.Thread(target=self._turn, args=(ready, failures), name=self._name, daemon=True)
        _running.add(self)
        try:
            self._thread.start()
        except RuntimeError:  # there is none to be had
            _running.discard(self)
            self._thread = None
            raise
        ready.wait()
        if failures:
            self._thread.join()
            self._thread = None
            raise failures[0]

    def _turn(self, ready: threading.Event, failures: list[BaseException]) -> None:
        """The life of the thread."""

        async def serve() -> None:
            self._stop = asyncio.Event()
            self._loop = loop
            ready.set()
            await self._stop.wait()

        try:
            with asyncio.Runner(debug=self._debug, loop_factory=lambda: EventLoop(rescue=self._rescue)) as runner:
                loop: Any = runner.get_loop()
                runner.run(serve())
        except BaseException as error:
            if ready.is_set():  # somebody has stopped the loop itself
                self._closed = True
                raise
            failures.append(error)
        finally:
            _running.discard(self)
            ready.set()

    def _begin_end(self) -> None:
        """Tells the thread to end, behind all that was submitted before."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def _after_fork(self) -> None:
        """In the child: the thread is gone."""
        if self._loop is not None:
            _lost_loops.append(self._loop)
        self._reset()


async def _keep_exits[T](awaitable: Awaitable[T]) -> T:
    """What ends a program ends neither this thread nor what else runs on it: it reaches the one who asked."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise ExitOfCoroutine from error


def _end_all() -> None:
    """At the interpreter's end: those that nobody has closed end too, if they do it soon."""
    _ending.set()
    portals = list(_running)
    for portal in portals:
        portal.close_nowait()
    for portal in portals:
        if portal._thread is not None:
            portal._thread.join(EXIT_PATIENCE / len(portals))


def _leave_daemon() -> None:
    """At the interpreter's end a daemon thread that still needs a loop ends: nobody is to read a traceback of that."""
    if _ending.is_set() and threading.current_thread().daemon:
        raise SystemExit


def _after_fork_in_child() -> None:
    for portal in list(_running):
        portal._after_fork()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_end_all)
