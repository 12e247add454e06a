"""A loop that runs inside a step of another one: asyncio forbids it, and programs get it by hiding the running loop.

What the inner loop runs is part of the outer step: if that was put aside, it has to come back first.
"""

import asyncio
import contextlib
import os
import sys
import threading
from asyncio import events

import pytest

import everloop
import support
from support import spin, wait_aside


@contextlib.contextmanager
def no_running_loop():
    """asyncio's own tests do this, and nest_asyncio."""
    running = events._get_running_loop()
    # From CPython 3.14 on a thread is in one task at a time, whatever loop that belongs to.
    task = asyncio.current_task() if sys.version_info >= (3, 14) else None
    if task is not None:
        asyncio.tasks._leave_task(running, task)
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(running)
        if task is not None:
            asyncio.tasks._enter_task(running, task)


@pytest.fixture(
    params=[asyncio.SelectorEventLoop, everloop.EventLoop, support.rescuing_loop], ids=["asyncio", "plain", "rescue"]
)
def inner(request):
    loop = request.param()
    yield loop
    loop.close()


def run_nested(inner, coroutine):
    with no_running_loop():
        return inner.run_until_complete(coroutine)


def test_the_outer_step_comes_back_before_the_inner_loop_goes_on(rescuing_loop, witness, inner):
    async def wait_inside(entered):
        opened = inner.create_future()
        entered.append(opened)
        await opened
        with witness:
            spin(0.001)
        await asyncio.sleep(0)
        with witness:
            return threading.current_thread()

    async def nest(entered):
        return run_nested(inner, wait_inside(entered))

    async def main():
        entered = []
        nesting = asyncio.create_task(nest(entered))
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        witness.open_and_linger(lambda: inner.call_soon_threadsafe(entered[0].set_result, None))
        return await nesting

    assert rescuing_loop.run_until_complete(main()) is threading.main_thread()
    assert witness.overlaps == []
    assert rescuing_loop.statistics()["rescues"] >= 1
    assert rescuing_loop.statistics()["aside"] == 0


def test_block_on_without_a_loop_in_a_step_keeps_the_outer_promise(rescuing_loop, witness):
    """It finds the outer loop by its context, and waits for that as from any thread."""
    opened = []

    async def wait_inside():
        future = asyncio.get_running_loop().create_future()
        opened.append(future)
        await future
        with witness:
            return "done"

    async def nest():
        with no_running_loop():
            result = everloop.block_on(wait_inside())
        with witness:
            return result

    async def main():
        nesting = asyncio.create_task(nest())
        while not opened:
            await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        witness.open_and_linger(lambda: opened[0].set_result(None))
        return await nesting

    assert rescuing_loop.run_until_complete(main()) == "done"
    assert witness.overlaps == []


def test_loops_nest_three_deep(rescuing_loop, witness):
    middle, inner = support.rescuing_loop(), support.rescuing_loop()
    opened = []

    async def innermost():
        opened.append(inner.create_future())
        await opened[0]
        with witness:
            return "done"

    async def between():
        return run_nested(inner, innermost())

    async def nest():
        return run_nested(middle, between())

    async def main():
        nesting = asyncio.create_task(nest())
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        witness.open_and_linger(lambda: inner.call_soon_threadsafe(opened[0].set_result, None))
        return await nesting

    with contextlib.closing(middle), contextlib.closing(inner):
        assert rescuing_loop.run_until_complete(main()) == "done"
    assert witness.overlaps == []


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="a forked thread is in no task any more there")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_in_both_loops(rescuing_loop, inner):
    async def fork():
        pid = os.fork()
        await asyncio.sleep(0)
        return pid

    async def main():
        pid = run_nested(inner, fork())
        await asyncio.sleep(0)
        return pid

    parent, pid, status = os.getpid(), 0, 1
    try:
        pid = rescuing_loop.run_until_complete(main())
        status = 7
    finally:
        if os.getpid() != parent:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
