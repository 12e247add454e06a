"""SignalMethods: signals reach the program wherever the loop is.

The handlers of `loop.add_signal_handler` run in the loop, on whichever thread has it. Those of `signal.signal` run on
the main thread alone, Ctrl-C's among them, and a thread that sleeps in a system call runs them only if the signal ends
that call. It does not if it comes just before the call begins, or to another thread: then the main thread sleeps on,
perhaps for that which its handler would do. As long as the main thread turns the loop itself, the loop's own sleeps
take care of that. While its step is aside, the thread that has the loop hears of each signal, and interrupts the call.

Handlers can be set on the main thread alone, and a step that does so may have come to a relief thread. Then home, if
that is the main thread, does it between two of its own steps, and the step waits aside for that.
"""

import functools
import signal
import threading
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

from .private import loops as private

__all__ = ["SignalMethods", "send_home"]

Ts = TypeVarTuple("Ts")

# The times in seconds after which a call is interrupted again: it may not have begun when the signal came.
_PAUSES = (0.001, 0.01, 0.1, 1.0)


class SignalMethods:
    """To be put before `asyncio.SelectorEventLoop` among the bases of a loop."""

    if TYPE_CHECKING:  # the loop's
        _ssock: Any
        _csock: Any
        _internal_fds: int

        def is_closed(self) -> bool: ...
        def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Any: ...
        def _interrupt_home(self) -> bool: ...
        def _call_at_home[T](self, call: Callable[[], T]) -> T: ...
        def _set_signal_file(self, fd: int | None) -> None: ...

    # The signals that have a handler in the loop. Main thread only.
    _handled: set[int]
    # True while everloop has asked the interpreter to write each signal into the loop's socket. Main thread only.
    _hears = False

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Calls callback(*args) in the loop when the signal arrives. Main thread only."""
        if not self.is_closed():
            self._make_signal_sockets()
        super().add_signal_handler(sig, callback, *args)  # type: ignore[misc]
        self._handled.add(sig)
        self._set_signal_file(None)

    def remove_signal_handler(self, sig: int) -> bool:
        """Returns True if the signal had a handler in the loop, which it has no more. Main thread only."""
        removed: bool = super().remove_signal_handler(sig)  # type: ignore[misc]
        self._handled.discard(sig)
        if self._handled:
            return removed
        if self._csock is not None:
            self._set_signal_file(self._ssock.fileno())
        if self._hears:
            self._hear_signals()  # asyncio's own code has just ended that
        return removed

    def _make_signal_sockets(self) -> None:
        if self._csock is None:
            super()._make_self_pipe()  # type: ignore[misc]
            self._internal_fds -= 1  # it is counted already
            private.wakes_for_signals(self)
            self._set_signal_file(self._ssock.fileno())

    def _make_self_pipe(self) -> None:
        # Only signals need one, and most loops have none. The native waker counts instead.
        self._ssock = None
        self._csock = None
        self._internal_fds += 1
        self._handled = set()

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()  # type: ignore[misc]
        else:
            self._internal_fds -= 1

    # ---- while home's step is aside

    def _hear_signals(self) -> None:
        """From here to the end of the run the loop hears of each signal. Called by home, before its step goes aside."""
        try:
            self._make_signal_sockets()
            before = signal.set_wakeup_fd(self._csock.fileno())
        except (ValueError, OSError):
            return  # it is not the main thread and gets no signals; or there is no descriptor to be had
        self._hears = before in (-1, self._csock.fileno())
        if not self._hears:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)  # somebody else's

    def _stop_hearing(self) -> None:
        """The run is over, and the main thread with it."""
        if not self._hears:
            return
        self._hears = False
        if not self._handled:
            before = signal.set_wakeup_fd(-1)
            if before not in (-1, self._csock.fileno()):
                signal.set_wakeup_fd(before, warn_on_full_buffer=False)

    def _handle_signal(self, sig: int) -> None:
        """A signal has come. Called by asyncio's code, in the loop."""
        super()._handle_signal(sig)  # type: ignore[misc]
        if sig not in self._handled:
            self._interrupt_call(_PAUSES)

    def _interrupt_call(self, pauses: tuple[float, ...]) -> None:
        if self._interrupt_home() and pauses:
            self.call_later(pauses[0], self._interrupt_call, pauses[1:])


def send_home() -> None:
    """From here on steps on relief threads may call what only the main thread may."""
    global _sends_home
    if not _sends_home:
        _sends_home = True
        signal.signal = _at_home(signal.signal)
        signal.set_wakeup_fd = _at_home(signal.set_wakeup_fd)


_sends_home = False


def _at_home[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """The same function; a step that calls it on a relief thread waits until home has called it."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        running = events._get_running_loop()
        if threading.get_ident() == threading.main_thread().ident or not isinstance(running, SignalMethods):
            return function(*args, **kwargs)
        return running._call_at_home(functools.partial(function, *args, **kwargs))

    return call
