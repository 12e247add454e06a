"""Synchronous code in a coroutine, and coroutines from synchronous code."""

from .deadlocks.waiting import DeadlockError
from .executors.to_executor import to_executor
from .executors.to_interpreter import to_interpreter
from .faces.aiterate import aiterate
from .faces.asyncify import asyncify
from .faces.iterate import iterate
from .faces.syncify import syncify
from .loops.block_on import block_on
from .loops.blocking import blocking
from .loops.loop_thread import LoopThread
from .loops.threadsafe_future import ThreadsafeFuture as ThreadsafeFuture
from .processes.errors import TransferError, WorkerDiedError
from .processes.to_process import to_process
from .statistics import statistics
from .threads.anyio_threads import replace_anyio_pool, restore_anyio_pool, switch_anyio_pool
from .threads.limiter import Limiter
from .threads.to_thread import check_cancelled, to_thread

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
