"""The event loop policy, for interpreters that still have policies (CPython 3.12 to 3.15)."""

import asyncio
import functools
import warnings
from typing import Any

from .loop import EventLoop, new_event_loop


@functools.cache
def event_loop_policy() -> type:
    """The class `everloop.EventLoopPolicy`: asyncio's own, but for the loop that it makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from CPython 3.14 on they are going
        # The platform's policy, which also knows child watchers (CPython 3.12 and 3.13).
        base: Any = getattr(asyncio, "DefaultEventLoopPolicy", None)
    if base is None:
        raise AttributeError("this Python has no event loop policies: use everloop.run or everloop.new_event_loop")

    class EventLoopPolicy(base):  # type: ignore[misc]
        """Makes everloops wherever asyncio makes loops.

        Example: `asyncio.set_event_loop_policy(everloop.EventLoopPolicy())`. Deprecated with all policies since
        CPython 3.14; prefer `everloop.run` or `asyncio.Runner(loop_factory=everloop.new_event_loop)`.
        """

        _loop_factory = EventLoop

        def new_event_loop(self) -> EventLoop:
            return new_event_loop()

    EventLoopPolicy.__module__ = "everloop"
    EventLoopPolicy.__qualname__ = "EventLoopPolicy"
    return EventLoopPolicy
