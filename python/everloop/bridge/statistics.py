"""`statistics()`: tells what the bridge does at this moment."""

import time
from typing import Any

from ..loop import live_loops
from ..pool import call_of, describe
from .deadlocks.waiting import current_waits
from .threads.anyio_threads import anyio_statistics
from .threads.limiter import Limiter, live_limiters

__all__ = ["statistics"]


def statistics() -> dict[str, Any]:
    """Says what threads do, who waits for whom, and who holds tokens, in this process and at this moment.

    Returns:
        A dictionary that can be written as JSON, all times in seconds:

        - `loops`: of each `loop` that is not closed, whether it is `running`, how many steps are `aside`, and its
          `pool`: `slots`, `threads`, `idle`, `running`, `lent` and `queued` as numbers, and `calls`, each with its
          `function`, `thread`, for how many `seconds` it has run, and whether it was `cancelled`; and its `processes`,
          those of `to_process`: their `limit`, how many are `there` and how many of these `idle`, and how many calls
          are `waiting`;
        - `waits`: of each wait in the bridge the `waiter`, what it waits `for`, and for how many `seconds`;
        - `limiters`: of each `Limiter` the `tokens`, how many are `out`, its `holders`, each with its `function`, its
          `thread`, and for how many `seconds` it has had its token, and how many calls are `waiting`;
        - `anyio`: of anyio's default limiter of each loop, where `replace_anyio_pool` was called, the `tokens`, how
          many are `out`, and how many calls are `waiting`.

    The trap: a call that waits in the bridge has lent its slot, and is counted as `lent` and as `running`.

    Example:
        >>> import everloop
        >>> async def main():
        ...     await everloop.to_thread(int)
        ...     return everloop.statistics()["loops"][0]["pool"]["threads"]
        >>> everloop.run(main())
        1
    """
    now = time.monotonic()
    return {
        "loops": [_of_loop(loop, now) for loop in live_loops()],
        "waits": [
            {"waiter": waiter, "for": future, "seconds": now - since} for waiter, future, since in current_waits()
        ],
        "limiters": [_of_limiter(limiter, now) for limiter in live_limiters()],
        "anyio": anyio_statistics(),
    }


def _of_loop(loop: Any, now: float) -> dict[str, Any]:
    pool = loop._own_pool
    return {
        "loop": repr(loop),
        "running": loop.is_running(),
        "aside": loop.statistics()["aside"],
        "pool": None if pool is None else _of_pool(pool, now),
        "processes": next(
            (each.statistics() for each in list(loop._belongings.values()) if hasattr(each, "statistics")), None
        ),
    }


def _of_limiter(limiter: Limiter, now: float) -> dict[str, Any]:
    holders = limiter.holders
    return {
        "tokens": limiter.tokens,
        "out": len(holders),
        "holders": [_of_holder(holder, now - since) for holder, since in holders.items()],
        "waiting": limiter.waiting,
    }


def _of_holder(holder: object, seconds: float) -> dict[str, Any]:
    thread, job = call_of(holder) or (None, None)  # None: no thread has begun it yet
    return {
        "function": None if job is None else describe(job.function),
        "thread": None if thread is None else thread.name,
        "seconds": seconds,
    }


def _of_pool(pool: Any, now: float) -> dict[str, Any]:
    threads, idle, running, lent, queued = pool._numbers()
    return {
        "slots": pool.slots,
        "threads": threads,
        "idle": idle,
        "running": running,
        "lent": lent,
        "queued": queued,
        "calls": [
            {
                "function": describe(job.function),
                "thread": thread.name,
                "seconds": now - (job.since or now),
                "cancelled": job.cancelled(),
            }
            for thread, job in pool.jobs()
        ],
    }
