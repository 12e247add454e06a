"""Synchronous code in a coroutine, and coroutines from synchronous code."""

from .aiterate import aiterate
from .anyio_threads import replace_anyio_pool, restore_anyio_pool, switch_anyio_pool
from .asyncify import asyncify
from .block_on import block_on
from .blocking import blocking
from .executors import to_executor
from .interpreters import to_interpreter
from .iterate import iterate
from .limiter import Limiter
from .loop_thread import LoopThread
from .process_errors import TransferError, WorkerDiedError
from .processes import to_process
from .statistics import statistics
from .syncify import syncify
from .threads import check_cancelled, to_thread
from .threadsafe import ThreadsafeFuture as ThreadsafeFuture
from .waits import DeadlockError

__all__ = [
    "DeadlockError",
    "Limiter",
    "LoopThread",
    "TransferError",
    "WorkerDiedError",
    "aiterate",
    "asyncify",
    "block_on",
    "blocking",
    "check_cancelled",
    "iterate",
    "replace_anyio_pool",
    "restore_anyio_pool",
    "statistics",
    "switch_anyio_pool",
    "syncify",
    "to_executor",
    "to_interpreter",
    "to_process",
    "to_thread",
]
