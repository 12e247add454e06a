"""`EVERLOOP_LISTEN`: where this process can be looked into from outside. `_native` listens, on threads without the GIL.

An address that makes no sense, or that is not safe, raises when a loop is made, as what the other variables say does.
One that is taken is told of in the log, and the program goes on: its children inherit the variable, and a program must
not fail because it can not be looked into.
"""

import os

from . import _native, environment
from .log import logger

__all__ = ["begin", "check"]

# The process that has tried to listen: a forked child tries for itself.
_tried_by: int | None = None


def check() -> None:
    """Refuses what `EVERLOOP_LISTEN` and `EVERLOOP_LIVE_LIMIT` say, if it makes no sense or is not safe.

    Raises:
        ValueError: tells what is wrong, and what would be right.
    """
    text = environment.listen()
    if text is None or _tried_by == os.getpid():
        return
    environment.live_limit()
    try:
        _native.check_addresses(text)
    except ValueError as error:
        raise ValueError(_told(error)) from None


def begin() -> None:
    """Listens, if that is wanted and was not tried in this process yet: a loop begins to run."""
    global _tried_by
    text = environment.listen()
    if text is None or _tried_by == os.getpid():
        return
    _tried_by = os.getpid()
    try:
        _native.listen(text, environment.live_limit())
    except (OSError, ValueError) as error:
        logger.error("%s. The program goes on, and cannot be looked into", _told(error))
    else:
        logger.info("process %d can be looked into at %s", os.getpid(), ", ".join(_native.listens_at()))


def _told(error: Exception) -> str:
    return f"the environment variable EVERLOOP_LISTEN is {os.environ.get('EVERLOOP_LISTEN')!r}: {error}"
