"""The message of a DeadlockError: each member of the cycle, for whom it waits, and at which lines."""

import asyncio
import concurrent.futures
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from ...pool import call_of
from ...pool import describe as describe_function

__all__ = ["describe", "tell"]

Node = Any

STACK_DEPTH = 8  # frames shown of each member of a cycle


def tell(cycle: list[Node], frames_of: Callable[[Node], Iterable[FrameType]]) -> str:
    """The text. `frames_of` gives the frames in which a node waits, the innermost first."""
    lines = [f"a wait that would never end: {describe(cycle[0])} waits for itself"]
    for node, next_node in itertools.pairwise(cycle):
        lines.append(f"  {describe(node)} waits for {describe(next_node)}")
        lines += _places(frames_of(node))
        for other in node._holding() if hasattr(node, "_holding") else ():
            if other is not next_node:
                lines += [f"  and for {describe(other)}", *_places(frames_of(other))]
    return "\n".join(lines)


def describe(node: Node) -> str:
    """The name of a node, for the reader of the message."""
    if isinstance(node, int):
        name = next((thread.name for thread in threading.enumerate() if thread.ident == node), node)
        return f"thread {name!r}"
    if hasattr(node, "_holding"):
        return f"{node!r}, {node._all_wait}"
    if isinstance(node, asyncio.AbstractEventLoop):
        return f"{node!r}, which stands still meanwhile,"
    if isinstance(node, asyncio.Task):
        coroutine: Any = node.get_coro()
        return f"task {node.get_name()!r} ({getattr(coroutine, '__qualname__', type(coroutine).__name__)})"
    if isinstance(node, concurrent.futures.Future):
        return f"{type(node).__name__} at {id(node):#x}"
    call = call_of(node)
    if call is not None:
        return f"the call of {describe_function(call[1].function)}"
    return f"{type(node).__name__} {id(node):#x}"


def _places(frames: Iterable[FrameType]) -> list[str]:
    """The lines of frames: those of the program, if there are any."""
    frames = list(frames)
    shown = [frame for frame in frames if not _is_machinery(frame.f_code.co_filename)] or frames
    return [
        f"    at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in shown[:STACK_DEPTH]
    ]


_BRIDGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MACHINERY = tuple(
    os.path.join(folder, "")
    for folder in (_BRIDGE, os.path.dirname(asyncio.__file__), os.path.dirname(concurrent.futures.__file__))
)


def _is_machinery(filename: str) -> bool:
    """True if a file is ours, asyncio's or that of threads and their futures."""
    return filename.startswith(_MACHINERY) or filename == threading.__file__
