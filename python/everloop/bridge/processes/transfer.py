"""Transfers a call, and its result or exception, between processes: pickles, and the errors if they fail.

The pickler is multiprocessing's, which others have taught their types (sockets; PyTorch's tensors).
"""

import contextvars
import functools
import io
import pickle
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ...contexts import loop_of_context
from .errors import TransferError
from .worker_main import CALL_SIZE, FAILED, RETURNED, Answer, RemoteTraceback, Variable, describe


def request(function: Callable[..., Any], args: Any, kwargs: Any, name: str) -> memoryview:
    """A call as bytes: its size, then its pickle.

    Raises:
        TransferError: something of it cannot be pickled.
    """
    buffer = io.BytesIO()
    buffer.write(CALL_SIZE.pack(0))
    try:
        ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump((function, args, kwargs, _variables()))
    except Exception as error:
        raise TransferError(
            f"to_process({name}): {_culprit(function, args, kwargs)} cannot be pickled ({describe(error)}). Use a "
            "function that stands at the top of a module, and pass it plain data: what is open, locked or running "
            "stays in its process"
        ) from error
    size = buffer.tell() - CALL_SIZE.size
    buffer.seek(0)
    buffer.write(CALL_SIZE.pack(size))
    return memoryview(buffer.getvalue())  # the same bytes, not a copy


def _culprit(function: Callable[..., Any], args: Any, kwargs: Any) -> str:
    """The name of the part of a call that cannot be pickled."""
    arguments = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    arguments += [(f"argument {key!r}", value) for key, value in kwargs.items()]
    for what, value in [("the function", function), *arguments]:
        try:
            ForkingPickler.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception:
            return f"{what}, an object of type {type(value).__qualname__},"
    return "the call"


def _variables() -> list[Variable]:
    """The context variables that can go along."""
    found = []
    for variable, value in contextvars.copy_context().items():
        address = _address_of(variable) if variable is not loop_of_context else None
        if address is not None:
            try:
                found.append((*address, bytes(ForkingPickler.dumps(value, pickle.HIGHEST_PROTOCOL))))
            except Exception:
                continue
    return found


@functools.lru_cache(maxsize=1024)
def _address_of(variable: contextvars.ContextVar[Any]) -> tuple[str, str] | None:
    """The module and the global name of a context variable, which does not know them. O(globals of the program)."""
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                return module_name, name
    return None


# ---- and back


def result(answer: Answer, name: str) -> Any:
    """Returns or raises what a process has answered."""
    status, text, payload = answer
    if status == FAILED:
        raise TransferError(f"to_process({name}): {str(payload, 'utf-8')}") from RemoteTraceback(text)
    try:
        value = pickle.loads(payload)
    except Exception as error:
        raise TransferError(_not_unpickled(status, text, name, error)) from RemoteTraceback(text or describe(error))
    if status == RETURNED:
        return value
    if not isinstance(value, BaseException):
        problem = TypeError(f"it becomes {value!r}")
        raise TransferError(_not_unpickled(status, text, name, problem)) from RemoteTraceback(text)
    value.__cause__ = RemoteTraceback(text)
    try:
        raise value
    finally:
        del value  # no cycle of the exception and this frame


def _not_unpickled(status: int, text: str, name: str, error: BaseException) -> str:
    if status == RETURNED:
        what, remedy = "what it returned", "Its class must be one that this process can import"
    else:
        last_line = text.strip().rpartition("\n")[2]
        what = f"what it raised ({last_line})"
        remedy = "A class whose __init__ takes other arguments than those in its `args` needs a __reduce__ method"
    return f"to_process({name}): {what} cannot be unpickled here ({describe(error)}). {remedy}"
