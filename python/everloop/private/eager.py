"""Tells if a task is about to begin where it is made: `asyncio.eager_task_factory`, `eager_start=True`.

Such a task asks its loop `is_running()`, and takes its first step if the answer is yes. No public name tells it from
others who ask.
"""

import asyncio
import dis
from asyncio import tasks
from types import FrameType

from .names import Name, code_of

__all__ = ["begins_task"]

PY_TASK = Name(
    "asyncio.tasks._PyTask",
    "tasks in Python, which begin where they are made",
    "a task in Python that is made on another thread, and begins there, does so beside the loop's steps",
)
_MAKES_TASKS = code_of(asyncio.BaseEventLoop.create_task)


def begins_task(loop: asyncio.AbstractEventLoop, frame: FrameType) -> bool:
    """True if a task asks the loop: one in Python, or one in C, which has no frame and is called in this one.

    Args:
        loop: The loop that is asked whether it runs.
        frame: The frame that asks.
    """
    if frame.f_code is code_of(getattr(PY_TASK.of(tasks), "__init__", None)):
        return True
    operation, argument = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 2]
    if dis.opname[operation] == "CALL" and not argument:
        return False  # `loop.is_running()`: a task has at least a coroutine
    if "eager_start" in _keywords(frame):
        return True
    # `Task(*args, **kwargs)`, or whatever else a task factory does.
    caller: FrameType | None = frame
    while caller is not None:
        if caller.f_code is _MAKES_TASKS and caller.f_locals["self"] is loop:
            return True
        caller = caller.f_back
    return False


def _keywords(frame: FrameType) -> tuple[str, ...]:
    """The names of the keyword arguments of the call that a frame is at, as far as it spells them out."""
    before = None
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset == frame.f_lasti:
            break
        before = instruction
    # KW_NAMES before a CALL up to CPython 3.12, LOAD_CONST before a CALL_KW from 3.13 on
    names = before.argval if before is not None and before.opname in ("KW_NAMES", "LOAD_CONST") else ()
    return names if isinstance(names, tuple) else ()
