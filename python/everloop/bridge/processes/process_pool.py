"""ProcessPool: the processes of one loop, which are started when they are needed, kept, and ended with the loop.

| a worker is | until |
|---|---|
| starting | it says that it is ready, or ends: then the call that has waited longest fails |
| idle | a call takes it, or IDLE_SECONDS have passed, or it ends |
| busy | it answers; or it ends, or the call is cancelled |
| ending | a thread has seen its process end: only then is its slot free |

Every step of this is taken in steps of the loop. Only what waits for processes is done by the pool's own threads: the
loop's default executor may be full of calls that wait for something else.
"""

import asyncio
import atexit
import functools
import multiprocessing
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.context import BaseContext
from typing import Any

from ...loop import EventLoop
from ..futures import wait_shielded
from ..this_process import this_process
from .errors import WorkerDiedError
from .worker_main import Answer
from .worker_process import WorkerProcess, start_lock

IDLE_SECONDS = 60.0  # a worker that has nothing to do is kept for so long
GRACE_SECONDS = 1.0  # the time that a worker may take to end when it is hung up on
THREADS = 8  # more processes than this are started and ended one after the other

_pools: "weakref.WeakSet[ProcessPool]" = weakref.WeakSet()


def pool_of(loop: EventLoop) -> "ProcessPool":
    """The pool of a loop, made when it is first needed.

    Raises:
        RuntimeError: the loop was made before a fork, in the parent.
        ValueError: `loop.max_processes` is less than 1.
        TypeError: it is not an int.
    """
    pool = loop._belongings.get(ProcessPool)
    if pool is None:
        pool = loop._belongings[ProcessPool] = ProcessPool(loop)
    assert isinstance(pool, ProcessPool)
    pool.check_usable()
    return pool


class ProcessPool:
    """The worker processes of a loop."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._context = _context()
        self._lifeline, self._other_end = self._context.Pipe(duplex=False)
        self._threads = ThreadPoolExecutor(THREADS, "everloop-process")
        self._process_number = this_process.number
        self._closed = False
        # Each worker takes a slot, from before its start until its process is gone.
        self._workers: set[WorkerProcess] = set()
        # The worker that was used last is at the end, and is used first: the others may retire.
        self._idle: list[WorkerProcess] = []
        self._starting = 0
        # Calls that have no worker yet, in the order of arrival. None tells them that they will not get one.
        self._waiting: deque[asyncio.Future[WorkerProcess | None]] = deque()
        _pools.add(self)
        _close_at_exit()

    def check_usable(self) -> None:
        """Raises the errors that `pool_of` names."""
        if self._process_number != this_process.number:
            raise RuntimeError(
                "to_process() was used on this event loop before the process was forked; in the child, run a loop of "
                "its own with everloop.run()"
            )
        if not isinstance(self._limit(), int):
            raise TypeError(f"max_processes must be a whole number, or None, but is {self._loop.max_processes!r}")
        if self._limit() < 1:
            raise ValueError(f"max_processes must be at least 1, but is {self._loop.max_processes}")

    async def call(self, request: memoryview, name: str) -> Answer:
        """Has a worker answer a call.

        Raises:
            WorkerDiedError: the worker ended before it did.
            OSError: no process could be started.
            asyncio.CancelledError: the worker is gone, if the call had one.
        """
        worker = await self._acquire(name)
        try:
            waiting = worker.call(request)
            del request
            answer = await waiting
        except BaseException as error:
            ending = self._end(worker, patience=0)
            if isinstance(error, asyncio.CancelledError):  # not GeneratorExit: that may not await
                await wait_shielded(ending)
            raise
        if answer is None:
            self.check_usable()
            await wait_shielded(self._end(worker, patience=GRACE_SECONDS))
            raise WorkerDiedError(_obituary(worker, name))
        self._release(worker)
        return answer

    def statistics(self) -> dict[str, int]:
        """For `everloop.statistics`."""
        return {
            "limit": self._limit(),
            "there": len(self._workers),
            "idle": len(self._idle),
            "waiting": sum(not waiter.done() for waiter in list(self._waiting)),
        }

    def close(self) -> None:
        """Ends all processes, and waits for that. Nothing of the loop runs any more."""
        if self._closed or self._process_number != this_process.number:
            return
        self._closed = True

        # what is being started or ended comes to its end
        self._threads.shutdown(wait=True, cancel_futures=True)

        # idle ones end by themselves when they are hung up on, all at once
        for worker in self._workers:
            worker.hang_up()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.stop(0 if worker.is_busy else max(0, deadline - time.monotonic()))
        self._workers.clear()

        self._lifeline.close()
        self._other_end.close()

    def abandon(self) -> None:
        """Lets go of the processes in a forked child: they are the parent's."""
        for worker in self._workers:
            worker.abandon()
        self._lifeline.close()
        self._other_end.close()
        for waiter in self._waiting:
            if not waiter.done():
                with suppress(RuntimeError):  # debug mode, when it was another thread that forked
                    waiter.set_result(None)

    # ---- which call has which worker

    async def _acquire(self, name: str) -> WorkerProcess:
        """An idle worker, or the next one that becomes free: first come, first served."""
        worker = self._idle.pop() if self._idle else await self._wait_for_worker(name, self._waiting.append)
        while not worker.is_there():
            # It ended while it was idle, or on its way to this call, whose turn it still is.
            self._end(worker, patience=GRACE_SECONDS)
            worker = self._idle.pop() if self._idle else await self._wait_for_worker(name, self._waiting.appendleft)
        if worker.retirement is not None:
            worker.retirement.cancel()
        return worker

    async def _wait_for_worker(
        self, name: str, queue: "Callable[[asyncio.Future[WorkerProcess | None]], None]"
    ) -> WorkerProcess:
        waiter: asyncio.Future[WorkerProcess | None] = self._loop.create_future()
        queue(waiter)
        try:
            self._start_as_needed()
            worker = await waiter
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())  # given in the turn of the cancel, and not taken
            raise
        self.check_usable()
        if worker is None:
            raise WorkerDiedError(f"to_process({name}): {_STILLBORN}")
        return worker

    def _release(self, worker: WorkerProcess | None) -> None:
        """Gives a worker that is free to the next call."""
        if worker is None or self._closed:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)
        worker.retirement = self._loop.call_later(IDLE_SECONDS, self._retire, worker)

    def _fail_next(self, error: BaseException | None) -> None:
        """Fails the call that has waited longest: no worker could be started for it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if waiter.done():
                continue
            if error is None or isinstance(error, EOFError | ConnectionError):  # the fork server ended
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
            return

    # ---- beginning and end of a worker

    def _start_as_needed(self) -> None:
        while self._starting < len(self._waiting) and len(self._workers) < self._limit() and not self._closed:
            worker = WorkerProcess(self._loop, self._on_ready, self._on_lost)
            started = self._in_thread(worker.start, self._context, self._lifeline)
            self._workers.add(worker)
            self._starting += 1
            started.add_done_callback(functools.partial(self._on_started, worker))

    def _on_started(self, worker: WorkerProcess, started: "asyncio.Future[None]") -> None:
        error = started.exception() if not started.cancelled() else None
        if error is None and not self._closed:
            worker.attend()
        elif error is not None:
            self._workers.discard(worker)
            self._on_stillborn(error)

    def _on_ready(self, worker: WorkerProcess) -> None:
        self._starting -= 1
        self._release(worker)

    def _on_lost(self, worker: WorkerProcess) -> None:
        """Notes that a worker has ended while it had no call."""
        if worker in self._idle:
            self._idle.remove(worker)
        ending = self._end(worker, patience=GRACE_SECONDS)
        if not worker.is_ready:
            ending.add_done_callback(lambda _: self._on_stillborn(None))

    def _on_stillborn(self, error: BaseException | None) -> None:
        """Handles a worker that ended before it was ready: one call fails, the others get another worker."""
        self._starting -= 1
        self._fail_next(error)
        self._start_as_needed()

    def _retire(self, worker: WorkerProcess) -> None:
        self._idle.remove(worker)
        self._end(worker, patience=GRACE_SECONDS)

    def _end(self, worker: WorkerProcess, patience: float) -> "asyncio.Future[None]":
        """Has a worker ended; the future is done when its process is gone and its slot is free."""
        worker.hang_up()
        if worker.ending is None:
            if self._closed or self._process_number != this_process.number:
                worker.ending = self._loop.create_future()
                worker.ending.cancel()  # close() ends the worker, or nobody does
            else:
                worker.ending = self._in_thread(worker.stop, patience)
                worker.ending.add_done_callback(lambda _: self._on_gone(worker))
        return worker.ending

    def _on_gone(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        self._start_as_needed()

    def _in_thread(self, function: Callable[..., None], *args: Any) -> "asyncio.Future[None]":
        return self._loop.run_in_executor(self._threads, function, *args)

    def _limit(self) -> int:
        return _processors() if self._loop.max_processes is None else self._loop.max_processes


_STILLBORN = (
    "the process ended before it could begin to work; what it wrote to stderr says why. A process imports the main "
    "module of the program: what starts the program must stand under `if __name__ == '__main__':`"
)


def _obituary(worker: WorkerProcess, name: str) -> str:
    if worker.exit_code is None:
        how = "ended (its exit code is not known)"
    elif worker.exit_code < 0:
        how = f"was ended by signal {-worker.exit_code}"
    else:
        how = f"ended with exit code {worker.exit_code}"
    return (
        f"to_process({name}): its process {worker.pid} {how} before the function returned; no other call is "
        "concerned. Signal 9 that nobody sent means that memory ran out; an exit code, that something called "
        "os._exit(). Call again if the function may safely run twice"
    )


def _processors() -> int:
    """The number of processors that this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- fork and exit


def _context() -> BaseContext:
    # A forked child cannot use its parent's fork server: CPython waits for that as for a child, and gets ECHILD.
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods and not this_process.was_forked else "spawn"
    return multiprocessing.get_context(method)


def _after_fork_in_child() -> None:
    start_lock.release()
    for pool in list(_pools):
        pool.abandon()
    _pools.clear()


os.register_at_fork(before=start_lock.acquire, after_in_parent=start_lock.release, after_in_child=_after_fork_in_child)

_not_registered = [True]  # taken out by the first that registers


def _close_at_exit() -> None:
    """For loops that nobody closes. Registered after multiprocessing's own, so run before it: that would wait."""
    __import__("multiprocessing.util")
    with suppress(IndexError):
        _not_registered.pop()
        atexit.register(_close_all)


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()
