"""The records that modules of the standard library keep of threads and processes."""

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

from .names import Name

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["forget_process", "name_of_thread", "threads_of"]

CHILDREN = Name(
    "multiprocessing.process._children",
    "processes that are joined at exit",
    "a forked child may wait at its exit for processes of its parent",
)


def forget_process(child: "BaseProcess") -> None:
    """In a forked child: this process is the parent's, and neither joined at exit nor asked how it has ended."""
    from multiprocessing import process  # most programs do without

    CHILDREN.of(process, set()).discard(child)


MANAGER = Name(
    "concurrent.futures.ProcessPoolExecutor._executor_manager_thread",
    "whether a fork has left its threads behind",
    "calls to an executor of processes that a forked child has inherited wait for ever",
)
THREADS = Name(
    "concurrent.futures.ThreadPoolExecutor._threads",
    "the threads of an executor",
    "deadlocks of full executors are not detected, and calls to one that a forked child has inherited wait for ever",
)


def threads_of(executor: concurrent.futures.Executor) -> list[Any]:
    """The threads that run the calls of an executor of the standard library, as far as it has started them."""
    if isinstance(executor, concurrent.futures.ThreadPoolExecutor):
        return list(THREADS.of(executor, ()))
    if isinstance(executor, concurrent.futures.ProcessPoolExecutor):
        manager = MANAGER.of(executor)
        return [] if manager is None else [manager]
    return []


DANGLING = Name(
    "threading._dangling",
    "threads that have ended, and that somebody still refers to",
    "a report names a thread that ended before it was written by the kernel's number",
)


def name_of_thread(number: int) -> str | None:
    """The name of the thread of this native id, if it runs, or has ended and somebody still refers to it."""
    for threads in (threading.enumerate, lambda: list(DANGLING.of(threading, ()))):
        for thread in threads():
            if thread.native_id == number:
                return str(thread.name)
    return None
