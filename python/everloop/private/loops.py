"""Private names that a loop shares with asyncio's own loops: those it calls of them, and those they call of it.

Each version of CPython may drop a method that `EventLoop` calls: then one from here, in `Fallbacks`, is found in its
place. It may drop one that asyncio's code calls and `EventLoop` has another of: then asyncio goes its own new way.
"""

import asyncio
import functools
import types
from asyncio import base_events, selector_events
from collections.abc import Callable
from typing import Any

from ..log import asyncio_logger
from .names import Name

__all__ = [
    "LOOP_ATTRIBUTES",
    "Fallbacks",
    "can_start_tls",
    "check_socket",
    "early_bytes",
    "fill_slots",
    "log_slow_callback",
    "note_executor_shut",
    "run_handle",
    "tell_what_asyncio_does_not_call",
    "wakes_for_signals",
]

_PLACE = "asyncio.SelectorEventLoop"
# The base of `EventLoop`: a program may give the public name another meaning later.
_ASYNCIO_LOOP = asyncio.SelectorEventLoop

# What asyncio's loops set on themselves, but for what everloop has in its place. One that is missing here, or not known
# any more, costs some nanoseconds in each call of a method of the loop.
LOOP_ATTRIBUTES = (
    "_asyncgens",
    "_asyncgens_shutdown_called",
    "_clock_resolution",
    "_coroutine_origin_tracking_enabled",
    "_coroutine_origin_tracking_saved_depth",
    "_csock",
    "_current_handle",
    "_default_executor",
    "_exception_handler",
    "_executor_shutdown_called",
    "_internal_fds",
    "_old_agen_hooks",
    "_selector",
    "_signal_handlers",
    "_ssock",
    "_timer_cancelled_count",
    "_transports",
    "_unix_server_sockets",
    "_watcher",
)

# ---- what asyncio's own code calls, and everloop has another of

_BY_ASYNCIO = "what everloop has in its place is not called any more, and asyncio's own may be slower or fail"

OVERRIDDEN = [
    Name(f"{_PLACE}.{name}", use, _BY_ASYNCIO)
    for name, use in {
        "_make_socket_transport": "native transports of sockets",
        "_make_datagram_transport": "native transports of datagrams",
        "_make_ssl_transport": "native TLS",
        "_make_read_pipe_transport": "native transports of pipes",
        "_make_write_pipe_transport": "native transports of pipes",
        "_start_serving": "native listeners for asyncio's servers",
        "_sendfile_native": "loop.sendfile() on native transports",
        "_sendfile_fallback": "loop.sendfile() over TLS, and of what the kernel does not send",
        "_make_subprocess_transport": "child processes",
        "_ensure_fd_no_transport": "no two owners of one descriptor",
        "_add_reader": "asyncio's own transports and its sock_* methods",
        "_remove_reader": "asyncio's own transports and its sock_* methods",
        "_add_writer": "asyncio's own transports and its sock_* methods",
        "_remove_writer": "asyncio's own transports and its sock_* methods",
        "_add_callback": "handles that asyncio has made itself",
        "_add_callback_signalsafe": "handles of signals",
        "_timer_handle_cancelled": "timers that others have made for the loop",
        "_make_self_pipe": "signals: what wakes the loop is made when it is first needed",
        "_close_self_pipe": "signals: the same",
        "_handle_signal": "signals that the main thread would sleep through in a blocking call",
        "_write_to_self": "what wakes the loop, for those who do that themselves",
    }.items()
]


@functools.cache
def tell_what_asyncio_does_not_call() -> None:
    """For the first loop: tells of each method of `EventLoop` that asyncio does not know any more."""
    for name in OVERRIDDEN:
        name.of(_ASYNCIO_LOOP)


# ---- what everloop calls of asyncio's own loops


class _Missing:
    """Found where asyncio's classes have nothing by a name: tells the loss, and stands in."""

    def __init__(self, name: Name, instead: Any) -> None:
        self._name = name
        self._instead = instead

    def __get__(self, loop: Any, owner: type) -> Any:
        if loop is None:
            return self
        self._name.tell_loss()
        return types.MethodType(self._instead, loop) if callable(self._instead) else self._instead


def _instead(use: str, loss: str) -> Callable[[Callable[..., Any]], Any]:
    """The method stands in for the one of asyncio's that has its name."""
    return lambda method: _Missing(Name(f"{_PLACE}.{method.__name__}", use, loss), method)


def _attribute(name: str, use: str, loss: str, instead: Any) -> Any:
    return _Missing(Name(f"{_PLACE}.{name}", use, loss), instead)


_OWN_WORDS = "everloop checks that itself, in its own words"
_SIGNALS = "signal handlers may not be called"


class Fallbacks:
    """The last base of `EventLoop`, behind asyncio's."""

    @_instead("asyncio's own error", _OWN_WORDS)
    def _check_closed(self: Any) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    @_instead("asyncio's own error", _OWN_WORDS)
    def _check_running(self: Any) -> None:
        if self.is_running() or asyncio._get_running_loop() is not None:
            raise RuntimeError("This event loop is already running, or another one runs in this thread")

    @_instead("asyncio's own error", _OWN_WORDS)
    def _check_default_executor(self: Any) -> None:
        if getattr(self, EXECUTOR_SHUT.attribute, False):
            raise RuntimeError("Executor shutdown has been called")

    @_instead("debug mode", "debug mode does not check what is given as a callback")
    def _check_callback(self: Any, callback: Any, method: str) -> None:
        pass

    @_instead("debug mode", "debug mode does not see calls from other threads")
    def _check_thread(self: Any) -> None:
        pass

    @_instead("debug mode", "debug mode does not note where coroutines are made")
    def _set_coroutine_origin_tracking(self: Any, enabled: bool) -> None:
        pass

    @_instead("notes asynchronous generators", "shutdown_asyncgens() may not close what is left")
    def _asyncgen_firstiter_hook(self: Any, agen: Any) -> None:
        pass

    @_instead("closes asynchronous generators that nobody has any more", "they are closed with everloop's own code")
    def _asyncgen_finalizer_hook(self: Any, agen: Any) -> None:
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    @_instead("connections with TLS, and all in debug mode", "servers do not count them as theirs")
    async def _accept_connection2(
        self: Any, factory: Any, sock: Any, extra: Any, sslcontext: Any = None, server: Any = None, **timeouts: Any
    ) -> None:
        await self.connect_accepted_socket(factory, sock, ssl=sslcontext, **(timeouts if sslcontext else {}))

    _default_executor: Any = _attribute(
        "_default_executor",
        "what set_default_executor() was given",
        "run_in_executor() uses everloop's own threads",
        None,
    )
    _internal_fds: Any = _attribute("_internal_fds", "how many descriptors are the loop's own", _SIGNALS, 0)


class _Filled:
    """A slot of a loop, or what stands in where asyncio does not fill it."""

    def __init__(self, slot: Any, instead: _Missing) -> None:
        self._slot = slot
        self._instead = instead

    def __get__(self, loop: Any, owner: type) -> Any:
        if loop is None:
            return self
        try:
            return self._slot.__get__(loop, owner)
        except AttributeError:
            return self._instead.__get__(loop, owner)

    def __set__(self, loop: Any, value: Any) -> None:
        self._slot.__set__(loop, value)

    def __delete__(self, loop: Any) -> None:
        self._slot.__delete__(loop)


def fill_slots(loop_class: type) -> None:
    """What stands in for an attribute is behind the slot of that name, and would not be found."""
    for name in LOOP_ATTRIBUTES:
        if name in vars(Fallbacks):
            setattr(loop_class, name, _Filled(vars(loop_class)[name], vars(Fallbacks)[name]))


EXECUTOR_SHUT = Name(
    f"{_PLACE}._executor_shutdown_called", "no calls after shutdown_default_executor()", "everloop refuses them itself"
)


def note_executor_shut(loop: Any) -> None:
    """asyncio's own code refuses calls from now on."""
    EXECUTOR_SHUT.of(loop)
    setattr(loop, EXECUTOR_SHUT.attribute, True)


SIGNAL_SOCKETS = [Name(f"{_PLACE}.{name}", "signals: what wakes the loop", _SIGNALS) for name in ("_csock", "_ssock")]


def wakes_for_signals(loop: Any) -> bool:
    """True if asyncio's own code has made the socket pair that wakes a loop when a signal arrives."""
    return all(name.of(loop) is not None for name in SIGNAL_SOCKETS)


# ---- asyncio's helpers

FORMAT_HANDLE = Name("asyncio.base_events._format_handle", "the log of slow callbacks", "it names them by their repr")
LOGGER = Name("asyncio.base_events.logger", "the log of slow callbacks", "it is the logger 'asyncio' all the same")


def log_slow_callback(handle: Any, seconds: float) -> None:
    """The words of asyncio's debug mode for a callback that took long."""
    logger = LOGGER.of(base_events, asyncio_logger)
    logger.warning("Executing %s took %.3f seconds", FORMAT_HANDLE.of(base_events, repr)(handle), seconds)


CHECK_SSL_SOCKET = Name("asyncio.base_events._check_ssl_socket", "asyncio's own error", _OWN_WORDS)


def check_socket(sock: Any) -> None:
    """TypeError: a socket of TLS."""
    CHECK_SSL_SOCKET.of(base_events, _refuse_tls)(sock)


def _refuse_tls(sock: Any) -> None:
    if hasattr(sock, "do_handshake"):
        raise TypeError("Socket cannot be of type SSLSocket")


RUN_HANDLE = Name("asyncio.Handle._run", "handles that asyncio has made itself: those of signals", _SIGNALS)


def run_handle(handle: asyncio.Handle) -> None:
    """Runs a handle of asyncio's own, unless it was cancelled."""
    if not handle.cancelled():
        RUN_HANDLE.of(handle, lambda: None)()


START_TLS = Name(
    "asyncio.selector_events._SelectorSocketTransport._start_tls_compatible",
    "which transports can be upgraded to TLS",
    "start_tls() refuses transports",
)


def can_start_tls(transport: Any) -> bool:
    """True if a transport can be upgraded to TLS."""
    stream = getattr(selector_events, "_SelectorSocketTransport", object)
    return bool(START_TLS.of(transport, False, kind=stream))


_EARLY = "start_tls() of a server loses what has come of the handshake already, as asyncio did up to 3.13"
STREAM_READER = Name("asyncio.StreamReaderProtocol._stream_reader", "bytes that came before start_tls()", _EARLY)
READER_BUFFER = Name("asyncio.StreamReader._buffer", "bytes that came before start_tls()", _EARLY)


def early_bytes(protocol: asyncio.StreamReaderProtocol) -> bytearray:
    """The bytes that a stream has received and nobody has read: to be taken out of there."""
    reader = STREAM_READER.of(protocol)
    return bytearray() if reader is None else READER_BUFFER.of(reader, bytearray())
