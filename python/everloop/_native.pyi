"""The native half of everloop. What is public is re-exported by `everloop`."""

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, ContextVar
from socket import socket
from ssl import MemoryBIO, SSLContext, SSLObject
from types import CodeType, TracebackType
from typing import Any, Literal, Self, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

__version__: str

class LoopCore:
    """The native half of an event loop. `everloop.EventLoop` is the other half: use that."""

    max_relief_threads: int
    rescue: bool | Literal["all"]
    rescue_after: float
    slow_callback_duration: float
    _aside: int
    _closed: bool
    _debug: bool
    _stopping: bool
    _task_factory: Any
    _thread_id: int | None
    def create_task(self, coro: Coroutine[Any, Any, T], **kwargs: Any) -> Task[T]:
        """A task that runs the coroutine, from the next turn on.

        Args:
            coro: The coroutine.
            kwargs: What the interpreter's own loop takes: `name`, `context`, and more from CPython 3.14 on.

        Returns:
            asyncio.Task: or what the task factory makes.

        Raises:
            RuntimeError: the loop is closed.
            TypeError: no coroutine.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     return await asyncio.get_running_loop().create_task(asyncio.sleep(0, "done"))
            >>> everloop.run(main())
            'done'
        """
    def call_soon(self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None) -> Handle:
        """Run callback(*args) in the next turn of the loop.

        Args:
            callback: Any callable. Callbacks run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            Handle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.

        The trap: from a thread that does not run the loop it wakes the loop, as
        call_soon_threadsafe does; other loops wait for their next wake-up.

        Example:
            >>> loop = everloop.new_event_loop()
            >>> handle = loop.call_soon(loop.stop)
            >>> loop.run_forever()
            >>> loop.close()
        """
    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """Run callback(*args) in the next turn of the loop, from any thread.

        Args:
            callback: Any callable.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            Handle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed.
            TypeError: no callback, or a context that is none.
        """
    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Run callback(*args) after a delay.

        Args:
            delay: In seconds; never early, and not rounded to milliseconds.
            callback: Any callable. Callbacks due at the same time run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            TimerHandle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.
            ValueError: the delay is NaN.
        """
    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Run callback(*args) when loop.time() has reached a time.

        Args:
            when: In seconds of loop.time().
            callback: Any callable. Callbacks due at the same time run in the order of the calls.
            context: The contextvars.Context to run it in; None for a copy of the current one.

        Returns:
            TimerHandle: to cancel it with.

        Raises:
            RuntimeError: the loop is closed; in debug mode also a call from another thread.
            TypeError: no callback, or a context that is none.
            ValueError: the time is NaN.
        """
    def time(self) -> float:
        """The time of the loop's clock, in seconds."""
    def stop(self) -> None:
        """Stops the loop at the end of its turn. Steps that are aside in a blocking call come back first."""
    def get_debug(self) -> bool:
        """True if the loop is in debug mode. Every future asks for it."""
    def is_running(self) -> bool:
        """True if the loop is running."""
    def statistics(self) -> dict[str, Any]:
        """The work that this loop has done so far and has at hand now.

        Returns:
            A dictionary of numbers:

            - `steps` and `turns` run, steps that are `aside` now, and the `learned_sites` of the process;
            - hand-offs that steps asked for (`releases`), that the watchdog made (`rescues`), and that were made at
              learned sites (`learned`), and those of steps that compute (`divided`);
            - `relief_threads` alive; those of them that turn the loop or are inside a step that is aside
              (`relief_threads_in_use`: the others wait for something to do); and the most that were ever alive at
              once (`most_relief_threads`);
            - `standstills`: how often a step went aside while no thread was free to go on with the loop, and for
              how many seconds nothing ran then, until a thread came or a step was back: `standstill_seconds` in
              all, and the `longest_standstill`. The start of a thread is a short one; long ones say that
              `max_relief_threads` is reached, or that the system refuses threads;
            - `baton_waits`: how often a step whose call was over, or whose `block_on` was done, had to wait for
              another step to end before it could go on; `baton_wait_seconds` in all, and the `longest_baton_wait`;
            - what the loop's time went into, since its first run: `busy_seconds`; `idle_seconds`, asleep;
              `gil_wait_seconds`, with something to do after a sleep, while another thread had the GIL; and the
              `utilization`, the share of all that it was not asleep, from 0 to 1;
            - `turn_seconds`: how long the loop was busy from one look at files and the clock to the next, which is one
              turn, or up to 32 short ones; and `delay_seconds`: how late it came to what was due, from the time of a
              timer, or the end of a sleep. Each is a dictionary: `count`, `sum`, `min`, `mean`, `p50`, `p90`, `p99` and
              `max`; percentiles are up to a fifth too long.

            A wait is counted once it is over, and time when the loop next looks at the clock.
        """
    def _watch(self, fd: Any, handle: Handle, write: bool) -> None:
        """Runs the handle as long as the file is readable, or writable. An earlier handle of that file is cancelled."""
    def _close_core(self) -> None:
        """Throws away all that is queued or watched. Steps that are aside get RuntimeError when they come back."""
    def _new_handle(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Returns a handle that is not queued yet: for files."""
    def _interrupt_home(self) -> bool:
        """Interrupts the system call that home is in, if its step is aside. Returns False if it is not."""
    def _relieve(self, name: str) -> None:
        """The life of a relief thread."""
    def _run(self, name: str, sleeper: Callable[[int, float | None], object] | None = None, /) -> None:
        """Turns the loop on this thread until it is stopped. It sleeps in `sleeper(fd, seconds or None)`, if given."""
    def _pin_to_home(self, task: asyncio.Task[Any], ident: int, /) -> bool:
        """Has home alone run the next step of a task, if home is the thread of this number. False: it is not, or its
        step waits in `block_on()`, perhaps for who asks.
        """
    def _staying(self) -> list[int]:
        """The idents of threads that cannot end with this run: their steps are aside, or tasks pinned to them."""
    def _unwatch(self, fd: int, write: bool) -> bool:
        """Forgets the handle of a file, and cancels it. Returns False if there was none."""
    def _queued(self) -> tuple[list[Handle], list[Handle]]:
        """The handles that are queued: those that are ready, and the timers, in no order."""
    def _wait_for(self, future: Future[Any], task: Task[Any] | None) -> StepWait:
        """Begins to wait for `future`, cancelled whenever `task` is. RuntimeError: no step of the loop runs here."""
    def _set_signal_file(self, fd: int | None) -> None:
        """Says which of the files is only there so that the loop hears of signals that it has no handlers for."""
    def _watched(self) -> dict[int, tuple[bool, bool]]:
        """Descriptor -> (reads, writes) of everything that is watched."""
    def _own_transports(self) -> list[Transport]:
        """All transports of this loop that are alive."""
    def _transport_of(self, fd: int) -> Transport | None:
        """The transport that has this descriptor, if any."""
    def _claim(self, fd: int, transport: Any, claimed: bool) -> None:
        """True: this descriptor belongs to the transport from now on. False: others may watch it for a while."""
    def _write_to_self(self) -> None:
        """Wakes a loop that sleeps: asyncio's own code calls this after it has queued something."""

class Handle(asyncio.Handle):
    """A scheduled callback: what `loop.call_soon` returns."""
    def cancel(self) -> None:
        """Cancels the callback; of no effect if it was cancelled or run before."""
    def cancelled(self) -> bool:
        """True if the callback was cancelled."""
    def get_context(self) -> Context:
        """The context that the callback runs in."""
    def _run(self) -> None:
        """Runs the callback now: asyncio's own code calls this of handles that it did not make."""
    def _report_exception(self, exception: BaseException) -> None:
        """Tells the exception handler of the loop, in asyncio's words."""

class TimerHandle(Handle, asyncio.TimerHandle):
    """A callback scheduled for a time: what `loop.call_later` and `loop.call_at` return."""
    def cancel(self) -> None:
        """Cancels the callback; of no effect if it was cancelled or run before."""
    def when(self) -> float:
        """The time of `loop.time()` at which the callback is due: what `call_at` was given, as it was given."""

class FutureWaiter:
    """A waiter as `concurrent.futures` has them, in a future's `_waiters`. For one thread."""

    def __new__(cls) -> Self: ...
    def add_cancelled(self, _future: Any) -> None:
        """The future is cancelled."""
    def add_exception(self, future: Any) -> None:
        """The future has an exception."""
    def add_result(self, _future: Any) -> None:
        """The future has a result."""
    def wait(self, seconds: float | None, /) -> bool:
        """Waits for the future, `seconds` at the most; None: as long as it takes. False: it is not done yet."""

class Job:
    """One call on a thread of the pool, for a future."""

    @property
    def future(self) -> Any:
        """The future that it is for."""
    @property
    def function(self) -> Any:
        """The function that is called."""
    @property
    def loop(self) -> LoopCore:
        """The loop that waits for it. AttributeError: a `concurrent.futures.Future` does."""
    @property
    def since(self) -> float | None:
        """The time at which it began, in seconds of the loop's clock; None before."""
    @property
    def thread(self) -> int | None:
        """The thread that runs it, as `threading.get_ident()`; None before."""
    @property
    def worker(self) -> int | None:
        """The number of the pool's thread that runs it; None before."""
    def abandon(self) -> None:
        """Nobody waits for its thread any more, not even at the end of the program."""
    def abandoned(self) -> bool:
        """True if nobody waits for its thread any more."""
    def carry_over(self, but: ContextVar[Any]) -> None:
        """Sets in the current context what it has set; not the variable `but`."""
    def cancel(self) -> None:
        """Its caller no longer wants it."""
    def cancelled(self) -> bool:
        """True if its caller no longer wants it."""
    def tell(self, waiter: Future[None]) -> bool:
        """Sets the result of `waiter`, a future of its loop, once its thread is done with it. False: it is."""
    def withdraw(self) -> bool:
        """Takes the job back, if no thread has begun it. True: it never runs."""

class PoolCore:
    """The threads of a default executor. `everloop.pool.ThreadPool` is the other half: use that."""

    def __new__(cls, slots: int, *_args: Any, **_kwargs: Any) -> Self: ...
    @property
    def slots(self) -> int:
        """The number of slots: how many counted jobs run at once, beside those that wait in the bridge."""
    def _enter(self, number: int) -> Worker:
        """Makes the worker of a thread of the pool, on that thread."""
    def _numbers(self) -> tuple[int, int, int, int, int]:
        """(threads, idle, running counted jobs, lent slots, queued jobs)"""
    def _call(
        self,
        loop: LoopCore,
        future: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        limiter: object,
        /,
    ) -> Job:
        """As `_queue`, in a copy of the current context: see `Job.carry_over`. Without a future, it makes one."""
    def _queue(
        self,
        loop: LoopCore | None,
        future: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        context: Context | None = None,
        shown: object = None,
        limiter: object = None,
        prefer: int | None = None,
        /,
    ) -> Job:
        """Queues `function(*args, **kwargs)` for `future`, a future of `loop` or one of `concurrent.futures`.

        `context`: the one that it runs in, which nobody else is in. `shown`: what is really called, where `function`
        only prepares it. `limiter`: who limits such jobs in place of the pool; its `release(future)` is called in the
        loop once the thread is done, or the job was withdrawn. `prefer`: the number of the thread that should run it,
        if that has nothing else to do.
        """
    def _shut(self, drop_queued: bool) -> list[Any]:
        """Takes no more jobs; threads end once nothing is queued.

        With `drop_queued`, the futures of what was queued are returned, to be cancelled.
        """

class Worker:
    """A thread of the pool: it asks this for its calls."""

    @property
    def job(self) -> Job | None:
        """The job that it runs, or None."""
    def next(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any] | None] | None:
        """The next call of this thread, as (function, args, kwargs or None); None: the thread is to end."""
    def finish(self, result: Any) -> None:
        """The call has returned this."""
    def finish_with(self, error: BaseException) -> None:
        """The call has raised this."""

def carry_over(before: Context, after: Context, but: ContextVar[Any], /) -> None:
    """Sets in the current context what `after`, a copy of `before`, has other than that; not the variable `but`."""

def current_job() -> Job | None:
    """The job that the calling thread runs, or None."""

def is_plain_function(function: object, /) -> bool:
    """True for a function that is known at once not to make a coroutine."""

def lend_slot() -> Job | None:
    """The calling thread is going to wait in the bridge: where it runs a job, another one may run meanwhile.

    Returns the job, for `reclaim_slot`.
    """

def loop_for(function: object, /) -> Any:
    """The everloop that runs here, if there is one, and `function` is known at once to be a plain function."""

def reclaim_slot(job: Job) -> None:
    """The thread has waited, and goes on at once, whatever runs."""

class Left:
    """The contexts that a step has left."""

    def enter(self) -> bool:
        """Enters the contexts again. False: another thread is in one of them."""

def leave_contexts() -> Left | None:
    """Leaves the contexts of the step that is aside on this thread, in a blocking call that waits for its own loop.

    None: there is no such step, or it has none that others could need.
    """

class StepWait:
    """One wait of one step for one future, from its beginning to its end: `_wait_for`. However many wait for the same
    future, each has its own, and is told of the cancellations of its own task.
    """

    def __call__(self, _future: Future[Any]) -> None: ...
    def aside(self, timeout: float | None = None, /) -> bool:
        """Waits aside until the future is done, `timeout` seconds at the most; it is cancelled whenever the task is.

        Returns True if it is done. Raises what a signal handler raises meanwhile, and RuntimeError where this thread
        does not run the loop.
        """

class Blocking:
    """The native half of `everloop.blocking`."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...

class Whole:
    """The native half of `everloop.whole`."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...

class Transport(asyncio.Transport):
    """The base class of all transports of everloop: asyncio's transports, written in Rust."""

    _closing: bool
    _conn_lost: int
    _loop: LoopCore | None
    _paused: bool
    _protocol: asyncio.BaseProtocol | None
    _protocol_paused: bool
    _server: Any
    def close(self) -> None:
        """Sends what waits to be sent, then calls the protocol's `connection_lost(None)`."""
    def abort(self) -> None:
        """Throws away what waits to be sent, and calls the protocol's `connection_lost(None)` in the next turn."""
    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is told what happens; None once the connection is lost."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Has another protocol told from now on."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A fact about the connection.

        Args:
            name: "socket" (a limited view of it), "sockname", "peername"; "pipe" for pipes.
            default: The answer for a name that is not known.
        """
    def is_reading(self) -> bool:
        """True if the protocol is told of what comes in."""
    def pause_reading(self) -> None:
        """Reads nothing more until `resume_reading()`. Of no effect if paused already."""
    def resume_reading(self) -> None:
        """Reads again. Of no effect if not paused."""
    def get_write_buffer_size(self) -> int:
        """The number of bytes that wait to be sent."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets when the protocol's `pause_writing` and `resume_writing` are called.

        Args:
            high: Bytes; when more wait to be sent, the protocol is paused. None: 4 * low, or 64 KiB.
            low: Bytes; when no more wait, it goes on. None: high / 4.

        Raises:
            ValueError: not high >= low >= 0.
        """
    def _force_close(self, exc: BaseException | None) -> None:
        """asyncio's own code, TLS among it, ends a transport with an error like this."""

class SocketTransport(Transport):
    """A stream socket and its protocol: what `create_connection` and servers give."""

    max_size: int
    _empty_waiter: Future[None] | None
    _eof: bool
    _read_ready_cb: Callable[[], None] | None
    _sendfile_compatible: Any
    _sock: socket | None
    _sock_fd: int
    _start_tls_compatible: bool
    @staticmethod
    def _open(
        loop: LoopCore,
        sock: socket,
        protocol: asyncio.BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> SocketTransport:
        """For the loop: makes the transport of a socket object, and tells the protocol in the next turn."""
    def _make_empty_waiter(self) -> Future[None]:
        """For `sendfile`: a future that is done when nothing is left to send. Until it is reset nobody may write."""
    def _make_writable_waiter(self) -> Future[None]:
        """For `sendfile`, which sends by itself: a future that is done when the kernel takes bytes again.

        It takes the place of the last one, and fails as that does when the connection goes.
        """
    def _reset_empty_waiter(self) -> None:
        """Writing is allowed again."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, at once as far as the kernel takes it; the rest follows by itself.

        Args:
            data: Bytes, bytearray or memoryview.

        Raises:
            RuntimeError: after write_eof(), or while sendfile is in progress.
            TypeError: data is of another type.

        The trap: a peer that does not read lets the rest grow without a bound, unless the
        protocol heeds pause_writing (streams: await writer.drain()).
        """
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Sends the pieces one after the other, in as few system calls as possible.

        Args:
            list_of_data: An iterable of bytes-like objects.

        Raises:
            RuntimeError: after `write_eof()`, or while `sendfile` is in progress.
            TypeError: a piece is not bytes-like.
        """
    def write_eof(self) -> None:
        """Closes the writing half once everything is sent; the other side may still write."""
    def can_write_eof(self) -> bool:
        """True: `write_eof()` works."""

class DatagramTransport(Transport, asyncio.DatagramTransport):
    """A datagram socket and its protocol: what `create_datagram_endpoint` gives."""

    _address: Any
    _sock: socket | None
    _sock_fd: int
    @staticmethod
    def _open(
        loop: LoopCore,
        sock: socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        """For the loop: makes the transport of a socket object, and tells the protocol in the next turn."""
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send a datagram, at once if the kernel takes it.

        Args:
            data: Bytes, bytearray or memoryview; may be empty.
            addr: Where to; None for a connected socket.

        Raises:
            TypeError: data is of another type.
            ValueError: another address than that of a connected socket.

        The trap: errors of the network go to the protocol's error_received, not to the caller.
        """

class ReadPipeTransport(Transport):
    """The reading end of a pipe: what `connect_read_pipe` gives."""

    max_size: int
    _fileno: int
    _pipe: Any
    @staticmethod
    def _open(
        loop: LoopCore,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        """For the loop: makes the transport of a file object, and tells the protocol in the next turn."""
    def close(self) -> None:
        """Closes the pipe at once."""

class WritePipeTransport(Transport):
    """The writing end of a pipe: what `connect_write_pipe` gives."""

    _fileno: int
    _pipe: Any
    @staticmethod
    def _open(
        loop: LoopCore,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        """For the loop: makes the transport of a file object, and tells the protocol in the next turn."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends data, at once as far as the pipe takes it; the rest follows by itself.

        Args:
            data: Bytes, bytearray or memoryview.
        """
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Sends the pieces one after the other.

        Args:
            list_of_data: An iterable of bytes-like objects.
        """
    def write_eof(self) -> None:
        """Closes the pipe once everything is sent."""
    def can_write_eof(self) -> bool:
        """True: `write_eof()` works."""
    def close(self) -> None:
        """Closes the pipe once everything is sent."""
    def is_reading(self) -> bool:
        """A writing end reads nothing."""
    def pause_reading(self) -> None:
        """A writing end reads nothing."""
    def resume_reading(self) -> None:
        """A writing end reads nothing."""
    def abort(self) -> None:
        """Closes the pipe at once: what waits to be sent is lost."""

class Listener:
    """Accepts the connections of one listening socket: what `Server` uses."""
    def __init__(
        self,
        loop: LoopCore,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket,
        sslcontext: Any,
        server: Any,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        context: Context | None,
    ) -> None: ...
    def start(self) -> None:
        """Accepts from the next turn on, until the socket is no longer watched or closed."""

class TlsProtocol(asyncio.BufferedProtocol):
    """TLS between a transport and a protocol: what `asyncio.sslproto.SSLProtocol` is on other loops."""

    _app_protocol: asyncio.BaseProtocol | None
    _app_reading_paused: bool
    _app_transport: TlsTransport | None
    _app_writing_paused: bool
    _extra: dict[str, Any]
    _incoming: MemoryBIO
    _loop: asyncio.AbstractEventLoop
    _outgoing: MemoryBIO
    _server_hostname: str | None
    _server_side: bool
    _ssl_reading_paused: bool
    _ssl_writing_paused: bool
    _sslcontext: SSLContext
    _sslobj: SSLObject
    _state: Any
    _transport: asyncio.Transport | None
    _waiter: Future[None] | None
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app_protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext | None,
        waiter: Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands: the handshake begins."""
    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost, or closed (None). The user's protocol learns of it in a step of its own."""
    def get_buffer(self, n: int) -> memoryview:
        """The buffer for the next bytes."""
    def buffer_updated(self, nbytes: int) -> None:
        """The buffer has as many new bytes."""
    def eof_received(self) -> bool | None:
        """The peer sends no more bytes, with or without close_notify. True: the transport below is closed later."""
    def pause_writing(self) -> None:
        """The transport below has more than it can send."""
    def resume_writing(self) -> None:
        """The transport below can send again."""

class TlsTransport(asyncio.Transport):
    """A transport over TLS: what `create_connection(ssl=...)` and `start_tls` return."""

    _closed: bool
    _is_ending: bool
    _loop: asyncio.AbstractEventLoop
    _protocol_paused: bool
    _sendfile_compatible: Any
    _ssl_protocol: TlsProtocol | None
    _start_tls_compatible: bool
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A fact about the connection.

        Args:
            name: "sslcontext"; after the handshake "ssl_object", "peercert", "cipher" and "compression"; or what the
                transport below knows.
            default: The answer for a name that is not known.
        """
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Has another protocol told from now on."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is told what happens; None once the connection is lost."""
    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
    def close(self) -> None:
        """Sends what was written, says close_notify, and waits for the peer's. Nothing more is received."""
    def abort(self) -> None:
        """Closes at once: what was written and not sent is lost."""
    def _force_close(self, exc: BaseException | None) -> None:
        """asyncio's own code, TLS in TLS among it, ends a transport with an error like this."""
    def is_reading(self) -> bool:
        """True if the protocol is told of what comes in."""
    def pause_reading(self) -> None:
        """Keeps what comes in from the protocol until `resume_reading()`."""
    def resume_reading(self) -> None:
        """Tells the protocol of what comes in again. Of no effect if not paused."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets when the protocol's `pause_writing` and `resume_writing` are called.

        Args:
            high: Bytes; when as many wait to be sent, the protocol is paused. None: 4 * low, or 512 KiB.
            low: Bytes; when no more wait, it goes on. None: high / 4.

        Raises:
            ValueError: not high >= low >= 0.
        """
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark, in bytes."""
    def get_write_buffer_size(self) -> int:
        """The number of bytes that wait to be encrypted, or to be handed to the transport below."""
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets when the transport below stops reading, and when it goes on.

        Args:
            high: Bytes; when as many wait to be decrypted, it stops. None: 4 * low, or 256 KiB.
            low: Bytes; when no more wait, it goes on. None: high / 4.

        Raises:
            ValueError: not high >= low >= 0.
        """
    def get_read_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark of what waits to be decrypted, in bytes."""
    def get_read_buffer_size(self) -> int:
        """The number of bytes that wait to be decrypted."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypts and sends data; what cannot be sent now follows by itself.

        Args:
            data: Bytes, bytearray or memoryview.

        Raises:
            TypeError: data is of another type.

        The trap: a peer that does not read lets the rest grow without a bound, unless the protocol heeds pause_writing
        (streams: await writer.drain()).
        """
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypts the pieces one after the other, and sends them together.

        Args:
            list_of_data: An iterable of bytes-like objects.
        """
    def write_eof(self) -> None:
        """Raises NotImplementedError: TLS here has no half-closed connections."""
    def can_write_eof(self) -> bool:
        """False: see `write_eof`."""

def limit_steps(seconds: float | None) -> None:
    """Has steps of all loops reported after so many seconds, where that is later otherwise; None: as each loop says."""

def watch_loops(watches: bool) -> None:
    """Watches the loops that begin to run from now on, or leaves them unwatched: to measure what watching costs."""

def set_aside_clock_ahead(seconds: float) -> None:
    """Steps that are aside are told of as if they had been so for so many seconds more, so that no test waits."""

def after_fork_in_child(pools: Iterable[PoolCore], loops: Iterable[LoopCore]) -> None:
    """This is a forked child, with these pools and loops of its parent. They are asked for when it is their turn."""

def keep_children() -> None:
    """From here to `release_children` the kernel keeps the statuses of children, also where SIGCHLD is ignored."""

def release_children() -> None:
    """One `keep_children` is over; after the last one SIGCHLD is ignored again, if it was."""

def check_addresses(text: str) -> None:
    """Raises ValueError if these are no addresses at which a process may listen. Makes nothing."""

def note_blocked_line(file: str, line: int, function: str, cause: str, seconds: float, begins: bool) -> None:
    """A step has blocked at this line for so many seconds more; `begins`: and was not counted yet."""

def process_statistics() -> dict[str, Any]:
    """What is known of the whole process: `blocked_lines`, `starved_seconds`."""

def listen(text: str, limit: float) -> None:
    """Listens at these addresses, unless this process listens already. A loop may be blocked for `limit` seconds before
    `/live` says so."""

def listens_at() -> list[str]:
    """The addresses at which this process listens."""

def stop_listening() -> None:
    """Listens no more, and removes the files of sockets."""

def begin_exit() -> None:
    """The interpreter is about to end: the watchdog ends, and no step is handed over any more."""

def claim_tool() -> bool:
    """Takes a tool id, once. False: none is free, and steps can only be reported, not rescued."""

def note_collection(phase: str, info: object, /) -> None:
    """Notes that the calling thread begins or ends to collect garbage. One of `gc.callbacks`, once a loop may rescue:
    it costs up to a microsecond a collection.
    """

def forget_sites() -> None:
    """Forgets every learned site: what blocks is found out anew."""

def is_in_step() -> bool:
    """True if this thread is in the middle of a step of a running everloop, and holds its baton."""

def is_future_done(future: Any, /) -> bool:
    """As `future.done()`."""

def is_future_cancelled(future: Any, /) -> bool:
    """True if a future was cancelled, and `concurrent.futures.wait` has not been told yet."""

def returned_by_future(future: Any, otherwise: Any, /) -> Any:
    """The result of a future; `otherwise` if it has none, or if that cannot be seen without its lock."""

def add_future_waiter(future: Any, waiter: Any, /) -> None:
    """Calls `waiter.add_result(future)`, or one of its like, when a future is done: unless it is done already.

    The lock is not needed: the thread that ends the future sets its state first, and then tells the waiters in its
    list.
    """

def set_threadsafe_hook(code: CodeType, hook: Callable[[Any], object]) -> None:
    """Has `hook(callback)` called for each function with this code that `call_soon_threadsafe` is given.

    The hook returns what is to be called instead, or None. A second call of this function changes nothing.
    """

def set_library_files(library: str, asyncio: str, own: str) -> None:
    """Says how the names of the files of the standard library begin, of those of asyncio, and of everloop's own."""

def set_foreign_files(prefixes: list[str]) -> None:
    """Says how the names of files begin that are not the program's own: they are passed over in reports."""

def set_deadlock_error(make: Callable[..., BaseException]) -> None:
    """Registers the function that makes the error of steps that wait for each other."""

def set_report_mode(mode: int) -> None:
    """Says in which form blocks are told: 0 off, 1 text, 2 JSON."""

def report_mode() -> int:
    """The form in which blocks are told: 0 off, 1 text, 2 JSON."""

def set_report_writer(writer: object | None) -> None:
    """Registers the object that makes the texts."""

def next_note(wait: bool) -> tuple[Callable[..., object], dict[str, Any]] | None:
    """The next note: the method that writes it, and its arguments. None: there is none, and no need to come again.

    `wait` says that the calling thread is the one that writes, and lives for it.
    """

def read_stack(thread: int) -> list[tuple[str, int, str, tuple[int, int, int, int] | None]] | None:
    """The stack of the thread with this native id, the innermost frame first, read without the GIL.

    For each frame: file, line, qualified name, and the place of the instruction: line, end line, column, end column;
    the columns in bytes. None: there is no such thread, or it moves, or the interpreter cannot be read.
    """

def read_process() -> dict[str, Any] | None:
    """The native ids of `threads`, `gil_locked`, `gil_holder`, and `collecting`, read without the GIL.

    None: the interpreter cannot be read.
    """

def read_holder(
    thread: int, seconds: float, gate: int
) -> list[tuple[str, int, str, tuple[int, int, int, int] | None]] | None:
    """For tests: waits, without the GIL, until that thread holds it and stands still; returns its stack as it was then.

    A byte is written to the file `gate` then, which may end what the thread does; or once the time is over.
    """

def write_notes() -> bool:
    """Waits until all notes are written, for a second at the most. False: a handler of the log is stuck."""

def private_names() -> list[tuple[str, str, str, tuple[int, int], tuple[int, int]]]:
    """The entries of the native half: place, purpose, loss, and the first and the last version that are known."""

def set_teller(tell: Callable[[str], object]) -> None:
    """Has `tell(place)` called where a name is missing. Once."""

def rename_private(place: str, other: str | None) -> None:
    """For tests: has an entry look for another name, as if this interpreter had renamed it; None: for its own again."""
