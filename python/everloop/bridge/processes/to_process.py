"""`to_process()`: a coroutine has a function computed by another process.

Why no library carries this (looked at: pebble 5.2, loky 3.7, anyio 4.16): pebble passes all calls through one pipe
under a lock that a killed worker may hold, looks for results at intervals, and is LGPL. In loky the death of one worker
fails every call of the pool, as in concurrent.futures. anyio's `to_process` comes nearest, but drops the remote
traceback, the context and what a worker prints, and starts a new interpreter for each worker. Processes are started
by multiprocessing, which is imported by the first call: it would double the time that `import everloop` takes.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..functions import check_function, name_of, running_loop

__all__ = ["to_process"]


async def to_process[**P, R](function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls a function in another process, and waits for its result while other tasks run.

    For Python code that computes: a thread would share the GIL with the loop. Processes are started when they are
    needed (with the `forkserver` method of multiprocessing, or `spawn`), kept for the next call, ended after a minute
    without one, and ended with the loop. At most `loop.max_processes` are there at once, which is None at first: as
    many as there are processors. Further calls wait; first come, first served.

    Cancelling the call kills its process, and no other; CancelledError is raised once the process is gone. A call that
    still waits for a process is never begun. `asyncio.shield` lets a call go on all the same.

    Context variables go along if they are globals of a module and their values can be pickled; others are left out
    silently, and changes stay in the process. Its stdin is empty, its stdout and stderr are those of this program.

    Args:
        function: A function that the other process can import: `def` at the top of a module, or a method or partial of
            such things.
        args: Its arguments: anything that can be pickled.
        kwargs: Its keyword arguments, likewise.

    Returns:
        The result of the function: a copy, through pickle.

    Raises:
        TypeError: no function, or one that would return a coroutine or a generator.
        TransferError: the function, an argument, the result or the exception cannot be pickled and unpickled.
        WorkerDiedError: the process was killed, or ended itself, before the function returned.
        RuntimeError: no everloop is running here; or it was forked after it had processes.
        OSError: no process could be started.

    What the function raises is raised here, with the traceback from there as its cause.

    The trap: a process imports the main module of the program, so the line that starts the program must stand under
    `if __name__ == "__main__":`.

    Example:
        >>> import math, everloop
        >>> everloop.run(everloop.to_process(math.factorial, 10))
        3628800

    The start methods, and what can be passed: https://docs.python.org/3/library/multiprocessing.html
    """
    _check_function(function)
    loop = running_loop("to_process")
    from . import transfer
    from .process_pool import pool_of

    name = _name_of(function)
    request = transfer.request(function, args, kwargs, name)
    answer = pool_of(loop).call(request, name)
    del request  # it may be large, and is not needed for as long as this waits
    result: R = transfer.result(await answer, name)
    return result


def _check_function(function: Callable[..., Any]) -> None:
    check_function("to_process", function)
    for code in (function, type(function).__call__):
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            raise TypeError(
                f"everloop.to_process() calls functions that compute; {name_of(function)}() would only return a "
                "generator, which cannot leave its process: hand over a function that returns a list"
            )


def _name_of(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    name = getattr(inner, "__qualname__", None)
    return f"{getattr(inner, '__module__', None) or 'builtins'}.{name}" if name else repr(function)
