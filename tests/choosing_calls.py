"""The ways that docs/choosing.md compares, each as a coroutine that has a function, or a coroutine, run."""

import asyncio
import concurrent.futures
import contextlib
import pathlib

import everloop
from choosing_work import work


async def in_thread(function, *args):
    return await everloop.to_thread(function, *args)


async def in_executor(function, *args):
    executor = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return await everloop.to_executor(executor, function, *args)
    finally:
        executor.shutdown(wait=False)


async def in_interpreter(function, *args):
    return await everloop.to_interpreter(function, *args)


async def in_process(function, *args):
    return await everloop.to_process(function, *args)


async def in_blocking(function, *args):
    with everloop.blocking():
        return function(*args)


async def rescued(function, *args):
    return function(*args)


FUNCTIONS = {
    "`to_thread`": in_thread,
    "`to_executor`": in_executor,
    "`to_interpreter`": in_interpreter,
    "`to_process`": in_process,
    "`blocking`": in_blocking,
    "rescue": rescued,
}


async def by_block_on(function, *args, **options):
    return everloop.block_on(function(*args), **options)


async def by_loop_thread(function, *args, **options):
    with everloop.LoopThread() as portal:
        return portal.run(function(*args), **options)


async def by_syncify(function, *args):
    return everloop.syncify(function)(*args)


COROUTINES = {"`block_on`": by_block_on, "`LoopThread`": by_loop_thread, "`syncify`": by_syncify}


async def wait_cancelled(directory):
    """The coroutine that does what `work` does, and whose clean-up takes a few turns."""
    place = pathlib.Path(directory)
    (place / "begun").touch()
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(5):
            await asyncio.sleep(0)
        (place / "cleaned").touch()


def call_of(way, directory, **options):
    """A coroutine that does it the given way."""
    if way in FUNCTIONS:
        return FUNCTIONS[way](work, str(directory))
    return COROUTINES[way](wait_cancelled, directory, **options)


async def begun(directory):
    """Waits until the other side has begun."""
    while not (pathlib.Path(directory) / "begun").exists():
        await asyncio.sleep(0)


def run_to_the_end(way, directory):
    """A program whose main coroutine returns while the call goes on. Prints when."""

    async def main():
        task = asyncio.create_task(call_of(way, directory))
        await begun(directory)
        print("main ends", flush=True)
        return task

    with contextlib.suppress(asyncio.CancelledError):
        everloop.run(main(), rescue=True)
    names = {path.name for path in pathlib.Path(directory).iterdir()}
    print("run has ended", *sorted(names & {"done", "cleaned"}), flush=True)
