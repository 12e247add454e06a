"""`to_interpreter()`: a coroutine has a subinterpreter call a function.

The standard library's pool does it, with a function of ours around the user's: what goes there and what comes back are
bytes, pickled and unpickled by us, so that whatever does not pickle fails its own call and says what it was.
"""

import asyncio
import concurrent.futures
import importlib
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, cast

from ...loop import EventLoop
from ..functions import check_function, name_of
from .to_executor import outcome_of, submit_for

__all__ = ["to_interpreter"]


async def to_interpreter[**P, R](f: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls a function in a subinterpreter, which has a GIL of its own, and waits while the loop goes on.

    Each loop keeps a pool of them, made when it is first needed, at the most one for each processor, and ended when
    the loop is closed.

    Args:
        f: The function. It must pickle, or be one that uses no name from outside of itself but builtins.
        *args: Its positional arguments, which must pickle.
        **kwargs: Its keyword arguments, which must pickle.

    Returns:
        A copy of the function's result, which must pickle too.

    Raises:
        RuntimeError: CPython is older than 3.14; or the function raised an exception that cannot be pickled.
        ImportError: the function's module imports one that refuses to be loaded in a subinterpreter.
        TypeError: no function, a coroutine function, or something that cannot be pickled.
        asyncio.CancelledError: the task was cancelled. As with `to_executor`, work that has begun goes on.
        BaseException: a copy of what the function raises; its cause shows the traceback over there.

    The trap: a subinterpreter cannot import everloop, nor any other extension that is not made for it (numpy is not).
    So the function must not come from a module that imports one, nor from the program's main file. And while there are
    subinterpreters the process must not be forked: CPython crashes the child (its issue gh-139759). Closing the loop
    ends them.

    Source: PEP 734, and `concurrent.futures.InterpreterPoolExecutor`.

    Example:
        >>> import math, sys, everloop
        >>> if sys.version_info >= (3, 14):
        ...     assert everloop.run(everloop.to_interpreter(math.factorial, 5)) == 120
    """
    check_function("to_interpreter", f)
    if sys.version_info < (3, 14):
        import platform

        raise RuntimeError(
            f"everloop.to_interpreter() needs CPython 3.14 or newer, and this is {platform.python_version()}; use "
            "everloop.to_process(), or everloop.to_executor() with a ProcessPoolExecutor"
        )
    import pickle  # not with everloop itself: that starts sooner

    try:
        payload = pickle.dumps((args, kwargs))
    except Exception as error:
        raise TypeError(f"everloop.to_interpreter() cannot pickle the arguments of {name_of(f)}: {error}") from error

    interpreters: Any = importlib.import_module("concurrent.interpreters")
    pool = _interpreters_of(asyncio.get_running_loop())
    try:
        reply = await outcome_of(pool, submit_for("to_interpreter", f, pool, _call_over_there, (f, payload), {}))
    except interpreters.NotShareableError as error:
        raise _not_sent(f, error) from error
    return cast(R, _unpack(f, reply))


# ---- the pool

# The pool of each loop: written and read by its steps.
_interpreters: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any]" = weakref.WeakKeyDictionary()

_futures: Any = concurrent.futures  # with names that type checkers do not know before CPython 3.14
_os: Any = os


def _interpreters_of(loop: asyncio.AbstractEventLoop) -> Any:
    pool = _interpreters.get(loop)
    if pool is None:
        pool = _interpreters[loop] = _futures.InterpreterPoolExecutor(
            _os.process_cpu_count() or 1,
            thread_name_prefix="everloop-interpreter",
            initializer=_set_path_over_there,
            initargs=tuple(path for path in sys.path if isinstance(path, str)),
        )
        if isinstance(loop, EventLoop):
            loop._belongings[_Interpreters] = _Interpreters(pool)
        else:
            weakref.finalize(loop, pool.shutdown, wait=False)
    return pool


class _Interpreters:
    """Ends the interpreters of a loop with it."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _set_path_over_there(*path: str) -> None:
    """Runs first in each subinterpreter: entries put on sys.path here (by pytest, by uvicorn) are missing there."""
    import sys

    sys.path[:] = path


# ---- there and back


def _call_over_there(f: Callable[..., Any], payload: bytes) -> bytes:
    """Runs in the subinterpreter.

    It names nothing of this module: only then does CPython send the code itself, instead of a name that would have to
    be imported from here. It always returns bytes, since InterpreterPoolExecutor drops what it cannot send back.
    """
    import pickle
    import traceback

    try:
        args, kwargs = pickle.loads(payload)
        result = f(*args, **kwargs)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        summary = "".join(traceback.format_exception_only(error)).strip()
        try:
            return pickle.dumps(("raised", pickle.dumps(error), summary, text))
        except BaseException:
            return pickle.dumps(("raised", b"", summary, text))
    try:
        return pickle.dumps(("returned", pickle.dumps(result), "", ""))
    except BaseException as error:
        return pickle.dumps(("returned", b"", str(error), "".join(traceback.format_exception(error))))


class _TracebackOverThere(Exception):
    """The cause of an exception from a subinterpreter: its text is the traceback."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _unpack(f: Callable[..., Any], reply: bytes) -> Any:
    """The result of the function, or its exception."""
    import pickle

    kind, payload, summary, text = pickle.loads(reply)
    if kind == "returned":
        if payload:
            return pickle.loads(payload)
        raise TypeError(
            f"everloop.to_interpreter() cannot pickle what {name_of(f)} returned: {summary}"
        ) from _TracebackOverThere(text)
    try:
        error = pickle.loads(payload)
    except Exception:
        error = RuntimeError(f"{name_of(f)} raised an exception that cannot be pickled: {summary}")
    if isinstance(error, ImportError):
        _note_trap(error, text)
    raise error from _TracebackOverThere(text)


_TRAP = (
    "a subinterpreter cannot load everloop or any other extension module that is not made for it; let the function "
    "come from a module that imports none, or use everloop.to_process()"
)


def _note_trap(error: ImportError, text: str) -> None:
    if "subinterpreters" in text:  # in the error, or in one that it came from, as with numpy
        error.add_note(f"everloop.to_interpreter(): {_TRAP}")


def _not_sent(f: Callable[..., Any], error: BaseException) -> Exception:
    """The error of a function that could not be sent to the subinterpreter."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    # The error comes as the text of a chain of tracebacks; the first of them ends with the reason.
    reason = str(cause).split("\n\nThe above exception")[0].strip().splitlines()[-1]

    if "ImportError" in reason or "ModuleNotFoundError" in reason:
        trap = f": {_TRAP}" if "subinterpreters" in str(cause) else ""
        return ImportError(
            f"everloop.to_interpreter() cannot import {name_of(f)} in the subinterpreter: {reason}{trap}"
        )
    return TypeError(
        f"everloop.to_interpreter() cannot send {name_of(f)} to the subinterpreter: {reason}; put the function at "
        "the top of a module that does not import everloop: the program's main file is not imported there"
    )
