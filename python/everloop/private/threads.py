"""The records that modules of the standard library keep of threads and processes."""

import concurrent.futures
from typing import TYPE_CHECKING, Any

from .names import Name

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["forget_process", "threads_of"]

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
