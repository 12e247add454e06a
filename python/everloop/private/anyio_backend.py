"""anyio's asyncio backend: what `replace_anyio_pool` replaces there, and what it needs for that.

Without one of these names nothing is replaced: ImportError says which one it was.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .names import Name

__all__ = ["AnyioParts", "anyio_parts"]

_BACKEND = "anyio._backends._asyncio"
_EVENT_LOOP = "anyio._core._eventloop"


class Required(Name):
    """An entry without which its use is refused."""

    def __init__(self, place: str, use: str) -> None:
        super().__init__(place, use, "everloop.replace_anyio_pool() raises ImportError")

    def of(self, owner: Any, instead: Any = None, kind: type = object) -> Any:
        """The attribute that an object has by this name. ImportError: it has none."""
        try:
            return getattr(owner, self.attribute)
        except AttributeError as error:
            raise _refusal(f"{self.place} is not there") from error


RUN_SYNC = Required(f"{_BACKEND}.AsyncIOBackend.run_sync_in_worker_thread", "replaced: to_thread.run_sync")
RUN_ASYNC = Required(f"{_BACKEND}.AsyncIOBackend.run_async_from_thread", "wrapped: from_thread.run")
CHECKPOINT = Required(f"{_BACKEND}.AsyncIOBackend.checkpoint_if_cancelled", "a call of a cancelled scope is none")
LIMITER = Required(f"{_BACKEND}.AsyncIOBackend.current_default_thread_limiter", "the tokens of all calls")
TASK_STATES = Required(f"{_BACKEND}._task_states", "the cancel scope of a task")
CANCEL_SCOPE = Required(f"{_BACKEND}.CancelScope", "a scope without the checks of a public one")
THREADLOCALS = Required(f"{_EVENT_LOOP}.threadlocals", "from_thread works in the calls")
SET_LIBRARY = Required(f"{_EVENT_LOOP}.set_current_async_library", "no asynchronous library runs in the calls")
SNIFFIO = Required(f"{_EVENT_LOOP}.sniffio", "whether that is told to anybody")


@dataclass(frozen=True)
class AnyioParts:
    """The parts of anyio that are used."""

    backend: Any
    originals: dict[str, Any]  # what is replaced, by name: class methods
    run_sync: str
    run_async: str
    task_states: Any
    scope_class: Any
    threadlocals: Any
    forget_library: Callable[[], object] | None
    make_token: Callable[[Any], Any]
    would_block: type[Exception]


def anyio_parts() -> AnyioParts:
    """Looks for all of it. ImportError: anyio is not installed, or has it elsewhere."""
    try:
        from anyio import WouldBlock
        from anyio._backends import _asyncio as module
        from anyio._core import _eventloop
        from anyio.lowlevel import EventLoopToken
    except ImportError as error:
        raise _refusal(str(error), error.name) from error
    backend: Any = module.AsyncIOBackend
    for name in (RUN_SYNC, RUN_ASYNC, CHECKPOINT, LIMITER):
        name.of(backend)
    set_library = SET_LIBRARY.of(_eventloop)
    return AnyioParts(
        backend=backend,
        originals={name.attribute: vars(backend)[name.attribute] for name in (RUN_SYNC, RUN_ASYNC)},
        run_sync=RUN_SYNC.attribute,
        run_async=RUN_ASYNC.attribute,
        task_states=TASK_STATES.of(module),
        scope_class=CANCEL_SCOPE.of(module),
        threadlocals=THREADLOCALS.of(_eventloop),
        forget_library=None if SNIFFIO.of(_eventloop) is None else functools.partial(set_library, None),
        make_token=functools.partial(EventLoopToken, backend),
        would_block=WouldBlock,
    )


def _refusal(reason: str, module: str | None = None) -> ImportError:
    return ImportError(
        "everloop.replace_anyio_pool() needs anyio 4 with its asyncio backend: install another version, or "
        f"leave anyio's own threads in place ({reason})",
        name=module,
    )
