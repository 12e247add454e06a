"""Scenes of who waits for what: see private_scenes.py."""

import asyncio
import concurrent.futures
import contextlib
import sys
import threading

from everloop.private import awaiting
from everloop.private.futures import is_queued
from private_scenes import scene, step


@contextlib.asynccontextmanager
async def suspended(coroutine):
    """A task that has begun to wait."""
    task = asyncio.create_task(coroutine)
    await step()
    yield task
    task.cancel()
    await asyncio.wait([task])


async def wait_for(future):
    return await future


@scene("asyncio.Task._fut_waiter")
async def the_future_that_a_task_awaits():
    future = asyncio.get_running_loop().create_future()
    async with suspended(wait_for(future)) as task:
        return awaiting.awaited_by(task) is future and awaiting.awaited_by(future) is None


@scene("asyncio.tasks._GatheringFuture._children")
async def what_a_gather_waits_for():
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    gathering = asyncio.gather(*futures)
    found = [*awaiting.gathered_by(gathering)] == futures and [*awaiting.gathered_by(futures[0])] == []
    for future in futures:
        future.set_result(None)
    await gathering
    return found


@scene("asyncio.Future._callbacks", "asyncio.shield._outer_done_callback.inner")
async def what_is_shielded():
    inner = asyncio.get_running_loop().create_future()
    return [*awaiting.chained_to(asyncio.shield(inner))] == [inner]


@scene("asyncio.futures._chain_future._call_check_cancel.source")
async def what_is_wrapped():
    inner = concurrent.futures.Future()
    return [*awaiting.chained_to(asyncio.wrap_future(inner))] == [inner]


@contextlib.contextmanager
def given_to_another_loop():
    """A future of run_coroutine_threadsafe, and its loop, which has not begun the coroutine. It will never end."""
    loop = asyncio.new_event_loop()
    never = loop.create_future()
    yield asyncio.run_coroutine_threadsafe(wait_for(never), loop), loop
    loop.run_until_complete(step())
    never.cancel()
    loop.run_until_complete(step())
    loop.close()


@scene("concurrent.futures.Future._done_callbacks")
def what_run_coroutine_threadsafe_returns_is_chained_to_its_task():
    with given_to_another_loop() as (future, loop):
        loop.run_until_complete(step())
        return [type(each) for each in awaiting.chained_to(future)] == [asyncio.Task]


@scene("asyncio.BaseEventLoop._ready", "asyncio.Handle._callback")
def what_another_loop_has_not_begun():
    with given_to_another_loop() as (future, loop):
        return [*awaiting.threadsafe_futures(loop)] == [future]


@scene("asyncio.BaseEventLoop._scheduled")
def what_another_loop_has_queued():
    loop = asyncio.SelectorEventLoop()
    try:
        handles = [loop.call_soon(int), loop.call_later(60, int)]
        return awaiting.queued_by(loop) == handles
    finally:
        loop.close()


@scene(*(f"asyncio.run_coroutine_threadsafe.callback.{name}" for name in ("future", "loop", "coro")))
def what_run_coroutine_threadsafe_has_a_loop_call():
    code = awaiting.threadsafe_code()
    if code is None:
        return False
    with given_to_another_loop() as (future, loop):
        callback = next(handle._callback for handle in loop._ready)
        call = awaiting.threadsafe_call(callback)
        return callback.__code__ is code and call[:2] == (future, loop) and asyncio.iscoroutine(call[2])


@scene("asyncio.TaskGroup.__aexit__.self", "asyncio.TaskGroup._tasks")
async def the_members_of_a_group_that_ends():
    members = []

    async def main():
        async with asyncio.TaskGroup() as group:
            members.append(group.create_task(asyncio.Event().wait()))

    async with suspended(main()) as task:
        found = [each for frame in frames_of(task) for each in awaiting.group_members(frame)]
    return bool(found) and {*found} == {*members}


def frames_of(task):
    """The frames of a suspended task, the outermost first."""
    coroutine = task.get_coro()
    while getattr(coroutine, "cr_frame", None) is not None:
        yield coroutine.cr_frame
        coroutine = coroutine.cr_await


@scene(*(f"asyncio.tasks._wait.{name}" for name in ("fs", "timeout", "return_when")))
async def what_wait_waits_for():
    future = asyncio.get_running_loop().create_future()

    async def found(**options):
        async with suspended(asyncio.wait([future], **options)) as task:
            waits = [awaiting.waited_for(frame) for frame in frames_of(task)]
        return [wait for wait in waits if wait is not None]

    return (
        await found() == [([future], True)]
        and await found(return_when=asyncio.FIRST_COMPLETED) == [([future], False)]
        and await found(timeout=60) == []
    )


@scene("asyncio.Timeout._task")
async def whose_wait_a_time_out_ends():
    before = asyncio.timeout(60)
    async with asyncio.timeout(60) as timeout:
        return awaiting.task_of_timeout(timeout) is asyncio.current_task() and awaiting.task_of_timeout(before) is None


@scene(
    "concurrent.futures.thread._WorkItem.run.self",
    "concurrent.futures.thread._WorkItem.future",
    "concurrent.futures.ThreadPoolExecutor._max_workers",
)
def the_jobs_of_an_executor():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        begun, end = threading.Semaphore(0), threading.Event()

        def work():
            begun.release()
            end.wait()

        def running():
            frames = sys._current_frames()
            return {awaiting.job_of_frame(frames[thread.ident]) for thread in awaiting.full_threads(executor)}

        try:
            jobs = [executor.submit(work)]
            begun.acquire()
            with_room = running()
            jobs += [executor.submit(work) for _ in range(2)]
            begun.acquire()
            queued = [is_queued(job) for job in jobs]
            return (with_room, running(), queued) == (set(), {*jobs[:2]}, [False, False, True])
        finally:
            end.set()
