"""What a program has left behind when its loop is closed: threads, descriptors, processes, and the loop itself."""

import contextlib
import gc
import os
import threading
import time
import weakref

PATIENCE = 3.0  # seconds that threads may take to end

_loops = weakref.WeakSet()  # of the program that runs


def remember(loop):
    """This loop must be gone after the program."""
    _loops.add(loop)


@contextlib.contextmanager
def noticed(faults):
    """Whatever was not there before and is there afterwards is a fault."""
    gc.collect()
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    gc.collect()

    def left():
        return [
            *(f"the thread {thread.name}" for thread in threading.enumerate() if thread not in threads),
            *(f"the descriptor {fd} of {what}" for fd, what in open_descriptors().items() if fd not in descriptors),
            *(f"the loop {loop}" for loop in _loops),
            *child_processes(),
        ]

    # threads of a pool end by themselves, a moment after they were told to
    deadline = time.monotonic() + PATIENCE
    while left() and time.monotonic() < deadline:
        time.sleep(0.001)
        gc.collect()
    faults += [f"left behind: {what}" for what in left()]
    _loops.clear()


def open_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def child_processes():
    with contextlib.suppress(ChildProcessError):
        pid, _ = os.waitpid(-1, os.WNOHANG)
        yield f"a child process {pid or ''}"
