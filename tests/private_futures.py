"""Scenes of the inside of `concurrent.futures.Future`: see private_scenes.py."""

import asyncio
import concurrent.futures

import everloop
from everloop.private import futures
from private_scenes import scene


class Waiter:
    """Who waits, as concurrent.futures has them."""

    def __init__(self):
        self.told = []

    def add_result(self, future):
        self.told.append(future)


@scene("concurrent.futures.Future._state", without=True)
def the_states_of_a_future():
    future, cancelled = concurrent.futures.Future(), concurrent.futures.Future()
    seen = [(futures.is_queued(future), futures.is_done(future))]
    future.set_running_or_notify_cancel()
    seen.append((futures.is_queued(future), futures.is_done(future)))
    future.set_result(1)
    seen.append((futures.is_queued(future), futures.is_done(future)))
    cancelled.cancel()
    seen.append((futures.is_cancelled(cancelled), futures.is_cancelled(future)))
    return seen == [(True, False), (False, False), (False, True), (True, False)]


@scene("concurrent.futures.Future._result", "concurrent.futures.Future._exception")
def what_a_future_has_returned():
    returned, raised, pending = (concurrent.futures.Future() for _ in range(3))
    returned.set_result(1)
    raised.set_exception(ValueError())
    return [futures.returned(each, "?") for each in (returned, raised, pending)] == [1, "?", "?"]


@scene("concurrent.futures.Future._waiters", "concurrent.futures.Future._condition", without=True)
def who_waits_for_a_future_is_told():
    future, waiter, impatient = concurrent.futures.Future(), Waiter(), Waiter()
    futures.add_waiter(future, waiter)
    futures.add_waiter(future, impatient)
    futures.remove_waiter(future, impatient)
    futures.waiters(future)
    future.set_result(None)
    with everloop.LoopThread() as portal:  # who waits so
        values = portal.submit(asyncio.sleep(0.01, 1)).result(), portal.submit(asyncio.sleep(0, 2)).result()
    return waiter.told == [future] and values == (1, 2)


@scene("asyncio.futures._convert_future_exc")
def errors_become_those_of_asyncio():
    def fail():
        raise concurrent.futures.InvalidStateError

    async def main():
        error = (await asyncio.gather(asyncio.to_thread(fail), return_exceptions=True))[0]
        own = futures.asyncio_error(concurrent.futures.InvalidStateError())
        return type(error) is asyncio.InvalidStateError is type(own)

    return everloop.run(main())
