"""anyio's `to_thread` on everloop's threads: its semantics stay, and `def` endpoints cannot lock each other out."""

import asyncio
import contextlib
import contextvars
import threading

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio._backends._asyncio import AsyncIOBackend

import everloop
from support import gates

variable = contextvars.ContextVar("variable", default="outside")


@pytest.fixture(autouse=True)
def replaced(_no_leftovers):
    everloop.replace_anyio_pool()
    yield
    everloop.restore_anyio_pool()


def thread_name():
    return threading.current_thread().name


async def statistics():
    return anyio.to_thread.current_default_thread_limiter().statistics()


def test_it_is_switched_on_and_off():
    async def main():
        return await anyio.to_thread.run_sync(thread_name)

    everloop.replace_anyio_pool()  # twice is as good as once
    assert everloop.run(main()).startswith("asyncio_")
    everloop.restore_anyio_pool()
    everloop.restore_anyio_pool()
    assert everloop.run(main()) == "AnyIO worker thread"
    assert AsyncIOBackend.__dict__["run_sync_in_worker_thread"].__func__.__module__ == "anyio._backends._asyncio"


def test_other_loops_keep_anyio_s_threads():
    async def main():
        return await anyio.to_thread.run_sync(thread_name)

    assert asyncio.run(main()) == "AnyIO worker thread"


def test_results_errors_and_context_variables():
    async def main():
        variable.set("inside")
        assert await anyio.to_thread.run_sync(variable.get) == "inside"
        error = ValueError("why")

        def fail():
            raise error

        with pytest.raises(ValueError, match="why") as caught:
            await anyio.to_thread.run_sync(fail)
        assert caught.value is error
        with pytest.raises(RuntimeError, match="StopIteration"):
            await anyio.to_thread.run_sync(next, iter(()))
        assert (await statistics()).borrowed_tokens == 0

    everloop.run(main())


def test_a_limiter_is_kept():
    async def main():
        limiter = anyio.CapacityLimiter(2)
        running, most = 0, 0

        def work():
            nonlocal running, most
            running += 1
            most = max(most, running)
            barrier.wait(5)
            running -= 1

        barrier = threading.Barrier(2)
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(lambda: anyio.to_thread.run_sync(work, limiter=limiter))
        assert most == 2
        assert limiter.borrowed_tokens == 0

    everloop.run(main())


def test_a_call_is_shielded_from_a_cancelled_scope_unless_it_may_be_abandoned():
    async def main():
        with gates(2) as [first, second]:
            entered = threading.Event()

            def work(gate):
                entered.set()
                gate.wait()

            async def cancel(scope):
                while not entered.is_set():
                    await asyncio.sleep(0)
                scope.cancel()

            with anyio.CancelScope() as scope:
                asyncio.get_running_loop().call_soon(first.open)
                task = asyncio.create_task(cancel(scope))
                await anyio.to_thread.run_sync(work, first)
            await task
            assert scope.cancel_called

            entered.clear()
            with anyio.CancelScope() as scope:
                task = asyncio.create_task(cancel(scope))
                await anyio.to_thread.run_sync(work, second, abandon_on_cancel=True)
            await task
            assert scope.cancelled_caught
            second.open()

    everloop.run(main())


def test_a_token_is_held_under_a_native_cancel():
    """anyio's own threads go past the limit there: the token comes back while the thread runs."""

    async def main():
        with gates(1) as [gate]:
            entered = threading.Event()

            def work():
                entered.set()
                gate.wait()

            task = asyncio.create_task(anyio.to_thread.run_sync(work))
            while not entered.is_set():
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            assert (await statistics()).borrowed_tokens == 1
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await statistics()).borrowed_tokens == 0

    everloop.run(main())


def test_a_call_that_waits_for_its_token_is_cancelled_and_never_begins():
    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        begun = []
        with gates(1) as [gate]:
            running = asyncio.create_task(anyio.to_thread.run_sync(gate.wait))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(anyio.to_thread.run_sync(begun.append, 1))
            await asyncio.sleep(0)
            assert (await statistics()).tasks_waiting == 1
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open()
            await running
        assert begun == []
        assert (await statistics()).borrowed_tokens == 0

    everloop.run(main())


def test_from_thread_and_check_cancelled_work_inside():
    async def main():
        async def double(number):
            await asyncio.sleep(0)
            return 2 * number

        def work():
            anyio.from_thread.check_cancelled()
            loop = anyio.from_thread.run_sync(asyncio.get_running_loop)
            return loop, anyio.from_thread.run(double, 4)

        assert await anyio.to_thread.run_sync(work) == (asyncio.get_running_loop(), 8)
        with anyio.CancelScope() as scope:

            def cancelled():
                anyio.from_thread.run_sync(scope.cancel)
                anyio.from_thread.check_cancelled()

            await anyio.to_thread.run_sync(cancelled)
        assert scope.cancelled_caught

        # the same thread is no thread of anyio's for others
        with pytest.raises(anyio.NoEventLoopError):
            await asyncio.to_thread(anyio.from_thread.check_cancelled)

    everloop.run(main())


def test_consecutive_calls_prefer_one_thread():
    async def main():
        await asyncio.gather(*(anyio.to_thread.run_sync(int) for _ in range(20)))

        async def request():
            return {await anyio.to_thread.run_sync(thread_name) for _ in range(10)}

        assert len(await request()) == 1

    everloop.run(main())


def test_two_hundred_calls_in_a_row_start_one_thread():
    async def main():
        for _ in range(200):
            await anyio.to_thread.run_sync(int)
        return sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())

    assert everloop.run(main()) == 1


def test_a_hundred_calls_that_each_wait_for_another_call():
    async def main():
        async def ask(number):
            return await anyio.to_thread.run_sync(abs, -number)

        def call(number):
            return anyio.from_thread.run(ask, number)

        calls = (anyio.to_thread.run_sync(call, number) for number in range(100))
        assert await asyncio.gather(*calls) == list(range(100))
        assert (await statistics()).total_tokens == 40

    everloop.run(main())


@pytest.mark.parametrize("path", ["/", "/later", "/streamed"])
def test_def_endpoints_over_a_small_pool_all_answer(path):
    """Some hold all connections while their endpoints wait for threads, and the threads wait for connections.

    A response is streamed by a task of its own, in many calls, while the task of its request is in the dependency.
    """
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    connections = threading.Semaphore(5)

    def connection():
        if not connections.acquire(timeout=30):
            raise fastapi.HTTPException(503)
        try:
            yield
        finally:
            connections.release()

    async def pause():
        await asyncio.sleep(0.001)

    held, paused = fastapi.Depends(connection), fastapi.Depends(pause)
    app = fastapi.FastAPI()

    @app.get("/")
    def endpoint(_=held):
        return "answered"

    @app.get("/later")
    def later(_=held, __=paused):
        return "answered"

    @app.get("/streamed")
    def streamed(_=held):
        return fastapi.responses.StreamingResponse(iter(["ans", "we", "red"] * 10))

    async def main():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            answers = await asyncio.gather(*(client.get(path) for _ in range(100)))
        assert [answer.status_code for answer in answers] == [200] * 100
        assert all("answered" in answer.text for answer in answers)

    everloop.run(main())


def test_who_could_not_enter_a_context_manager_waits_for_a_token_as_all_others_do():
    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        ready, held, done = asyncio.Event(), threading.Event(), []

        class Broken:
            def __enter__(self):
                raise ValueError("why")

        async def outside(*, task_status):
            with pytest.raises(ValueError, match="why"):
                await anyio.to_thread.run_sync(Broken().__enter__)
            task_status.started()
            await ready.wait()
            await anyio.to_thread.run_sync(done.append, "outside")

        async def inside(gate, *, task_status):
            await anyio.to_thread.run_sync(contextlib.nullcontext().__enter__)
            task_status.started()
            await ready.wait()
            await anyio.to_thread.run_sync(done.append, "inside")
            gate.open()

        def hold(gate):
            held.set()
            gate.wait()

        with gates(1) as [gate]:
            async with anyio.create_task_group() as group:
                await group.start(outside)
                await group.start(inside, gate)
                group.start_soon(anyio.to_thread.run_sync, hold, gate)  # has the token until `inside` opens the gate
                while not held.is_set():
                    await asyncio.sleep(0)
                ready.set()
        assert done == ["inside", "outside"]

    everloop.run(main())
