"""A loop that serves says once that anyio's own pool stands still, and what would help; and nothing else."""

import asyncio
import json
import threading
import time

import anyio
import anyio.to_thread
import pytest

import everloop
from everloop.bridge.threads import anyio_shortage

POOL = 2  # threads, and connections


@pytest.fixture(autouse=True)
def often(_no_leftovers, monkeypatch):
    everloop.restore_anyio_pool()
    monkeypatch.setattr(anyio_shortage, "LOOK", 0.02)
    monkeypatch.setattr(anyio_shortage, "_is_told", False)


@pytest.fixture
def looks(monkeypatch):
    """What the looks have found."""
    found, look = [], anyio_shortage.look
    monkeypatch.setattr(anyio_shortage, "look", lambda *args: found.append(look(*args)) or found[-1])
    return found


async def serve():
    return await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def texts(caplog):
    return [record.getMessage() for record in caplog.records if "anyio's pool" in record.getMessage()]


async def request(connections):
    """What FastAPI does with a dependency with `yield` and an endpoint that are `def`: two calls or more."""
    connection = await anyio.to_thread.run_sync(take, connections)
    if connection:
        await anyio.to_thread.run_sync(int)
        await anyio.to_thread.run_sync(connections.release)


def take(connections):
    return connections.acquire(timeout=5)


async def many(connections, count=8):
    anyio.to_thread.current_default_thread_limiter().total_tokens = POOL
    return [asyncio.create_task(request(connections)) for _ in range(count)]


def test_requests_that_lock_each_other_out_are_told_of_once_with_what_helps(caplog, looks):
    connections = threading.Semaphore(POOL)

    async def main():
        async with await serve():
            tasks = await many(connections)
            await until(lambda: texts(caplog))
            await asyncio.sleep(0)
            for _ in tasks:
                connections.release()
            await asyncio.gather(*tasks)

    everloop.run(main())
    [text] = texts(caplog)
    assert text.startswith("all 2 threads of anyio's pool have waited for a second for other threads")
    assert f"2 of them at {__file__}:{take.__code__.co_firstlineno + 1} in take" in text
    assert "calls wait for a thread" in text
    assert "EVERLOOP_ANYIO_POOL=1" in text
    assert looks


@pytest.mark.parametrize("form", ["json", "off"])
def test_it_is_told_in_the_form_of_reports(caplog, form):
    connections = threading.Semaphore(POOL)

    async def main():
        async with await serve():
            tasks = await many(connections)
            await until(lambda: anyio_shortage._is_told)
            for _ in tasks:
                connections.release()
            await asyncio.gather(*tasks)

    everloop.set_report(form)
    try:
        everloop.run(main())
    finally:
        everloop.set_report("text")
    assert [json.loads(text)["state"] for text in texts(caplog)] == ["message"] * (form == "json")


@pytest.mark.parametrize("work", ["sleeps", "waits, and nobody queues", "waits in turn"])
def test_a_pool_that_is_only_busy_is_not_told_of(caplog, looks, work):
    end = threading.Event()

    def busy():
        if work == "sleeps":
            while not end.is_set():
                time.sleep(0.001)
        elif work == "waits in turn":
            threading.Event().wait(0.001)
        else:
            end.wait()

    async def main():
        async with await serve():
            anyio.to_thread.current_default_thread_limiter().total_tokens = POOL
            count = POOL if work == "waits, and nobody queues" else 4 * POOL
            tasks = [asyncio.create_task(anyio.to_thread.run_sync(busy)) for _ in range(count)]
            await until(lambda: len(looks) > 5)
            end.set()
            await asyncio.gather(*tasks)

    everloop.run(main())
    assert texts(caplog) == []


@pytest.mark.parametrize("how", ["everloop's threads", "no server", "asyncio"])
def test_nobody_looks_where_there_is_nothing_to_see(looks, how):
    async def main():
        server = None if how == "no server" else await serve()
        await anyio.to_thread.run_sync(int)
        await asyncio.sleep(0.1)
        if server:
            server.close()

    if how == "everloop's threads":
        everloop.replace_anyio_pool()
    (asyncio.run if how == "asyncio" else everloop.run)(main())
    everloop.restore_anyio_pool()
    assert looks == []


def test_on_everloop_s_threads_the_same_requests_go_on(caplog):
    async def main():
        async with await serve():
            await asyncio.gather(*await many(threading.Semaphore(POOL), 100))

    everloop.replace_anyio_pool()
    everloop.run(main())
    everloop.restore_anyio_pool()
    assert texts(caplog) == []
