"""Scenes of threads and processes, and of anyio's: see private_scenes.py."""

import concurrent.futures
import multiprocessing.process
import multiprocessing.resource_tracker
import sys
import threading

import anyio
import anyio._backends._asyncio
import anyio.to_thread

import everloop
from everloop.private import anyio_backend, names, threads
from private_scenes import scene


@scene("multiprocessing.process._children")
def processes_of_the_parent_are_forgotten():
    child = multiprocessing.process.BaseProcess()
    multiprocessing.process._children.add(child)
    try:
        threads.forget_process(child)
        return child not in multiprocessing.process._children
    finally:
        multiprocessing.process._children.discard(child)


@scene("concurrent.futures.ThreadPoolExecutor._threads")
def the_threads_of_an_executor():
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        before = threads.threads_of(executor)
        ident = executor.submit(threading.get_ident).result()
        return before == [] and [thread.ident for thread in threads.threads_of(executor)] == [ident]


@scene("concurrent.futures.ProcessPoolExecutor._executor_manager_thread")
def the_thread_of_an_executor_of_processes():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        before = threads.threads_of(executor)
        executor.submit(int).result()
        found = [thread.is_alive() for thread in threads.threads_of(executor)]
    multiprocessing.resource_tracker._resource_tracker._stop()  # it would stay until this process ends
    return before == [] and found == [True]


@scene("threading._dangling")
def a_thread_that_has_ended_has_a_name():
    thread = threading.Thread(target=int, name="it has ended")
    thread.start()
    thread.join()
    return threads.name_of_thread(thread.native_id) == "it has ended" and threads.name_of_thread(-1) is None


def anyio_runs_on_everloops_threads():
    everloop.replace_anyio_pool()
    try:
        return everloop.run(anyio.to_thread.run_sync(run_in_thread)) == ("back", True)
    finally:
        everloop.restore_anyio_pool()


def run_in_thread():
    """Comes back to the loop from a thread of everloop's."""
    library = sys.modules.get("sniffio")
    assert library is None or library.thread_local.name is None
    return anyio.from_thread.run(return_back), threading.current_thread().name.startswith("asyncio")


async def return_back():
    return "back"


for entry in list(names.NAMES.values()):
    if isinstance(entry, anyio_backend.Required):
        scene(entry.place)(anyio_runs_on_everloops_threads)
