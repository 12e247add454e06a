"""An asyncio event loop that keeps running when code blocks.

`everloop.run(main())` is `asyncio.run` on this loop; `everloop.new_event_loop` is the factory for servers and runners.
"""

from . import bridge, watch
from .bridge import (
    DeadlockError,
    Limiter,
    LoopThread,
    TransferError,
    WorkerDiedError,
    aiterate,
    asyncify,
    block_on,
    blocking,
    check_cancelled,
    iterate,
    replace_anyio_pool,
    restore_anyio_pool,
    statistics,
    syncify,
    to_executor,
    to_interpreter,
    to_process,
    to_thread,
)
from .loop import EventLoop, new_event_loop, run

__all__ = [
    "DeadlockError",
    "EventLoop",
    "EventLoopPolicy",
    "Limiter",
    "LoopThread",
    "TransferError",
    "WorkerDiedError",
    "aiterate",
    "asyncify",
    "block_on",
    "blocking",
    "check_cancelled",
    "iterate",
    "new_event_loop",
    "replace_anyio_pool",
    "restore_anyio_pool",
    "run",
    "statistics",
    "syncify",
    "to_executor",
    "to_interpreter",
    "to_process",
    "to_thread",
]

__version__ = "0.1.0"

watch.install()
bridge.switch_anyio_pool()


def __getattr__(name: str) -> object:
    # Made when it is asked for: on CPython 3.14 the mere look at asyncio's policies warns that they are going.
    if name == "EventLoopPolicy":
        from .policy import event_loop_policy

        return event_loop_policy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
