"""Stacks are read without the GIL, also while C code holds it."""

import ctypes
import sys
import threading

from everloop import _native

HERE = threading.get_native_id


def lines(stack):
    """File, line and function of each frame."""
    return [frame[:3] for frame in stack]


def held(seconds):
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_the_thread_that_asks_finds_itself():
    def asks():
        return _native.read_stack(threading.get_native_id()), sys._getframe()

    stack, frame = asks()
    expected = []
    while frame is not None:
        expected.append((frame.f_code.co_filename, frame.f_code.co_qualname))
        frame = frame.f_back
    assert [(file, name) for file, _, name, _ in stack] == expected
    assert stack[0][1] == asks.__code__.co_firstlineno + 1
