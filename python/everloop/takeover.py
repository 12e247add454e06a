"""The command's effect on a process, and on those that it starts: asyncio makes everloops there."""

import asyncio
import sys
import types
import warnings
from asyncio import events
from collections.abc import Callable
from typing import Any

from . import other_loops
from .loop import new_event_loop
from .policy import event_loop_policy
from .private.processes import hand_to_children

__all__ = ["make_everloops", "take_over"]

UVICORN_CHOICE = "uvicorn.loops.auto"


def take_over(tells: bool = False) -> "Takeover":
    """Has asyncio make everloops in this process, and in those that multiprocessing starts from it, by any method.

    The program may still choose another loop. It is told if that is what it does; `tells`: also if it does not.
    """
    make_everloops()
    choose_for_uvicorn()
    other_loops.watch(tells)
    return Takeover(tells)


class Takeover:
    """Sent to a process that is spawned, where it does the same. One that is forked has it already."""

    def __init__(self, tells: bool) -> None:
        self._tells = tells
        hand_to_children("everloop", self)

    def __reduce__(self) -> tuple[Callable[[bool], "Takeover"], tuple[bool]]:
        return take_over, (self._tells,)


def choose_for_uvicorn() -> None:
    """Has uvicorn take everloop where nobody names a loop, as by `uvicorn.run(app)`.

    Its `auto` means uvloop, or a class of asyncio's by its name, and asks nobody. This stands in for the module that it
    would import to choose. A uvicorn that has it elsewhere chooses for itself, and the program is told.
    """
    choice: Any = types.ModuleType(UVICORN_CHOICE)
    choice.auto_loop_factory = lambda use_subprocess=False: new_event_loop
    sys.modules.setdefault(UVICORN_CHOICE, choice)


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
