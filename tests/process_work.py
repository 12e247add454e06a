"""What the tests of `to_process` have done by other processes. Imports little: each process imports it."""

import contextvars
import os
import signal
import socket
import sys
import threading
import time

language = contextvars.ContextVar("language", default="none")
unfit = contextvars.ContextVar("a value that cannot be pickled", default="none")


def visit(address, name="visitor"):
    """Tell the test that it is here, and stay until the test says so."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address)
        door.sendall(f"{name} {os.getpid()}\n".encode())
        door.recv(1)
    return os.getpid()


def visit_and_compute(address):
    """Visit, and never listen again."""
    door = socket.socket(socket.AF_UNIX)
    door.connect(address)
    door.sendall(f"busy {os.getpid()}\n".encode())
    sum(range(10**15))  # one call of C that keeps the GIL


def show(*args, **kwargs):
    return args, kwargs


def read_variables():
    before = language.get(), unfit.get()
    language.set("changed in the process")
    return before


def fail(text):
    raise KeyError(text)


class TwoArgumentsError(Exception):
    """Cannot be unpickled: pickle calls the class with `args`, which has one."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def fail_with_two_arguments():
    raise TwoArgumentsError(404, "not found")


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


def fail_with_a_lock():
    raise LockedError


def return_a_lock():
    return threading.Lock()


def explode_outside(pid):
    if os.getpid() != pid:
        raise OSError("this bomb goes off where it was not made")
    return Bomb()


class Bomb:
    """Can be unpickled in the process that pickled it only."""

    def __reduce__(self):
        return explode_outside, (os.getpid(),)


def return_a_bomb():
    return Bomb()


def die(how):
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_a_child_left():
    """The child has all descriptors of the worker."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        os.setsid()
        os.read(reader, 1)  # until the worker is gone
        time.sleep(0.2)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_oneself():
    os.kill(os.getpid(), signal.SIGINT)
    return "not interrupted"


def leave():
    sys.exit("leaving")


def read_stdin():
    return sys.stdin.read(), os.read(0, 1)


def length(data):
    return len(data)


def repeat(data, count):
    return data * count


def ask_another_process():
    import everloop

    return os.getpid(), everloop.run(everloop.to_process(os.getpid))


async def coroutine_function():
    pass


def generator_function():
    yield


class Callable:
    def __call__(self, number):
        return number + 1

    def method(self, number):
        return number + 2


class AsyncCallable:
    async def __call__(self):
        pass
