"""Synchronous code in a coroutine, and coroutines from synchronous code."""

from .anyio_threads import replace_anyio_pool, restore_anyio_pool, switch_anyio_pool
from .block_on import block_on
from .blocking import blocking
from .limiter import Limiter
from .loop_thread import LoopThread
from .statistics import statistics
from .threads import check_cancelled, to_thread
from .waits import DeadlockError

__all__ = [
    "DeadlockError",
    "Limiter",
    "LoopThread",
    "block_on",
    "blocking",
    "check_cancelled",
    "replace_anyio_pool",
    "restore_anyio_pool",
    "statistics",
    "switch_anyio_pool",
    "to_thread",
]
