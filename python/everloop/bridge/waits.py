"""Who waits for whom: a cycle never ends, so it is an error before it begins."""

import asyncio
from collections.abc import Iterator
from typing import Any


class DeadlockError(RuntimeError):
    """A wait that could never end: each of its members waits for the next one."""


# What the steps that are in block_on wait for: written by the thread of the waiting step, under the GIL.
_waits: "dict[asyncio.Future[Any], asyncio.Future[Any]]" = {}


def check_no_cycle(waiter: "asyncio.Future[Any]", future: "asyncio.Future[Any]") -> None:
    """Raises DeadlockError if `future` cannot end before `waiter` does."""
    path = _path(future, waiter, set())
    if path is not None:
        chain = "".join(
            f"\n  {_describe(a)} waits for {_describe(b)}" for a, b in zip([waiter, *path], path, strict=False)
        )
        raise DeadlockError(f"block_on() would wait for ever: {_describe(waiter)} waits for itself{chain}")


def note(waiter: "asyncio.Future[Any]", future: "asyncio.Future[Any]") -> None:
    """`waiter` begins to wait for `future` in block_on."""
    _waits[waiter] = future


def forget(waiter: "asyncio.Future[Any]") -> None:
    """`waiter` no longer waits."""
    _waits.pop(waiter, None)


def _path(
    future: "asyncio.Future[Any]", target: "asyncio.Future[Any]", seen: "set[asyncio.Future[Any]]"
) -> "list[asyncio.Future[Any]] | None":
    """The futures from `future` to `target`, each of which waits for the next. O(futures waited for)."""
    if future is target:
        return [future]
    if future in seen:
        return None
    seen.add(future)
    for next_future in _waited_for(future):
        path = _path(next_future, target, seen)
        if path is not None:
            return [future, *path]
    return None


def _waited_for(future: "asyncio.Future[Any]") -> "Iterator[asyncio.Future[Any]]":
    if future.done():
        return
    if future in _waits:
        yield _waits[future]
    # What a suspended task awaits, and what a gather waits for.
    waited = getattr(future, "_fut_waiter", None)
    if waited is not None:
        yield waited
    yield from getattr(future, "_children", ())


def _describe(future: "asyncio.Future[Any]") -> str:
    if isinstance(future, asyncio.Task):
        coroutine: Any = future.get_coro()
        name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        code = getattr(coroutine, "cr_frame", None)
        where = f" at {code.f_code.co_filename}:{code.f_lineno}" if code is not None else ""
        return f"task {future.get_name()!r} ({name}{where})"
    return repr(future)
