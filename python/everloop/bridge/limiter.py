"""Limiter: how many calls may be on threads at once."""

import asyncio
import collections
import time
import weakref
from collections.abc import Iterator
from typing import Any

from .. import _native
from .waits import DeadlockError, check_somebody_ends, pauses

__all__ = ["Limiter"]


class Limiter:
    """A number of tokens; each call on a thread that is given this limiter holds one until its thread is done.

    A call that finds no token waits in the order of arrival. Cancelling the task of a call does not give its token back
    before its thread is done, so there are never more threads than tokens.

    Args:
        tokens: How many calls may be on threads at once, at least 1.

    Raises:
        TypeError: `tokens` is not an int.
        ValueError: `tokens` is less than 1.

    A call that waits for another call with the same limiter keeps its token. If all tokens are held so, the last such
    call raises `DeadlockError`.

    The trap: a limiter belongs to the loop on which it is first waited for.

    Example:
        >>> import everloop
        >>> two_at_a_time = everloop.Limiter(2)
        >>> async def main():
        ...     return await everloop.to_thread(sum, [1, 2], limiter=two_at_a_time)
        >>> everloop.run(main())
        3
    """

    def __init__(self, tokens: int) -> None:
        self._tokens = _checked(tokens)
        _limiters.add(self)
        self._holders: dict[object, float] = {}  # since when, by time.monotonic()
        self._waiters: collections.OrderedDict[asyncio.Future[None], object] = collections.OrderedDict()
        self._timers: dict[asyncio.Future[None], asyncio.TimerHandle] = {}  # when each of these looks for a circle

    def __repr__(self) -> str:
        waiting = f", {len(self._waiters)} wait" if self._waiters else ""
        return f"<everloop.Limiter, {len(self._holders)} of {self._tokens} tokens are out{waiting}>"

    @property
    def tokens(self) -> int:
        """How many tokens there are. Fewer than are out: nobody gets one until enough have come back."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: int) -> None:
        self._tokens = _checked(tokens)
        self._hand_out()

    @property
    def holders(self) -> dict[object, float]:
        """Who holds a token, and since when, in seconds of `time.monotonic()`."""
        return dict(self._holders)

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return len(self._waiters)

    async def acquire(self, holder: object) -> None:
        """Waits for a token. `holder` stands for it, and gives it back."""
        if not self._waiters and len(self._holders) < self._tokens:
            self._holders[holder] = time.monotonic()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = holder
        try:
            self._check(asyncio.current_task())  # which does not wait for its waiter yet
            self._look_later(waiter, pauses(None))
            try:
                await waiter
            finally:
                self._timers.pop(waiter).cancel()
        except BaseException:
            waits_still = self._waiters.pop(waiter, None) is not None
            if not waits_still and waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(holder)  # it came too late
            raise

    def release(self, holder: object) -> None:
        """Gives a token back."""
        del self._holders[holder]
        self._hand_out()

    def lend(self, job: _native.Job) -> None:
        """On a thread: it waits in the bridge, and keeps its token. A limit that the program has set is kept."""

    def take_back(self, job: _native.Job) -> None:
        """On a thread: it has waited."""

    def _check(self, *tasks: Any) -> None:
        why = "all calls that hold a token of this limiter wait for one"
        check_somebody_ends(self._holders, [*self._waiters, *tasks], why)

    def _look_later(self, waiter: "asyncio.Future[None]", looks: Iterator[float]) -> None:
        self._timers[waiter] = waiter.get_loop().call_later(next(looks), self._look_again, waiter, looks)

    def _look_again(self, waiter: "asyncio.Future[None]", looks: Iterator[float]) -> None:
        """A holder may have begun to wait since. What it ends is the call that has waited longest."""
        if waiter not in self._waiters:
            return
        try:
            self._check()
        except DeadlockError as error:
            del self._waiters[waiter]  # one is enough
            if not waiter.done():
                waiter.set_exception(error)
        else:
            self._look_later(waiter, looks)

    def _hand_out(self) -> None:
        for waiter in self._ready():
            holder = self._waiters.pop(waiter)
            if not waiter.done():
                self._holders[holder] = time.monotonic()
                waiter.set_result(None)

    def _ready(self) -> Iterator["asyncio.Future[None]"]:
        while self._waiters and len(self._holders) < self._tokens:
            yield next(iter(self._waiters))


_limiters: "weakref.WeakSet[Limiter]" = weakref.WeakSet()


def live_limiters() -> list[Limiter]:
    """All limiters of this process."""
    return list(_limiters)


def _checked(tokens: int) -> int:
    if not isinstance(tokens, int) or isinstance(tokens, bool):
        raise TypeError(f"a limiter needs a whole number of tokens, not {tokens!r}")
    if tokens < 1:
        raise ValueError(f"a limiter needs at least one token, not {tokens}: nothing would ever run")
    return tokens
