"""LoopThread: an event loop on a thread of its own, for synchronous code that needs coroutines."""

import asyncio
import atexit
import contextlib
import contextvars
import itertools
import os
import sys
import threading
from asyncio import events
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Literal, Self

from ... import _native
from ...contexts import loop_of_context
from ...loop import EventLoop
from ...real_threads import new_lock, new_thread
from ..deadlocks.waiting import DeadlockError
from ..functions import check_awaitable, close_coroutine, wrong_loop
from .blocking import blocking
from .loop_future import ExitOfCoroutine, LoopFuture, run_on, submit_to, through

__all__ = ["LoopThread"]

EXIT_PATIENCE = 2.0  # seconds that the interpreter's end waits for the clean-up of threads that nobody has closed

_numbers = itertools.count(1)
# The LoopThreads whose thread runs, and those that a forked child has inherited without their thread.
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
        rescue: True if blocked steps are put aside while others go on, "all" if those that compute are divided, too.
            None: as `EVERLOOP_RESCUE` says.
        debug: Debug mode, as in asyncio. None: as `PYTHONASYNCIODEBUG` says.

    Example:
        >>> import asyncio, everloop
        >>> with everloop.LoopThread() as portal:
        ...     future = portal.submit(asyncio.sleep(0.01, "later"))
        ...     portal.run(asyncio.sleep(0, "now")), future.result()
        ('now', 'later')
    """

    def __init__(
        self, *, name: str | None = None, rescue: bool | Literal["all"] | None = None, debug: bool | None = None
    ) -> None:
        self._name = name if name is not None else f"everloop-thread-{next(_numbers)}"
        self._rescue = rescue
        self._debug = debug
        self._closed = False
        # The only entry is the life of this object, from its first use on. A dictionary, as `setdefault` is one step.
        self._lives: dict[None, _Life] = {}

    # ---- its life

    def start(self) -> Self:
        """Starts the thread, unless it runs, and returns this object once its loop runs.

        Raises:
            RuntimeError: it was closed.
        """
        life = self._begin()
        if not life.loop.is_running():
            submit_to(life.loop, _nothing()).result()
        return self

    def close(self) -> None:
        """Ends the loop: cancels what still runs, waits for its clean-up and for the thread. Again: of no effect.

        Raises:
            DeadlockError: called from a coroutine of this very loop, or from a function that this loop has put on a
                thread: it would have to wait for itself.
        """
        life = self._life
        if life is not None:
            job = _native.current_job()
            if life.loop in (events._get_running_loop(), getattr(job, "loop", None)):
                raise DeadlockError(
                    f"{self!r} cannot be closed by its own coroutine, nor by a function that this waits for; close it "
                    "from another thread, or begin its end with close_nowait()"
                )
        self.close_nowait()
        if life is not None and not sys.is_finalizing():  # no thread goes on any more then
            with blocking():
                life.wait_ended()

    def close_nowait(self) -> None:
        """Begins to end the loop, and does not wait: for finalizers, which run anywhere."""
        self._closed = True
        if self._life is not None:
            self._life.begin_end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._life is not None else "not started"
        return f"<everloop.LoopThread {self._name!r} {state}>"

    @property
    def loop(self) -> EventLoop:
        """The loop; started if need be. Other threads may use its `call_soon_threadsafe`, and little else."""
        self.start()
        return self._begin().loop

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
        check_awaitable("submit", awaitable)
        try:
            life = self._begin()
            future: LoopFuture[T] = LoopFuture(life.loop)
            life.futures.add(future)
            submit_to(life.loop, awaitable, future, _keep_exits)
        except BaseException as error:
            close_coroutine(awaitable)
            if type(error) is RuntimeError and self._closed:  # it was closed meanwhile
                raise self._refusal() from None
            raise
        future.add_done_callback(life.futures.discard)
        future.add_done_callback(lambda _: close_coroutine(awaitable))  # cancelled before it began
        return future

    def run[T](self, awaitable: Awaitable[T], timeout: float | None = None) -> T:
        """Has the loop run a coroutine, and waits for it.

        From a step of this loop it is `block_on()`: the step goes aside. A step of another everloop goes aside as well;
        a step of any other loop, a notebook's for instance, stands still as long as it waits.

        Args:
            awaitable: A coroutine, or any object with `__await__`.
            timeout: The time to wait, in seconds; None for as long as it takes.

        Returns:
            The result of the awaitable.

        Raises:
            TimeoutError: the time was up. The coroutine was cancelled, and has finished its clean-up.
            DeadlockError: the coroutine waits for the caller that waits here.
            TypeError: the object cannot be awaited.
            RuntimeError: the thread was closed.
            asyncio.CancelledError: the coroutine was cancelled.
        """
        if self._life is not None and events._get_running_loop() is self._life.loop:
            owner = check_awaitable("run", awaitable, timeout)
            if owner is not None and owner is not self._life.loop:
                raise wrong_loop("run", owner)
            return run_on(self._life.loop, awaitable, timeout)
        try:
            return through(self.submit(awaitable), timeout)
        except asyncio.CancelledError:
            _leave_daemon()
            raise

    # ---- the thread

    @property
    def _life(self) -> "_Life | None":
        return self._lives.get(None)

    def _begin(self) -> "_Life":
        """The life of this object, with a thread that turns its loop, or will do so at once."""
        if self._closed:
            raise self._refusal()
        life = self._life
        if life is None:
            new = _Life(self._rescue)
            life = self._lives.setdefault(None, new)
            if life is not new:  # another thread, or what has interrupted this one, was quicker
                new.loop.close()
        if life.is_unclaimed:
            _running.add(self)
            # Daemon: the interpreter's end waits for it in `_end_all`, with a bound.
            own: list[threading.Thread] = []
            thread = new_thread(self._turn, (life, own), name=self._name)
            own.append(thread)
            try:
                thread.start()
            except BaseException:
                if life.claim():
                    self._lives.pop(None)
                    _running.discard(self)
                    life.loop.close()
                    life.end()
                raise
        return life

    def _refusal(self) -> RuntimeError:
        _leave_daemon()
        return RuntimeError(f"{self!r} cannot be used any more: make another LoopThread, or close this one later")

    def _turn(self, life: "_Life", own: "list[threading.Thread]") -> None:
        """The life of the thread. Several may have been started: the first one turns the loop."""
        if not life.claim():
            return
        try:
            life.turn(self._debug, own[0])
        except BaseException:
            self._closed = True  # the program has stopped the loop itself
            raise
        finally:
            _running.discard(self)
            life.end()

    def _after_fork(self) -> None:
        """In the child: the thread is gone."""
        if self._life is not None:
            _lost_loops.append(self._life.loop)
        self._lives = {}


class _Life:
    """One loop, and the thread that turns it.

    No lock: finalizers and signal handlers use it, in the middle of anything, and would wait for their own thread. The
    loop is there before its thread is, so what is handed over need not wait for that.
    """

    def __init__(self, rescue: bool | Literal["all"] | None) -> None:
        # In a context of its own: a new loop is noted in the one that it is made in.
        self.loop = contextvars.copy_context().run(EventLoop, rescue=rescue)
        self.futures: set[LoopFuture[Any]] = set()  # not done yet
        self.thread: threading.Thread | None = None  # set by the thread itself
        self._unclaimed = [True]  # the thread that takes it out turns the loop
        self._stop = asyncio.Event()
        self._over = new_lock()  # held until the life is over
        self._over.acquire()

    @property
    def is_unclaimed(self) -> bool:
        return bool(self._unclaimed)

    def claim(self) -> bool:
        """True for one caller only: the thread that is to turn the loop."""
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False

    def turn(self, debug: bool | None, thread: threading.Thread) -> None:
        """Turns the loop until its end was begun. On its thread."""
        self.thread = thread

        def loop() -> EventLoop:
            loop_of_context.set(self.loop._reference)
            return self.loop

        with asyncio.Runner(debug=debug, loop_factory=loop) as runner:
            runner.run(self._wait_for_end())

    async def _wait_for_end(self) -> None:
        await self._stop.wait()

    def begin_end(self) -> None:
        """Tells the thread to end, behind all that was handed over before."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self._stop.set)

    def end(self) -> None:
        """The loop is closed: what was handed over too late is cancelled."""
        for future in list(self.futures):
            future._cancel_now()
        self._over.release()

    def wait_ended(self) -> None:
        with self._over:
            pass
        if self.thread is not None:
            self.thread.join()


async def _nothing() -> None: ...


async def _keep_exits[T](awaitable: Awaitable[T]) -> T:
    """Runs a coroutine. A SystemExit or KeyboardInterrupt reaches its submitter, and does not end this thread."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise ExitOfCoroutine from error


def _end_all() -> None:
    """Ends the threads that nobody has closed, at the interpreter's end, and waits for them for a bounded time."""
    _ending.set()
    portals = list(_running)
    for portal in portals:
        portal.close_nowait()
    for portal in portals:
        thread = None if portal._life is None else portal._life.thread
        if thread is not None:
            thread.join(EXIT_PATIENCE / len(portals))


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
