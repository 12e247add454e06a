"""ThreadPool: the default executor of an everloop, on native queues."""

import asyncio
import concurrent.futures
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from . import _native
from .log import logger
from .real_threads import new_thread

__all__ = ["ThreadPool"]

P = ParamSpec("P")
T = TypeVar("T")

_pools: "weakref.WeakSet[ThreadPool]" = weakref.WeakSet()

# The program's own executor that a loop's future waits for. Written by the loop, read by the wait graph.
_executors: "weakref.WeakKeyDictionary[Any, weakref.ref[Any]]" = weakref.WeakKeyDictionary()


class ThreadPool(_native.PoolCore, concurrent.futures.Executor):
    """Threads for calls that would block the loop.

    Args:
        slots: The number of jobs that run at once.
        thread_name_prefix: The threads are called that, an underscore and a number.
    """

    def __init__(self, slots: int, thread_name_prefix: str = "asyncio") -> None:
        super().__init__()
        self._prefix = thread_name_prefix
        # The threads by number. Written by whoever starts a thread, and by the thread that ends.
        self._threads: dict[int, threading.Thread] = {}
        # The native half of each thread, which knows its job. Written by the thread.
        self._workers: dict[int, _native.Worker] = {}
        # True once a thread that is no daemon has waited for these, or was interrupted while it waited.
        self._was_joined = False
        _pools.add(self)

    def run(self, loop: Any, function: Callable[..., T], args: tuple[Any, ...]) -> "asyncio.Future[T]":
        """Calls function(*args) on a thread, for a loop that this pool is the default executor of."""
        future: asyncio.Future[T] = loop.create_future()
        self._queue(loop, future, function, args)
        return future

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "concurrent.futures.Future[T]":
        """As ThreadPoolExecutor.submit(): for those who have found this executor in its loop."""
        future: PoolFuture[T] = PoolFuture()
        self._queue(None, future, function, args, kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more jobs; with `wait`, until those that were queued are done.

        Args:
            wait: True to return only once the threads have ended.
            cancel_futures: True to cancel jobs that have not begun instead. Only on the thread of their loop.
        """
        for future in self._shut(cancel_futures):
            future.cancel()
        if wait:
            self._join()

    def is_idle(self) -> bool:
        """True if no thread runs anything, and nothing is queued."""
        threads, idle, _, _, queued = self._numbers()
        return threads == 0 or (threads == idle and not queued)  # without any, what is queued was withdrawn

    def jobs(self) -> "list[tuple[threading.Thread, _native.Job]]":
        """The jobs that run now, each with its thread."""
        workers = [(self._threads.get(number), worker.job) for number, worker in list(self._workers.items())]
        return [(thread, job) for thread, job in workers if thread is not None and job is not None]

    def abandon(self) -> None:
        """Has nobody wait for the jobs that still run."""
        for _, job in self.jobs():
            job.abandon()

    def _join(self) -> None:
        """Waits until no thread is left but those that nobody waits for."""
        if sys.is_finalizing():
            return  # no thread goes on any more
        if not threading.current_thread().daemon:
            self._was_joined = True
        for number, thread in list(self._threads.items()):
            worker = self._workers.get(number)
            job = worker.job if worker is not None else None
            if job is None or not job.abandoned():
                thread.join()

    def _start_thread(self, number: int) -> None:
        name = f"{self._prefix}_{number}"
        thread = new_thread(_work, (self, number), name=name)
        self._threads[number] = thread
        try:
            thread.start()
        except BaseException:
            del self._threads[number]
            raise


class PoolFuture(concurrent.futures.Future[T]):
    """A future that `submit()` returns: a thread of a pool that waits for it lends its slot meanwhile."""

    def result(self, timeout: float | None = None) -> T:
        """As that of `concurrent.futures.Future`."""
        try:
            self.exception(timeout)
            return super().result(0)
        finally:
            del self  # an exception must not keep the future that holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As that of `concurrent.futures.Future`."""
        job = None if self.done() else _native.lend_slot()
        try:
            return super().exception(timeout)
        finally:
            if job is not None:
                _native.reclaim_slot(job)


def default_slots() -> int:
    """As many as asyncio's default executor has threads."""
    cpus = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    return min(32, (cpus or 1) + 4)


def _work(pool: ThreadPool, number: int) -> None:
    """The life of a thread of the pool."""
    worker = pool._workers[number] = pool._enter(number)
    try:
        while (call := worker.next()) is not None:
            function, args, kwargs = call
            try:
                result = function(*args, **kwargs) if kwargs else function(*args)
            except BaseException as error:
                worker.finish_with(error)
            else:
                worker.finish(result)
            # Nothing of the call may live until the next one comes.
            call = function = args = kwargs = result = None  # type: ignore[assignment]
    finally:
        pool._workers.pop(number, None)
        pool._threads.pop(number, None)


def wait_at_exit() -> None:
    """Lets the threads finish that somebody still counts on, and names those that are left behind."""
    pools = list(_pools)
    for pool in pools:
        pool._shut(False)
    for pool in pools:
        if not pool._was_joined:
            pool._join()
        for thread, job in pool.jobs():
            logger.warning(
                "the program ends and does not wait for thread %s, which has been in %s for %.1f s",
                thread.name,
                describe(job.function),
                time.monotonic() - (job.since or 0.0),
            )


def note_executor(future: "asyncio.Future[Any]", executor: object) -> None:
    """This future of a loop waits for a job of that executor."""
    if isinstance(executor, concurrent.futures.ThreadPoolExecutor):
        _executors[future] = weakref.ref(executor)


def executor_of(future: object) -> "concurrent.futures.ThreadPoolExecutor | None":
    """The executor that was noted for this future."""
    reference = _executors.get(future)
    return None if reference is None else reference()


def describe(function: object) -> str:
    """The name of a function, and where it is from."""
    function = getattr(function, "func", function)  # functools.partial
    name = getattr(function, "__qualname__", None) or repr(function)
    code = getattr(function, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name


def call_of(future: object) -> "tuple[threading.Thread, _native.Job] | None":
    """The call that runs for this future, and where. O(threads)."""
    running = (call for pool in list(_pools) for call in pool.jobs())
    return next((call for call in running if call[1].future is future), None)


def all_pools() -> "Iterable[ThreadPool]":
    """The pools of this process."""
    return _pools


def forget_threads() -> None:
    """In a forked child: the threads of the pools are the parent's."""
    for pool in list(_pools):
        pool._threads.clear()
        pool._workers.clear()
