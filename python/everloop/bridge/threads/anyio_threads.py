"""anyio's `to_thread.run_sync` on everloop's threads: what FastAPI and Starlette call for everything that is `def`.

One method of anyio's asyncio backend is replaced, `AsyncIOBackend.run_sync_in_worker_thread`, for tasks that run on an
everloop; and `from_thread.run` lets other calls run while it waits. anyio has no public place for another pool. Its
limiters, cancel scopes, `from_thread` and `check_cancelled` are its own as before. Bookkeeping is two thirds of the
cost of a call there.
"""

import asyncio
import contextlib
import contextvars
import functools
from asyncio import events
from typing import Any

from ... import _native, environment
from ...loop import EventLoop, live_loops
from ...private.anyio_backend import anyio_parts
from .lent_slot import lent
from .to_thread import let_end

__all__ = ["replace_anyio_pool", "restore_anyio_pool"]

STALLED = 0.05  # seconds without a token given back after which a task inside a context manager goes on without

# The thread that a request has been on. Its next call goes there again, if it can.
_thread_number: contextvars.ContextVar[int | None] = contextvars.ContextVar("everloop_thread_number", default=None)

# The context managers that a request is inside of, for its own task and those that it starts: a response is streamed by
# a task of its own, while the dependencies of its endpoint are held.
_inside: contextvars.ContextVar["Inside | None"] = contextvars.ContextVar("everloop_inside", default=None)


def replace_anyio_pool() -> None:
    """Lets `anyio.to_thread.run_sync` use everloop's threads, for all code that runs on an everloop.

    That is what FastAPI and Starlette run `def` endpoints, `def` dependencies, background tasks, files and synchronous
    iterators with. The limits stay anyio's: its default limiter of 40 tokens, or the `limiter=` that is given. Other
    loops keep anyio's own threads. Of no effect if it was called before.

    What is better: a call costs less than half, a token is held until its thread is done, consecutive calls of a
    request prefer one thread, and a request that is inside a dependency with `yield` is not shut out by those that wait
    for what it holds: where nothing moves for 50 ms, such requests go on beyond the limit, a tenth of it at a time.

    Raises:
        ImportError: anyio is not installed, or is one whose asyncio backend looks different.

    Example:
        >>> import anyio, everloop
        >>> everloop.replace_anyio_pool()
        >>> everloop.run(anyio.to_thread.run_sync(sum, [1, 2]))
        3
        >>> everloop.restore_anyio_pool()
    """
    global _threads
    if _threads is None:
        _threads = AnyioThreads()


def restore_anyio_pool() -> None:
    """Undoes `replace_anyio_pool`. Calls that run end where they are.

    Example:
        >>> import everloop
        >>> everloop.restore_anyio_pool()
    """
    global _threads
    if _threads is not None:
        _threads.restore()
        _threads = None


def is_replaced() -> bool:
    """True if anyio's calls run on everloop's threads."""
    return _threads is not None


def anyio_statistics() -> list[dict[str, Any]]:
    """The numbers of the default limiter of each loop: its tokens, how many are out, and how many calls wait."""
    if _threads is None:
        return []
    limiters = [loop._anyio[1] for loop in live_loops() if loop._anyio is not None]
    return [
        {"tokens": limiter.total_tokens, "out": limiter.borrowed_tokens, "waiting": limiter.statistics().tasks_waiting}
        for limiter in limiters
    ]


def switch_anyio_pool() -> None:
    """Does what the environment variable EVERLOOP_ANYIO_POOL says: on for everloop's threads, if anyio is installed."""
    if environment.value_of("anyio_pool"):
        try:
            replace_anyio_pool()
        except ImportError as error:
            if error.name != "anyio":
                raise


class AnyioThreads:
    """Stands in the place of one method of anyio's asyncio backend."""

    def __init__(self) -> None:
        self._parts = parts = anyio_parts()
        # These parts are looked at in each call.
        self._backend, self._would_block, self._make_token = parts.backend, parts.would_block, parts.make_token
        self._task_states, self._scope_class = parts.task_states, parts.scope_class
        self._threadlocals, self._forget_library = parts.threadlocals, parts.forget_library
        self._last_release = 0.0
        # The time at which the last stall was seen, and the number of requests that have gone on without a token since.
        self._stall, self._let_go = 0.0, 0
        threads, original = self, parts.originals[parts.run_sync].__func__

        def run_sync_in_worker_thread(
            cls: Any, func: Any, args: Any, abandon_on_cancel: bool = False, limiter: Any = None
        ) -> Any:
            loop = events._get_running_loop()
            if isinstance(loop, EventLoop):
                return threads.run(loop, func, args, abandon_on_cancel, limiter)
            return original(cls, func, args, abandon_on_cancel, limiter)

        setattr(parts.backend, parts.run_sync, classmethod(run_sync_in_worker_thread))
        waits = parts.originals[parts.run_async].__func__
        setattr(parts.backend, parts.run_async, classmethod(_lending(waits)))

    def restore(self) -> None:
        for name, original in self._parts.originals.items():
            setattr(self._backend, name, original)

    async def run(self, loop: EventLoop, func: Any, args: Any, abandon: bool, limiter: Any) -> Any:
        """One call, for a task of `loop`."""
        task: Any = asyncio.current_task()
        state = self._task_states.get(task)
        scope = None if state is None else state.cancel_scope
        if scope is not None:
            await self._backend.checkpoint_if_cancelled()
        if loop._anyio is None:
            default = self._backend.current_default_thread_limiter()
            loop._anyio = self._make_token(loop), default, DefaultTokens(default), {}
        # `kept`: tasks that hold a token from one call to the next, within a step.
        token, default, default_tokens, kept = loop._anyio
        shared = limiter is None or limiter is default
        if shared:
            limiter = default
        tokens = default_tokens if shared else OWN_TOKENS
        beyond = False
        if not shared or kept.pop(task, None) is None:
            try:
                limiter.acquire_on_behalf_of_nowait(task)
            except self._would_block:
                beyond = await self._wait_for_token(loop, limiter, task, shared)
        try:
            context = contextvars.copy_context()
            if self._forget_library is not None:
                context.run(self._forget_library)
            if scope is None:
                call = (self._threadlocals, token, None, func, args)
                return await self._call(loop, call, context, tokens, abandon)
            with self._scope_class(shield=not abandon) as own:
                call = (self._threadlocals, token, own if abandon else scope, func, args)
                return await self._call(loop, call, context, tokens, abandon)
        finally:
            if shared and not beyond:
                self._last_release = loop.time()
            if not shared or (not beyond and limiter.available_tokens > 0):
                limiter.release_on_behalf_of(task)
            elif not beyond:
                self._keep_token(loop, kept, limiter, task)

    async def _call(self, loop: EventLoop, call: Any, context: Any, tokens: "Tokens", abandon: bool) -> Any:
        future = loop.create_future()
        func, number = call[3], _thread_number.get()
        job = loop._pool._queue(loop, future, _in_thread, call, None, context, func, tokens, number)
        name = getattr(getattr(func, "func", func), "__name__", None)
        try:
            result = await future
            if name == "__enter__":
                note_entered()
            return result
        except asyncio.CancelledError:
            if not job.withdraw():
                await let_end(job, loop, abandon)
            raise
        finally:
            if job.worker != number:
                _thread_number.set(job.worker)
            if name == "__exit__":
                note_left()

    # ---- the tokens of the default limiter, which all requests share

    async def _wait_for_token(self, loop: EventLoop, limiter: Any, task: Any, shared: bool) -> bool:
        """Waits for a token; True: the call goes on without one."""
        inside = _inside.get() if shared else None
        if inside is None or not inside.depth:
            await limiter.acquire_on_behalf_of(task)
            return False
        # Those with tokens may wait for what this one holds, as a connection to a database: where nothing moves, it
        # goes on. Its next calls do not wait again, else each piece of a response that is streamed would.
        while not inside.beyond:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALLED):
                    await limiter.acquire_on_behalf_of(task)
                return False
            inside.beyond = inside.beyond or self._goes_beyond(loop.time(), limiter.total_tokens)
        return True

    def _goes_beyond(self, now: float, tokens: float) -> bool:
        """True if nothing moves, so that the next request goes on without a token: a tenth of the limit at a time."""
        if now - self._last_release < STALLED:
            return False
        if now - self._stall >= STALLED:
            self._stall, self._let_go = now, 0
        self._let_go += 1
        return self._let_go <= max(tokens / 10, 1)

    def _keep_token(self, loop: EventLoop, kept: dict[Any, Any], limiter: Any, task: Any) -> None:
        """Keeps the token for the task's next call, most likely in the same step, which need not queue again for it."""
        if loop.is_closed():
            limiter.release_on_behalf_of(task)
        else:
            kept[task] = limiter
            loop.call_soon(self._give_up, kept, task)

    def _give_up(self, kept: dict[Any, Any], task: Any) -> None:
        limiter = kept.pop(task, None)
        if limiter is not None:
            limiter.release_on_behalf_of(task)


class Inside:
    """A request that has entered a context manager may hold what others wait for, until it has left it."""

    def __init__(self) -> None:
        self.depth = 0  # the number of those that it has entered and not left
        self.beyond = False  # True if its calls need no token of the default limiter, as nothing moved without


def note_entered() -> None:
    inside = _inside.get()
    if inside is None or not inside.depth:  # one without depth is of a request that has ended
        inside = Inside()
        _inside.set(inside)
    inside.depth += 1


def note_left() -> None:
    inside = _inside.get()
    if inside is not None and inside.depth:
        inside.depth -= 1
        inside.beyond = inside.beyond and inside.depth > 0


class Tokens:
    """The tokens of a limiter that is given, for the pool: the task that has called gives them back."""

    def _release(self, future: Any) -> None:
        """The thread is done."""

    def _lend(self, job: _native.Job) -> None:
        """Does nothing when a thread waits in the bridge: a limit that the program has set is kept all the same."""

    def _reclaim(self, job: _native.Job) -> None:
        """Does nothing when the thread has waited."""


class DefaultTokens(Tokens):
    """The tokens of the default limiter, which bounds the number of threads: a call that waits lets another one run."""

    def __init__(self, limiter: Any) -> None:
        self._limiter = limiter

    def _lend(self, job: _native.Job) -> None:
        job.loop.call_soon_threadsafe(self._change, 1)

    def _reclaim(self, job: _native.Job) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            job.loop.call_soon_threadsafe(self._change, -1)

    def _change(self, tokens: int) -> None:
        self._limiter.total_tokens += tokens


OWN_TOKENS = Tokens()


def _lending(wait: Any) -> Any:
    @functools.wraps(wait)
    def waiting(cls: Any, func: Any, args: Any, token: Any) -> Any:
        with lent():
            return wait(cls, func, args, token)

    return waiting


def _in_thread(threadlocals: Any, token: Any, scope: Any, func: Any, args: Any) -> Any:
    """Calls a function as anyio's own threads do: `from_thread` works in it."""
    local = threadlocals.__dict__  # this thread's: once, as each look at one of its attributes costs as much
    local["current_token"] = token
    local["current_cancel_scope"] = scope
    try:
        return func(*args)
    except StopIteration as error:
        raise RuntimeError("coroutine raised StopIteration") from error
    finally:
        del local["current_token"], local["current_cancel_scope"]


_threads: AnyioThreads | None = None
