"""Limiter: bounds the number of calls that are on threads at once."""

import asyncio
import collections
import os
import threading
import time
import weakref
from asyncio import events
from collections.abc import Iterable

from ... import _native
from ..deadlocks.edges import AnyOf, link
from ..deadlocks.waiting import waiting
from ..futures import set_unless_done

__all__ = ["Limiter"]


class Limiter(AnyOf):
    """A number of tokens; each call on a thread that is given this limiter holds one until its thread is done.

    A call that finds no token waits in the order of arrival. Cancelling the task of a call does not give its token back
    before its thread is done, so there are never more threads than tokens.

    Args:
        tokens: The number of calls that may be on threads at once, at least 1.

    Raises:
        TypeError: `tokens` is not an int.
        ValueError: `tokens` is less than 1.

    A call that waits for another call with the same limiter keeps its token. If all tokens are held so, one of these
    waits raises `DeadlockError`.

    Several loops may share a limiter. In a forked child all tokens are back.

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
        # Held to hand tokens out: calls of several loops end on several threads. Nobody waits for it, as a finalizer or
        # a signal handler could wait for its own thread: a thread that finds it taken asks for another round.
        self._lock = threading.Lock()
        self._asked = False
        self._holders: dict[object, float] = {}  # since when, by time.monotonic()
        self._waiters: collections.OrderedDict[asyncio.Future[None], object] = collections.OrderedDict()

    def __repr__(self) -> str:
        waiting = f", {len(self._waiters)} wait" if self._waiters else ""
        return f"<everloop.Limiter, {len(self._holders)} of {self._tokens} tokens are out{waiting}>"

    @property
    def tokens(self) -> int:
        """The number of tokens. If it is set below the number that is out, nobody gets one until enough are back."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: int) -> None:
        self._tokens = _checked(tokens)
        self._hand_out()

    @property
    def holders(self) -> dict[object, float]:
        """The holders of tokens, and since when each has one, in seconds of `time.monotonic()`."""
        return dict(self._holders)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a token."""
        return len(self._waiters)

    async def _acquire(self, holder: object) -> None:
        """Waits for a token. `holder` stands for it, and gives it back."""
        if self._take(holder):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._waiters[waiter] = holder
            self._hand_out()  # one may have come back meanwhile
            if not waiter.done():
                link(waiter, self)
                with waiting(waiter, (asyncio.current_task(),)):
                    pass  # only a look: the graph sees by itself what a task awaits
                await waiter
        except BaseException:
            if self._waiters.pop(waiter, None) is None:
                self._release(holder)  # the token came too late
            raise

    def _release(self, holder: object) -> None:
        """Gives a token back. On any thread."""
        self._holders.pop(holder, None)  # gone already in a child that was forked meanwhile
        self._hand_out()

    def _lend(self, job: _native.Job) -> None:
        """Does nothing when a thread waits in the bridge: it keeps its token, as the program has set the limit."""

    def _reclaim(self, job: _native.Job) -> None:
        """Does nothing when the thread has waited."""

    def _holding(self) -> Iterable[object]:
        """The holders of all tokens, for the wait-for graph; none where a token is left."""
        return list(self._holders) if len(self._holders) >= self._tokens else ()

    def _take(self, holder: object) -> bool:
        """Takes a token, if there is one, nobody waits and nobody hands out."""
        if self._waiters or not self._lock.acquire(blocking=False):
            return False
        try:
            taken = not self._waiters and len(self._holders) < self._tokens
            if taken:
                self._holders[holder] = time.monotonic()
        finally:
            self._lock.release()
        if self._asked:
            self._hand_out()
        return taken

    def _hand_out(self) -> None:
        """Gives tokens to those who have waited longest, as far as there are any."""
        self._asked = True
        # The thread that has the lock looks again after it has given it back, and sees those that have asked meanwhile.
        while self._asked and self._lock.acquire(blocking=False):
            try:
                self._asked = False
                granted = self._grant()
            finally:
                self._lock.release()
            for waiter, holder in granted:
                self._wake(waiter, holder)

    def _grant(self) -> "list[tuple[asyncio.Future[None], object]]":
        """Takes tokens for those who have waited longest. Under the lock."""
        granted = []
        while self._waiters and len(self._holders) < self._tokens:
            waiter, holder = self._waiters.popitem(last=False)
            if not waiter.done():
                self._holders[holder] = time.monotonic()
                granted.append((waiter, holder))
        return granted

    def _wake(self, waiter: "asyncio.Future[None]", holder: object) -> None:
        loop = waiter.get_loop()
        if loop is events._get_running_loop():
            set_unless_done(waiter)
            return
        try:
            loop.call_soon_threadsafe(set_unless_done, waiter)
        except RuntimeError:  # closed, and nobody is left there
            self._holders.pop(holder, None)
            self._asked = True

    def _after_fork(self) -> None:
        """Takes all tokens back in a forked child: those that held one or waited have stayed with the parent."""
        self._lock = threading.Lock()
        self._asked = False
        self._holders.clear()
        self._waiters.clear()


_limiters: "weakref.WeakSet[Limiter]" = weakref.WeakSet()


def live_limiters() -> list[Limiter]:
    """All limiters of this process."""
    return list(_limiters)


def _after_fork_in_child() -> None:
    for limiter in live_limiters():
        limiter._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _checked(tokens: int) -> int:
    if not isinstance(tokens, int) or isinstance(tokens, bool):
        raise TypeError(f"a limiter needs a whole number of tokens, not {tokens!r}")
    if tokens < 1:
        raise ValueError(f"a limiter needs at least one token, not {tokens}: nothing would ever run")
    return tokens
