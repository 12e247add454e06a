"""What goes on in the process around a program, and everything in it that would tell of a fault."""

import contextlib
import gc
import logging
import signal
import sys
import threading
import warnings


@contextlib.contextmanager
def around(surroundings, faults):
    """Set up the surroundings of a program; what is logged, warned of or not raisable meanwhile is a fault.

    The alarm is not among them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening(faults))
        stack.enter_context(switch_interval(surroundings.switch_interval))
        if surroundings.collect_often:
            stack.enter_context(frequent_collections())
        if surroundings.busy_thread:
            stack.enter_context(busy_thread())
        yield


@contextlib.contextmanager
def switch_interval(seconds):
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def alarm(surroundings):
    """A signal arrives every 1.3 ms: its handler runs between any two instructions of the main thread.

    Only while the loop runs: asyncio complains of signals that arrive while it is closed.
    """
    if not surroundings.alarm:
        yield
        return
    signal.signal(signal.SIGALRM, lambda number, frame: None)  # it stays: the last signal may come late
    signal.setitimer(signal.ITIMER_REAL, 0.0013, 0.0013)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def frequent_collections():
    before = gc.get_threshold()
    gc.set_threshold(30, 3, 3)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def busy_thread():
    """A thread that always wants the GIL."""
    enough = threading.Event()

    def work():
        while not enough.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work, name="busy")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


class Listener(logging.Handler):
    """Takes down what is logged as a warning or worse."""

    def __init__(self, faults):
        super().__init__(logging.WARNING)
        self.faults = faults

    def emit(self, record):
        # reports of steps that have blocked for long are no fault: the machine may be busy
        if hasattr(record, "everloop") or record.getMessage().startswith("Executing "):
            return
        self.faults.append(f"logged by {record.name}: {record.getMessage()}")


@contextlib.contextmanager
def listening(faults):
    def on_unraisable(args):
        # on a busy machine the alarm comes so often before the loop turns that asyncio's pipe for signals is full
        if not isinstance(args.exc_value, BlockingIOError) or "wakeup fd" not in (args.err_msg or ""):
            faults.append(f"{args.err_msg or 'ignored'}: {args.exc_value!r} in {args.object!r}")

    root, listener = logging.getLogger(), Listener(faults)
    thread_hook, unraisable_hook = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: faults.append(f"a thread ended with an exception: {args.exc_value!r}")
    sys.unraisablehook = on_unraisable
    root.addHandler(listener)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, kind, *_: faults.append(f"{kind.__name__}: {message}")
        try:
            yield
        finally:
            root.removeHandler(listener)
            threading.excepthook, sys.unraisablehook = thread_hook, unraisable_hook
