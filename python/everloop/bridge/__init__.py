"""Synchronous code in a coroutine, and coroutines from synchronous code."""

from .block_on import DeadlockError, block_on
from .blocking import blocking

__all__ = ["DeadlockError", "block_on", "blocking"]
