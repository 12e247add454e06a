"""A thread of the pool that waits in the bridge lends its place to another call."""

import contextlib
from collections.abc import Iterator

from .. import _native

__all__ = ["lent"]


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """`with lent():` this thread only waits. What it waits for may need its slot, or the token of its limiter."""
    job = _native.lend()
    try:
        yield
    finally:
        if job is not None:
            _native.take_back(job)
