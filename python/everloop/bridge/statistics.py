"""`statistics()`: tells what the bridge does at this moment."""

import time
from typing import Any

from .. import _native
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

        - `loops`: of each `loop` that is not closed, whether it is `running`, how many steps are `aside`, what its
          time went into (`busy_seconds`, `idle_seconds`, `gil_wait_seconds`, `utilization`, and `turn_seconds` and
          `delay_seconds`, each with its `count`, `sum`, `min`, `mean`, `p50`, `p90`, `p99` and `max`, as the loop's own
          `statistics()` tells them); and its
          `pool`: `slots`, `threads`, `idle`, `running`, `lent` and `queued` as numbers, and `calls`, each with its
          `function`, `thread`, for how many `seconds` it has run, and whether it was `cancelled`; and its `processes`,
          those of `to_process`: their `limit`, how many are `there` and how many of these `idle`, and how many calls
          are `waiting`;
        - `waits`: of each wait in the bridge the `waiter`, what it waits `for`, and for how many `seconds`;
        - `limiters`: of each `Limiter` the `tokens`, how many are `out`, its `holders`, each with its `function`, its
          `thread`, and for how many `seconds` it has had its token, and how many calls are `waiting`;
        - `anyio`: of anyio's default limiter of each loop, where `replace_anyio_pool` was called, the `tokens`, how
          many are `out`, and how many calls are `waiting`;
        - `blocked_lines`: the `file` and `line` at which steps have blocked, the `function`, the `cause`, the `count`
          of blocks, and their `seconds`, those of the longest time first, and what found no place in the list last;
        - `starved_seconds`: for how long the host has given the process no processor, as far as the watchdog saw;
        - `listens_at`: the addresses at which the process can be looked into.

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
        **_native.process_statistics(),
        "listens_at": _native.listens_at(),
    }


# What a loop's time went into.
TIMES = ("busy_seconds", "idle_seconds", "gil_wait_seconds", "utilization", "turn_seconds", "delay_seconds")


def _of_loop(loop: Any, now: float) -> dict[str, Any]:
    pool = loop._own_pool
    own = loop.statistics()
    return {
        "loop": repr(loop),
        "running": loop.is_running(),
        "aside": own["aside"],
        **{name: own[name] for name in TIMES},
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
