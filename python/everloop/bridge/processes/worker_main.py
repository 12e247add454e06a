"""The child's half of `to_process()`: the main function of a worker process, and the messages on its socket.

A call is its size and a pickle. An answer is a header and two parts, so that whoever reads it knows its end and its
status before anything is unpickled: what cannot be unpickled is an error of that one call and of no other.

| status | text | payload |
|---|---|---|
| READY | | |
| RETURNED | | the pickled result |
| RAISED | the traceback | the pickled exception |
| FAILED | the traceback | what could not be pickled or unpickled, as text |

A worker ends when its parent hangs up. In the middle of a call it does not listen, so the kernel watches for it: the
lifeline is a pipe whose other end the parent holds and never writes to. Its end sends SIGIO, which ends the process by
default, even while C code keeps the GIL (fcntl(2): O_ASYNC, F_SETOWN). A thread could not do that, and would make each
fork in the user's function one of a process with threads.
"""

import contextvars
import fcntl
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any, BinaryIO

CALL_SIZE = struct.Struct("!Q")
ANSWER = struct.Struct("!BQQ")  # status, bytes of text, bytes of payload
READY, RETURNED, RAISED, FAILED = range(4)
SMALL = 64 * 1024  # bytes that are cheaper to copy than to send on their own

Answer = tuple[int, str, "bytes | memoryview"]
Variable = tuple[str, str, bytes]  # a context variable's module, its name there, and its pickled value


class RemoteTraceback(Exception):
    """The cause of an exception that was raised in another process: its traceback, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def work(connection: socket.socket, lifeline: "Connection[Any, Any]") -> None:
    """The life of a worker: answers calls until the parent hangs up."""
    _end_with(lifeline)
    # Ctrl-C reaches all processes of a terminal. The parent decides what ends. (A handler rather than SIG_IGN, which
    # the programs that this process starts would inherit.)
    signal.signal(signal.SIGINT, _leave_it_to_the_parent)
    os.set_inheritable(connection.fileno(), False)  # both came through sendmsg or a spawn, where they must be
    os.set_inheritable(lifeline.fileno(), False)
    # A child of this process must not answer in its place, nor hide its death by holding the socket.
    os.register_at_fork(after_in_child=lambda: os.close(connection.detach()))
    calls = connection.makefile("rb")
    try:
        _send(connection, (READY, "", b""))
        while call := _next_call(calls):
            _send(connection, _answer(call))
    except OSError:
        pass  # the parent is gone, or this is a fork of the worker


def _end_with(lifeline: "Connection[Any, Any]") -> None:
    """Ends this process, wherever it is, once nobody holds the other end."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)  # the parent had ended before the signal was asked for


def _leave_it_to_the_parent(number: int, frame: FrameType | None) -> None:
    pass


def _next_call(calls: BinaryIO) -> bytes | None:
    """The next pickled call; None when the parent has hung up."""
    size = calls.read(CALL_SIZE.size)
    if len(size) < CALL_SIZE.size:
        return None
    (count,) = CALL_SIZE.unpack(size)
    call = calls.read(count)
    return call if len(call) == count else None


def _send(connection: socket.socket, answer: Answer) -> None:
    status, text, payload = answer
    encoded = text.encode(errors="backslashreplace")
    head = ANSWER.pack(status, len(encoded), len(payload)) + encoded
    if len(payload) <= SMALL:  # in one piece, for which the parent wakes up once
        connection.sendall(head + payload)
    else:
        connection.sendall(head)
        connection.sendall(payload)


def _answer(call: bytes) -> Answer:
    """Calls the function of a pickled call."""
    try:
        function, args, kwargs, variables = pickle.loads(call)
    except Exception as error:
        return _failed(
            error,
            "the call cannot be unpickled in the process",
            "The process imports what it is called with: what is defined in an interactive session, or under "
            "`if __name__ == '__main__':`, it cannot find. Put that into a module",
        )
    try:
        result = contextvars.copy_context().run(_run, variables, function, args, kwargs)
    except BaseException as error:
        return _raised(error)
    finally:
        _flush()
    try:
        return RETURNED, "", ForkingPickler.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        what = f"its result, an object of type {type(result).__qualname__}, cannot be pickled"
        return _failed(error, what, "Return plain data: what is open, locked or running stays in its process")


def _run(variables: list[Variable], function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    for module, name, value in variables:
        try:
            getattr(importlib.import_module(module), name).set(pickle.loads(value))
        except Exception:
            continue  # a variable that is not there is one that nobody reads
    return function(*args, **kwargs)


def _raised(error: BaseException) -> Answer:
    text = _traceback_of(error)
    try:
        return RAISED, text, ForkingPickler.dumps(error, pickle.HIGHEST_PROTOCOL)
    except Exception as problem:
        what = f"it raised {type(error).__qualname__}, which cannot be pickled"
        _, _, message = _failed(problem, what, "Keep in an exception only what can be")
        return FAILED, text, message


def _failed(error: BaseException, what: str, remedy: str) -> Answer:
    return FAILED, _traceback_of(error), f"{what} ({describe(error)}). {remedy}".encode(errors="backslashreplace")


def describe(error: BaseException) -> str:
    """An exception in one line; one whose own text fails too."""
    return "".join(traceback.format_exception_only(error)).strip()


def _traceback_of(error: BaseException) -> str:
    """As the interpreter prints it, without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _flush() -> None:
    """Writes out what the function printed, before its caller goes on and whatever becomes of this process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue  # there is no such stream, or it is closed
