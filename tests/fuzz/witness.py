"""Sees what must never be while a program runs: two steps at once, a foreign task, context or loop."""

import asyncio
import contextvars
import sys
import threading
import traceback

PATH = contextvars.ContextVar("path", default=())  # which task of the program this is


class Witness:
    """Looks on at one run of a program on one loop."""

    def __init__(self, loop):
        self.loop = loop
        self.faults = []
        self._inside = None  # the thread that is in `alone`, and what it does there

    def fault(self, what):
        """Note what is wrong, and where."""
        self.faults.append(f"{what}\n{''.join(traceback.format_stack(limit=8)[:-1])}")

    def alone(self, who):
        """No other step of this loop may be in here. Any code of a step calls this, also callbacks and finalizers."""
        me, other = threading.get_ident(), self._inside
        if other is not None and other[0] == me:
            return  # a finalizer that the collector runs in here
        if other is not None:
            self.fault(f"two steps at once: {who} began while {other[1]} was inside")
        self._inside = mine = (me, who)
        for _ in range(25):  # a few lines in which another thread may get the GIL
            pass
        if self._inside is not mine:
            self.fault(f"two steps at once: {self._inside} while {who} was inside")
        self._inside = None

        if asyncio._get_running_loop() is not self.loop:
            self.fault(f"{who}: the running loop is {asyncio._get_running_loop()}")
        hook = sys.get_asyncgen_hooks().firstiter
        if getattr(hook, "__self__", None) is not self.loop:
            self.fault(f"{who}: the hook of asynchronous generators is {hook}")

    def check(self, who, task, path):
        """This is a step of that task, alone, and in its context; `task` is None in a callback."""
        self.alone(who)
        if (current := asyncio.current_task()) is not task:
            self.fault(f"{who}: the current task is {current} and not {task}")
        if PATH.get() != path:
            self.fault(f"{who}: the context is that of {PATH.get()} and not of {path}")
