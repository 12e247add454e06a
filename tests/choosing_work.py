"""What the calls of test_choosing.py do elsewhere: in a thread, another process, or another interpreter.

It imports nothing of everloop, which a subinterpreter could not. A directory is where it meets the test.
"""

import contextvars
import os
import pathlib

name = contextvars.ContextVar("name", default="nobody")


class OwnError(Exception):
    """An exception that pickles."""


def work(directory: str) -> str:
    """Says that it has begun, waits until the gate is open, says that it is done."""
    place = pathlib.Path(directory)
    (place / "begun").touch()
    gate = os.open(place / "gate", os.O_RDONLY)  # a FIFO: blocks until somebody opens its other end
    os.read(gate, 1)
    os.close(gate)
    (place / "done").touch()
    return "result"


def open_gate(directory: str) -> int:
    """Lets `work` go on. Returns a descriptor that is to be closed once it has."""
    gate = os.open(pathlib.Path(directory) / "gate", os.O_RDWR)  # waits for nobody
    os.write(gate, b"o")
    return gate


def fail() -> None:
    """Raises."""
    raise OwnError("told over there")


def read_and_set() -> str:
    """What the variable is here; and sets it."""
    before = name.get()
    name.set("set there")
    return before
