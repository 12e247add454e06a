"""The command's effect on a process, and on those that it starts: asyncio makes everloops there."""

import asyncio
import warnings
from asyncio import events
from collections.abc import Callable
from typing import Any

from . import other_loops
from .loop import new_event_loop
from .policy import event_loop_policy
from .private.processes import hand_to_children

__all__ = ["take_over"]


def take_over(tells: bool = False) -> "Takeover":
    """Has asyncio make everloops in this process, and in those that multiprocessing starts from it, by any method.

    The program may still choose another loop. It is told if that is what it does; `tells`: also if it does not.
    """
    make_everloops()
    other_loops.watch(tells)
    return Takeover(tells)


class Takeover:
    """Sent to a process that is spawned, where it does the same. One that is forked has it already."""

    def __init__(self, tells: bool) -> None:
        self._tells = tells
        hand_to_children("everloop", self)

    def __reduce__(self) -> tuple[Callable[[bool], "Takeover"], tuple[bool]]:
        return take_over, (self._tells,)


def make_everloops() -> None:
    """Makes everloop the loop that asyncio makes where nobody asks for another one."""
    try:
        policy = event_loop_policy()
    except AttributeError:
        # No policies (CPython 3.16): asyncio.run and asyncio.Runner call this.
        module: Any = events
        asyncio.new_event_loop = module.new_event_loop = new_event_loop
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies are leaving
        asyncio.set_event_loop_policy(policy())
