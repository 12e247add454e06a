"""A thread that waits in the bridge lends its slot of the pool and the contexts of its step to others."""

import contextlib
import time
from collections.abc import Iterator

from ... import _native

__all__ = ["lent"]

LONGEST_PAUSE = 0.005  # seconds between two looks whether a context is free


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """`with lent():` this thread only waits. The call that it waits for may use its slot, and its step's contexts."""
    left = _native.leave_contexts()
    job = _native.lend_slot()
    try:
        yield
    finally:
        if job is not None:
            _native.reclaim_slot(job)
        pause = 0.0001
        while left is not None and not left.enter():
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
