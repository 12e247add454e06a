"""An asyncio event loop that keeps running when code blocks.

`everloop.run(main())` is `asyncio.run` on this loop; `everloop.new_event_loop` is the factory for servers and runners.
"""

from . import environment, watch
from ._native import __version__ as __version__
from .bridge.deadlocks.waiting import DeadlockError
from .bridge.executors.to_executor import to_executor
from .bridge.executors.to_interpreter import to_interpreter
from .bridge.faces.aiterate import aiterate
from .bridge.faces.asyncify import asyncify
from .bridge.faces.iterate import iterate
from .bridge.faces.syncify import syncify
from .bridge.loops import threadsafe_future as _threadsafe_future
from .bridge.loops.block_on import block_on
from .bridge.loops.blocking import blocking
from .bridge.loops.loop_thread import LoopThread
from .bridge.loops.whole import whole
from .bridge.processes.errors import TransferError, WorkerDiedError
from .bridge.processes.to_process import to_process
from .bridge.statistics import statistics
from .bridge.threads import anyio_shortage as _anyio_shortage
from .bridge.threads.anyio_threads import replace_anyio_pool, restore_anyio_pool
from .bridge.threads.anyio_threads import switch_anyio_pool as _switch_anyio_pool
from .bridge.threads.limiter import Limiter
from .bridge.threads.to_thread import check_cancelled, to_thread
from .loop import EventLoop, new_event_loop, run
from .running import running_loop
from .watch.hook import on_block
from .watch.no_blocking import BlockingError, no_blocking
from .watch.output import set_report
from .watch.worst_lines import print_worst_lines, worst_lines

__all__ = [
    "BlockingError",
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
    "no_blocking",
    "on_block",
    "print_worst_lines",
    "replace_anyio_pool",
    "restore_anyio_pool",
    "run",
    "running_loop",
    "set_report",
    "statistics",
    "syncify",
    "to_executor",
    "to_interpreter",
    "to_process",
    "to_thread",
    "whole",
    "worst_lines",
]

environment.tell_misspelt()
watch.install()
_threadsafe_future.install()
_anyio_shortage.install()
_switch_anyio_pool()


def __getattr__(name: str) -> object:
    # Made when it is asked for: on CPython 3.14 the mere look at asyncio's policies warns that they are going.
    if name == "EventLoopPolicy":
        from .policy import event_loop_policy

        return event_loop_policy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
