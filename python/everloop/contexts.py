"""The loop from which a context comes: contexts are copied to tasks and, by `to_thread` functions, to threads."""

import contextvars
import weakref
from typing import Any

__all__ = ["loop_of_context", "loop_of_this_context"]

# A reference to an EventLoop, whose module stands above this one. Set by the loop, read where a thread needs one.
loop_of_context: contextvars.ContextVar["weakref.ref[Any] | None"] = contextvars.ContextVar(
    "everloop_loop", default=None
)


def loop_of_this_context() -> Any:
    """The EventLoop from which the calling thread's context comes; None if there is none any more."""
    reference = loop_of_context.get()
    return reference() if reference is not None else None
