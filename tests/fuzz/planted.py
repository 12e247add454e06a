"""Loops that do something wrong on purpose: the fuzzer must see it."""

import asyncio
import contextvars


def is_of_the_program(callback):
    """Whether it is a function of an operation, and none of asyncio's own."""
    return (getattr(callback, "__module__", None) or "").startswith("fuzz.")


class LosesWakeUps(asyncio.SelectorEventLoop):
    """Each second call from another thread is forgotten."""

    calls = 0

    def call_soon_threadsafe(self, callback, *args, context=None):
        self.calls += 1
        if self.calls % 2 == 0:
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon_threadsafe(callback, *args, context=context)


class MixesContexts(asyncio.SelectorEventLoop):
    """What `call_soon` is given runs in the context of the last call."""

    last = None

    def call_soon(self, callback, *args, context=None):
        context = context or contextvars.copy_context()
        self.last, before = context, self.last or context
        return super().call_soon(callback, *args, context=before)


class MixesOrder(asyncio.SelectorEventLoop):
    """What the program calls soon in the same turn is called in the wrong order."""

    def call_soon(self, callback, *args, context=None):
        handle = super().call_soon(callback, *args, context=context)
        if is_of_the_program(callback):
            self._ready.rotate(1)
        return handle


class LeavesTasks(asyncio.SelectorEventLoop):
    """A task of its own never ends."""

    def run_until_complete(self, future):
        self.left = self.create_task(asyncio.Event().wait())
        try:
            return super().run_until_complete(future)
        finally:
            self.left.cancel()


class DiesOfSignals(asyncio.SelectorEventLoop):
    """A signal ends the process."""

    def add_signal_handler(self, number, callback, *args):
        pass
