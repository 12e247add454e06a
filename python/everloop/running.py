"""`running_loop()`: the everloop that runs the caller, or why none does."""

import asyncio

from .contexts import loop_of_this_context
from .loop import EventLoop

__all__ = ["running_loop"]


def running_loop() -> EventLoop:
    """Returns the everloop that runs this code: in a coroutine, a callback, or a function that it calls on a thread.

    Raises:
        RuntimeError: none does. It says which loop there is instead, who has chosen it, and how to have everloop.

    For a program that needs everloop: called once where it starts (in a lifespan, say), it fails there, and not when a
    step blocks. To ask without an error: `isinstance(asyncio.get_running_loop(), everloop.EventLoop)`.

    Example:
        >>> import everloop
        >>> async def main():
        ...     return everloop.running_loop().rescue
        >>> everloop.run(main(), rescue=True)
        True
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        found: EventLoop | None = loop_of_this_context()
        if found is not None and found.is_running():
            return found
        raise RuntimeError(
            "no event loop runs this code: call it from a coroutine, or from a function that one calls on a thread"
        ) from None
    if isinstance(loop, EventLoop):
        return loop
    from .other_loops import told_of

    raise RuntimeError(told_of(loop))
