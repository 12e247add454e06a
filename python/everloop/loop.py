"""EventLoop: the native core joined with the interpreter's own asyncio.

What is hot comes from `_native.LoopCore` (queues, timers, files, turning, the hand-off); what is cold is inherited from
`asyncio.SelectorEventLoop`, so that each CPython version brings its own semantics.

asyncio's private names that it needs stand in private/loops.py.
"""

import asyncio
import atexit
import contextvars
import gc
import itertools
import logging
import os
import sys
import threading
import warnings
import weakref
from asyncio import constants, events, tasks
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, TypeVarTuple, Unpack

from . import _native, autojump, environment, listening, pool, real_threads
from .contexts import loop_of_context
from .log import logger
from .private import loops as private
from .private import nesting
from .private.eager import begins_task
from .sendfile import SendfileMethods
from .signals import SignalMethods, send_home
from .sockets import SocketMethods
from .subprocesses import SubprocessMethods
from .transports import TransportMethods

__all__ = ["EventLoop", "new_event_loop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What asyncio itself calls is not put aside: its own code is not made for other steps in its middle. Nor is a step that
# computes divided in the code of the library, or in ours.
_native.set_library_files(*(f"{os.path.dirname(str(file))}/" for file in (os.__file__, asyncio.__file__, __file__)))


# The watchdog can be off, to measure its cost.
def switch_watchdog() -> None:
    """Does what the option `watchdog` says."""
    _native.watch_loops(environment.value_of("watchdog"))


switch_watchdog()

_OPTIONS = tuple(environment.of_loop())  # in the order of the arguments of EventLoop
_relief_numbers = itertools.count(1)
# The bridge's `block_on`, which waits for an awaitable in a step. The bridge stands above, and so puts it here.
wait_in_step: Any = None
# The bridge's look at anyio's pool, for a loop that begins to serve.
begin_to_serve: Callable[[Any], None] | None = None

_live_loops: "weakref.WeakSet[EventLoop]" = weakref.WeakSet()


class _Belonging(Protocol):
    def close(self) -> None: ...


class EventLoop(
    _native.LoopCore,
    SocketMethods,
    SendfileMethods,
    SubprocessMethods,
    SignalMethods,
    TransportMethods,
    nesting.Unturned,
    asyncio.SelectorEventLoop,
    private.Fallbacks,
):
    """An asyncio event loop that keeps running when code blocks.

    Args:
        rescue: True if a step that blocks in a call is put aside while other tasks go on. A blocking call then becomes
            a point where other tasks run, possibly on another thread. "all": a step that computes in Python for long
            is divided, too. Then any point of such a step may become a point where other tasks run, but what is inside
            `everloop.whole()`. Off by default.
        rescue_after: The time that a call may block before that, in seconds; 0.02 by default.
        max_relief_threads: The number of threads that are started at once to go on with the loop. Past that bound
            they come one at a time, each when nothing has run for 10 ms: the loop is slow then, and never stops.
            128 by default.
        slow_callback_duration: The time that a step may take before it is reported, in seconds; 0.1 by default.
        max_processes: The number of processes that `everloop.to_process` may keep; as many as there are processors
            by default.

    Raises:
        ValueError: an argument is out of its range, an environment variable says what makes no sense, or
            `EVERLOOP_LISTEN` names no address at which a process may listen.
        TypeError: an argument is not of its kind.

    What is not given, or None, is as the environment says: `rescue_after` as `EVERLOOP_RESCUE_AFTER`, and so on. All
    of them can be changed later, as attributes.

    Example:
        >>> import asyncio, everloop
        >>> with asyncio.Runner(loop_factory=everloop.EventLoop) as runner:
        ...     runner.run(asyncio.sleep(0, "done"))
        'done'
    """

    # The interpreter finds a method of an object that has no dictionary, or none yet, without a look into it. So what
    # each loop has stands in slots; programs may set any other attribute.
    __slots__ = (
        *private.LOOP_ATTRIBUTES,
        "_anyio",
        "_belongings",
        "_handled",
        "_looks_at_anyio",
        "_offered_pool",
        "_own_pool",
        "_reference",
        "_relief_threads",
    )

    # The number of processes that `everloop.to_process` may keep; None: as many as there are processors.
    max_processes: int | None = None

    if TYPE_CHECKING:  # asyncio's, or ours in its place: unknown to type checkers
        _ssock: Any
        _csock: Any
        _internal_fds: int
        _default_executor: Any

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_callback(self, callback: Any, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...

    def __init__(
        self,
        *,
        rescue: bool | Literal["all"] | None = None,
        rescue_after: float | None = None,
        max_relief_threads: int | None = None,
        slow_callback_duration: float | None = None,
        max_processes: int | None = None,
    ) -> None:
        private.tell_what_asyncio_does_not_call()
        # What NoSelector is given must not keep the loop alive.
        # The base class is not asked for by its name: programs replace that.
        this = weakref.ref(self)
        super().__init__(nesting.NoSelector(lambda: loop._watched() if (loop := this()) is not None else {}))
        try:
            listening.check()
            given = rescue, rescue_after, max_relief_threads, slow_callback_duration, max_processes
            for option, value in zip(_OPTIONS, given, strict=True):
                value = option.value() if value is None else value
                if value is not None:
                    setattr(self, option.name, value)
        except BaseException:
            self._close_core()
            raise
        self._reference = this
        # asyncio.Runner copies its context right after it has made the loop.
        loop_of_context.set(this)
        self._relief_threads: set[threading.Thread] = set()
        self._own_pool: pool.ThreadPool | None = None
        self._looks_at_anyio = False  # kept by the bridge
        self._offered_pool: pool.ThreadPool | None = None
        self._anyio: Any = None  # anyio's token, limiter and tokens of this loop, kept by the bridge
        # Objects that the bridge keeps for this loop, by their classes; closed with the loop.
        self._belongings: dict[type, _Belonging] = {}
        _live_loops.add(self)

    # ---- running

    def run_forever(self) -> None:
        """Runs until `stop()` is called. Steps that are aside in a blocking call come back first."""
        self._check_closed()
        self._check_running()
        self._check_not_replaced()
        if self.is_running():  # where nest_asyncio has switched asyncio's check off
            raise RuntimeError("This event loop is already running")
        if self.rescue:
            self._prepare_rescue()
        sleeper: Callable[[int, float | None], object] | None = None
        if (clock := autojump.clock_of_run(self)) is not None:
            sleeper = clock.wait
        elif real_threads.is_replaced():
            sleeper = real_threads.sleeper()
            if self.rescue:
                self.rescue = False
                _warn_replaced()
        listening.begin()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        outer = events._get_running_loop()
        token = loop_of_context.set(self._reference)
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            self._run(threading.current_thread().name, sleeper)
        finally:
            events._set_running_loop(outer)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)
            loop_of_context.reset(token)
            self._stop_hearing()
            self._join_relief()

    def _prepare_rescue(self) -> None:
        """Takes what rescue needs of the interpreter, or says that it is off. When a step blocks it is too late."""
        if not _native.claim_tool():
            _warn_no_tool()
        elif _native.note_collection not in gc.callbacks:
            gc.callbacks.insert(0, _native.note_collection)  # the others may block, too

    def run_until_complete(self, future: Any) -> Any:
        """Runs until the future or coroutine is done, and returns its result.

        Once nest_asyncio was applied it does so inside a step too: in one of this loop as `everloop.block_on()` does,
        in one of another loop while that stands still.
        """
        outer = events._get_running_loop() if nesting.is_nesting_allowed() else None
        if outer is self:
            return wait_in_step(future)
        token = loop_of_context.set(self._reference)
        if outer is not None:
            events._set_running_loop(None)
        try:
            # Not by super(): nest_asyncio replaces the method of the class between.
            return asyncio.BaseEventLoop.run_until_complete(self, future)
        finally:
            if outer is not None:
                events._set_running_loop(outer)
            loop_of_context.reset(token)

    def close(self) -> None:
        """Closes the loop. Steps that are still aside raise RuntimeError when their calls return."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self._aside:
            logger.warning(
                "%r is closed while %d of its steps are still in a blocking call, and will get RuntimeError. "
                "Let them end before the loop is closed",
                self,
                self._aside,
            )
        for belonging in self._belongings.values():
            belonging.close()
        super().close()
        self._offered_pool = None  # so that whoever asks again is refused
        if self._own_pool is not None:
            self._own_pool.shutdown(wait=False)
        self._close_core()
        self._join_relief()
        _native.write_notes()

    def _has_open_files(self) -> bool:
        """True if a transport is open or a file is watched: something would be lost if the loop were closed."""
        if any(not transport.is_closing() for transport in self._own_transports()):
            return True
        own = -1 if self._ssock is None else self._ssock.fileno()
        return any(fd != own and self._transport_of(fd) is None for fd in self._watched())

    def _start_serving(self, *args: Any, **options: Any) -> None:
        super()._start_serving(*args, **options)
        if begin_to_serve is not None:
            begin_to_serve(self)

    # ---- relief threads

    def _start_relief(self) -> None:
        send_home()
        name = f"everloop-relief-{next(_relief_numbers)}"
        box: list[threading.Thread] = []  # tells the thread which one it is
        box.append(real_threads.new_thread(_relieve, (self, name, box), name=name))
        box[0].start()

    def _call_at_home(self, call: Callable[[], T]) -> T:
        """Has home make a call, if that is the main thread, and waits for it in this step, which runs elsewhere."""
        if not _native.is_in_step():
            return call()

        async def errand() -> T:
            return call()

        task = tasks.Task(errand(), loop=self, name=f"{call!r} at home")
        if self._pin_to_home(task, threading.main_thread().ident or 0):
            result: T = wait_in_step(task)
            return result
        task.cancel()
        return call()

    def _join_relief(self) -> None:
        """Waits for the relief threads that have nothing left to do."""
        if not self._relief_threads or sys.is_finalizing():  # no thread goes on any more then
            return
        staying = set(self._staying())
        for thread in list(self._relief_threads):
            if thread.ident not in staying and thread.ident != real_threads.own_ident():
                thread.join()
                self._relief_threads.discard(thread)

    # ---- the default executor

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
        """Calls func(*args) in an executor; None stands for the default one."""
        if executor is not None:
            future = super().run_in_executor(executor, func, *args)
            pool.note_executor(future, executor)
            return future
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        self._check_default_executor()
        executor, own = self._default_executor, self._own_pool
        if executor is None:
            executor = own = self._pool
        if own is None or executor is not own:
            return self.run_in_executor(executor, func, *args)
        return own.run(self, func, args)

    @property
    def _pool(self) -> pool.ThreadPool:
        """The threads that the bridge uses. They are the default executor too, unless the program sets another one."""
        if self._offered_pool is not None:
            return self._offered_pool
        self._check_closed()
        self._check_default_executor()
        if self._own_pool is None:
            self._own_pool = pool.ThreadPool(pool.default_slots())
            if self._default_executor is None:
                self._default_executor = self._own_pool
        self._offered_pool = self._own_pool
        return self._own_pool

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for the threads of the default executor, for so many seconds; None for as long as it takes."""
        own = self._own_pool
        self._offered_pool = None  # so that whoever asks again is refused
        if own is not None and own.is_idle():
            private.note_executor_shut(self)
            own.shutdown()  # its threads end at once
            if self._default_executor is own:
                return
        await super().shutdown_default_executor(timeout)
        if own is not None:
            own.shutdown(wait=False)
            own.abandon()  # calls that still run when the time is up are nobody's business any more

    # ---- what asyncio's own code calls

    def _add_reader(
        self, fd: Any, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _native.Handle:
        self._check_closed()
        handle = self._new_handle(callback, *args, context=context)
        self._watch(fd, handle, False)
        return handle

    def _add_writer(
        self, fd: Any, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _native.Handle:
        self._check_closed()
        handle = self._new_handle(callback, *args, context=context)
        self._watch(fd, handle, True)
        return handle

    def _remove_reader(self, fd: Any) -> bool:
        return not self.is_closed() and self._unwatch(_file_number(fd), False)

    def _remove_writer(self, fd: Any) -> bool:
        return not self.is_closed() and self._unwatch(_file_number(fd), True)

    def _add_callback(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            self.call_soon_threadsafe(private.run_handle, handle)

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None:
        self._add_callback(handle)

    def _refuse_foreign_start(self) -> None:
        """Called when another thread asks whether the loop runs: raises if that is for an eager task which is to begin.

        Its first step would run beside the loop's own, and take the place of its current task.
        """
        if not begins_task(self, sys._getframe(1)):
            return
        if events._get_running_loop() is self:
            raise RuntimeError(
                "an eager task cannot begin inside `with everloop.blocking():`, while the loop runs elsewhere. "
                "Make the task before or after that block, or make one that is not eager"
            )
        raise RuntimeError(f"loop {self!r} is not the running loop")  # the words of CPython 3.14

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Does nothing: native timers count themselves."""

    def _log_slow_callback(self, handle: _native.Handle, seconds: float) -> None:
        private.log_slow_callback(handle, seconds)


private.fill_slots(EventLoop)


def live_loops() -> list[EventLoop]:
    """The loops of this process that are not closed."""
    return [loop for loop in list(_live_loops) if not loop.is_closed()]


def new_event_loop() -> EventLoop:
    """Makes an event loop: for uvicorn's `--loop everloop:new_event_loop`, and `asyncio.Runner(loop_factory=...)`.

    Returns:
        EventLoop: a new loop, which rescues blocked steps if the environment variable `EVERLOOP_RESCUE` is 1.

    Example:
        >>> import everloop
        >>> loop = everloop.new_event_loop()
        >>> loop.run_until_complete(loop.run_in_executor(None, sum, [1, 2]))
        3
        >>> loop.close()
    """
    return EventLoop()


def run[T](
    main: Coroutine[Any, Any, T], *, debug: bool | None = None, rescue: bool | Literal["all"] | None = None
) -> T:
    """Runs a coroutine on a loop of its own: `asyncio.run` on an everloop.

    Args:
        main: The coroutine.
        debug: Debug mode, as in asyncio.
        rescue: True if blocked steps are put aside while others go on, "all" if those that compute are divided, too.
            None: as `EVERLOOP_RESCUE` says.

    Returns:
        The result of the coroutine.

    Raises:
        RuntimeError: a loop is running in this thread already.
        ValueError: `main` is not a coroutine (TypeError from CPython 3.14 on).

    Example:
        >>> import asyncio, everloop
        >>> everloop.run(asyncio.sleep(0, "done"))
        'done'
    """
    running = events._get_running_loop()
    if running is not None and nesting.is_nesting_allowed():
        return running.run_until_complete(main)
    if running is not None:
        # Before a coroutine object is lost: asyncio.run raises here too. A loop of others is a notebook's, mostly.
        remedy = "block_on(...)" if isinstance(running, EventLoop) else "LoopThread().run(...)"
        raise RuntimeError(
            "everloop.run() cannot be called from a running event loop: await the coroutine instead; where that is not "
            f"possible, in a `def`, wait for it with everloop.{remedy}"
        )
    with asyncio.Runner(debug=debug, loop_factory=lambda: EventLoop(rescue=rescue)) as runner:
        return runner.run(main)


def _relieve(loop: EventLoop, name: str, box: "list[threading.Thread]") -> None:
    """The life of a relief thread, which is in the box. Its native half is the method of this name."""
    # The thread adds itself: whoever starts it may be interrupted, and the loop may end before that returns.
    for thread in list(loop._relief_threads):
        if not thread.is_alive():
            loop._relief_threads.discard(thread)
    loop._relief_threads.add(box[0])
    sys.set_asyncgen_hooks(firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook)
    if loop.get_debug():
        sys.set_coroutine_origin_tracking_depth(constants.DEBUG_STACK_DEPTH)
    events._set_running_loop(loop)
    try:
        loop._relieve(name)
    finally:
        events._set_running_loop(None)
        # Nothing of the loop may outlive this thread in its hooks.
        sys.set_asyncgen_hooks(None, None)


def _file_number(fd: Any) -> int:
    """The descriptor of a file object, also of a closed one: -1, which nobody watches."""
    return fd if isinstance(fd, int) else int(fd.fileno())


def _warn_replaced() -> None:
    warnings.warn(
        f"rescue is off: {real_threads.replaced_by()} has replaced the threads of this program. A call that blocks "
        "switches to other greenlets, and no other thread can run the loop meanwhile. Leave out that replacement, or "
        "do not ask for rescue",
        RuntimeWarning,
        stacklevel=3,
    )


def _warn_no_tool() -> None:
    global _warned_no_tool
    if not _warned_no_tool:
        _warned_no_tool = True
        warnings.warn(
            "rescue is off: sys.monitoring has no free tool id (3, 4 and 5 are taken by other tools). "
            "Blocked steps are only reported. Stop one of those tools (debugger, profiler, coverage) to have rescue",
            RuntimeWarning,
            stacklevel=4,
        )


_warned_no_tool = False


if sys.version_info >= (3, 14):
    # Here each thread keeps the tasks that were made on it, and a thread that runs the loop is shown its own only.
    _tasks_of_thread = tasks.all_tasks

    def _all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> "set[asyncio.Task[Any]]":
        """Return a set of all tasks for the loop."""
        if loop is None:
            loop = events.get_running_loop()
        if not isinstance(loop, EventLoop) or events._get_running_loop() is not loop:
            return _tasks_of_thread(loop)
        # A thread that does not run the loop is shown those of all threads.
        events._set_running_loop(None)
        try:
            return _tasks_of_thread(loop)
        finally:
            events._set_running_loop(loop)

    asyncio.all_tasks = tasks.all_tasks = _all_tasks


def _after_fork_in_child() -> None:
    try:
        _native.after_fork_in_child(pool.all_pools(), _live_loops)
    finally:
        pool.forget_threads()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _shut_logging_down() -> None:
    """Closes the handlers of the log, but waits only for a second: one may be stuck in a report, with its lock."""
    # It is called once more, by `atexit`: from 3.14 on that no longer heeds who is unregistered during the exit.
    shut_down: Any = logging.shutdown
    handlers, shut_down.__defaults__ = shut_down.__defaults__ or (), ([],)
    thread = real_threads.new_thread(shut_down, handlers, name="everloop-logging-shutdown")
    try:
        thread.start()
    except RuntimeError:  # it is too late for threads
        return
    thread.join(1.0)


def _at_exit() -> None:
    try:
        pool.wait_at_exit()
        if not _native.write_notes():
            _shut_logging_down()
    finally:  # also when Ctrl-C ends the wait
        _native.stop_listening()
        _native.begin_exit()


# `_at_exit` runs before the interpreter finalizes, while threads can still be waited for.
atexit.register(_at_exit)
