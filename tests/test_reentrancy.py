"""Finalizers and signal handlers run in the middle of anything: what they may call does not wait for its own thread."""

import asyncio
import itertools
import os
import pathlib
import sys

import pytest

import everloop
from everloop.bridge.processes import worker_process
from test_fork import in_child

BRIDGE = str(pathlib.Path(everloop.__file__).parent / "bridge")


class Interrupted:
    """Runs `interruption` before one line of the bridge's, as a finalizer would: each time before the next one."""

    def __init__(self, interruption):
        self.interruption = interruption
        self.line = 0

    def __call__(self, function):
        """Calls the function. False: it has fewer lines than that."""
        lines = itertools.count()
        reached = False

        def trace(frame, event, _):
            nonlocal reached
            if not frame.f_code.co_filename.startswith(BRIDGE):
                return None
            if event == "line" and next(lines) == self.line:
                reached = True
                self.interruption()
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(before)
        self.line += 1
        return reached


@pytest.mark.parametrize("call", ["submit", "run", "start", "close_nowait"])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_loop_thread_is_used_in_the_middle_of_its_use(call, is_new):
    """Also where it has just begun to start its thread."""
    portal, futures = None, []

    def use():
        match call:
            case "submit":
                futures.append(portal.submit(asyncio.sleep(0)))
            case "run":
                portal.run(asyncio.sleep(0))
            case "start":
                portal.start()
            case "close_nowait":
                portal.close_nowait()

    def use_and_be_refused():
        try:
            use()
        except RuntimeError:
            assert call == "close_nowait"

    interrupted = Interrupted(lambda: futures.append(portal.submit(asyncio.sleep(0))) if not portal._closed else use())
    reached = True
    while reached:
        portal = everloop.LoopThread()
        if not is_new:
            portal.start()
        reached = interrupted(use_and_be_refused)
        portal.close()
        assert all(future.done() for future in futures)
        futures.clear()
    assert interrupted.line > 1


@pytest.mark.parametrize("waiting", [False, True])
def test_a_limiter_is_used_in_the_middle_of_its_use(loop, waiting):
    """The interruption changes the number of tokens, which hands them out."""

    async def main():
        nonlocal limiter
        limiter = everloop.Limiter(1)
        first, second = loop.create_future(), loop.create_future()
        if waiting:
            await limiter._acquire(first)
            loop.call_soon(limiter._release, first)
        await limiter._acquire(second)
        limiter._release(second)
        await asyncio.sleep(0)
        assert limiter.holders == {}
        assert limiter.waiting == 0

    def change():
        if limiter is not None:
            limiter.tokens = 2
            limiter.tokens = 1

    limiter = None
    interrupted = Interrupted(change)
    while interrupted(lambda: loop.run_until_complete(main())):
        limiter = None
    assert interrupted.line > 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_the_start_of_a_process():
    with worker_process.start_lock:
        assert in_child(os.getpid) != repr(os.getpid())
    assert in_child(os.getpid) != repr(os.getpid())
