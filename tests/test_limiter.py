"""Limiter: how many calls may be on threads at once, and who holds its tokens."""

import asyncio
import json
import threading
import time

import pytest

import everloop
from support import gates
from test_to_thread import run_script, turns, until


@pytest.mark.parametrize("limiter", [3, asyncio.Semaphore(3)])
def test_what_is_no_limiter_is_refused(limiter):
    async def main():
        with pytest.raises(TypeError, match=r"needs an everloop\.Limiter as its limiter, not .*functools\.partial"):
            await everloop.to_thread(int, limiter=limiter)

    everloop.run(main())


@pytest.mark.parametrize("tokens", [0, -1])
def test_a_limiter_without_tokens_is_refused(tokens):
    with pytest.raises(ValueError, match=f"a limiter needs at least one token, not {tokens}"):
        everloop.Limiter(tokens)
    limiter = everloop.Limiter(1)
    with pytest.raises(ValueError, match="at least one token"):
        limiter.tokens = tokens


@pytest.mark.parametrize("tokens", [1.5, "2", True, None])
def test_a_limiter_has_a_whole_number_of_tokens(tokens):
    with pytest.raises(TypeError, match="a limiter needs a whole number of tokens"):
        everloop.Limiter(tokens)


def test_a_limiter_limits_and_is_served_in_order():
    async def main():
        limiter = everloop.Limiter(2)
        order = []
        with gates(2) as two:
            first = [asyncio.create_task(everloop.to_thread(gate.wait, limiter=limiter)) for gate in two]
            await turns()
            rest = [asyncio.create_task(everloop.to_thread(order.append, n, limiter=limiter)) for n in range(5)]
            await turns()
            assert repr(limiter) == "<everloop.Limiter, 2 of 2 tokens are out, 5 wait>"
            assert len(limiter.holders) == 2
            assert order == []
            two[0].open()
            await asyncio.gather(*rest)
            assert order == [0, 1, 2, 3, 4]
            two[1].open()
            await asyncio.gather(*first)
        assert limiter.holders == {}

    everloop.run(main())


def test_a_limiter_may_have_more_tokens_than_the_pool_has_slots():
    async def main():
        limiter = everloop.Limiter(20)
        barrier = threading.Barrier(20)
        await asyncio.gather(*(everloop.to_thread(barrier.wait, 10, limiter=limiter) for _ in range(20)))

    everloop.run(main())


def test_a_limiter_can_be_changed_while_it_is_waited_for():
    async def main():
        limiter = everloop.Limiter(1)
        with gates(1) as [gate]:
            first = asyncio.create_task(everloop.to_thread(gate.wait, limiter=limiter))
            await turns()
            second = asyncio.create_task(everloop.to_thread(int, limiter=limiter))
            await turns()
            assert limiter.waiting == 1
            limiter.tokens = 2
            assert await second == 0
            gate.open()
            await first

    everloop.run(main())


def test_an_abandoned_call_holds_its_token_to_the_end():
    async def main():
        limiter = everloop.Limiter(1)
        with gates(1) as [gate]:
            entered = threading.Event()

            def work():
                entered.set()
                gate.wait()

            task = asyncio.create_task(everloop.to_thread(work, limiter=limiter, abandon_on_cancel=True))
            await until(entered.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(limiter.holders) == 1
            next_call = asyncio.create_task(everloop.to_thread(int, limiter=limiter))
            await turns()
            assert not next_call.done()
            gate.open()
            await next_call

    everloop.run(main())


def test_a_token_comes_back_though_the_loop_has_ended():
    limiter = everloop.Limiter(1)
    entered, done = threading.Event(), threading.Event()

    def work():
        entered.set()
        done.wait()

    async def abandon():
        task = asyncio.create_task(everloop.to_thread(work, limiter=limiter, abandon_on_cancel=True))
        await until(entered.is_set)
        task.cancel()

    everloop.run(abandon())
    assert len(limiter.holders) == 1
    done.set()
    assert everloop.run(everloop.to_thread(abs, -7, limiter=limiter)) == 7
    assert limiter.holders == {}


def test_several_loops_share_a_limiter():
    """In debug mode, where asyncio refuses what is not safe."""
    limiter = everloop.Limiter(2)
    running, most = [], []

    def work():
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()

    async def main():
        await asyncio.gather(*(everloop.to_thread(work, limiter=limiter) for _ in range(20)))

    threads = [threading.Thread(target=everloop.run, args=(main(),), kwargs={"debug": True}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(most), max(most), limiter.holders) == (60, 2, {})


def test_a_limiter_that_waits_for_itself_is_an_error():
    async def main():
        limiter = everloop.Limiter(4)
        running, most = 0, 0

        def outer(number):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return everloop.block_on(everloop.to_thread(abs, -number, limiter=limiter))
            finally:
                running -= 1

        calls = (everloop.to_thread(outer, number, limiter=limiter) for number in range(64))
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in results if isinstance(result, everloop.DeadlockError)]
        assert errors
        assert "4 of 4 tokens are out" in str(errors[0])
        assert "whose holders all wait" in str(errors[0])
        assert "in outer" in str(errors[0])
        assert [number for number, result in enumerate(results) if result not in (number, *errors)] == []
        assert most <= 4
        await until(lambda: limiter.holders == {})  # calls that somebody has given up waiting for run all the same

    everloop.run(main())


def test_a_call_that_waits_for_one_that_has_waited_for_its_token_before():
    async def main():
        limiter = everloop.Limiter(1)
        queued = threading.Event()

        def work():
            queued.wait()
            return everloop.block_on(second)

        first = asyncio.create_task(everloop.to_thread(work, limiter=limiter))
        await until(lambda: limiter.holders)
        second = asyncio.create_task(everloop.to_thread(int, limiter=limiter))
        await until(lambda: limiter.waiting)
        queued.set()
        with pytest.raises(everloop.DeadlockError, match="in work"):
            await first
        assert await second == 0

    everloop.run(main())


def test_two_limiters_whose_calls_wait_for_each_other():
    async def main():
        limiters = everloop.Limiter(1), everloop.Limiter(1)
        both = threading.Barrier(2)

        def work(limiter):
            both.wait()
            return everloop.block_on(everloop.to_thread(int, limiter=limiter))

        calls = (everloop.to_thread(work, theirs, limiter=ours) for ours, theirs in (limiters, limiters[::-1]))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results].count(everloop.DeadlockError) >= 1
        await until(lambda: not any(limiter.holders for limiter in limiters))

    everloop.run(main())


def test_a_forked_child_has_all_tokens_of_a_limiter():
    process = run_script(
        """
        import asyncio, os, threading, everloop

        limiter = everloop.Limiter(1)
        done = threading.Event()

        async def main():
            task = asyncio.create_task(everloop.to_thread(done.wait, limiter=limiter))
            while not limiter.holders:
                await asyncio.sleep(0)
            pid = os.fork()
            if not pid:
                os._exit(0 if child() else 1)
            done.set()
            await task
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def child():
            asyncio._set_running_loop(None)
            return everloop.run(everloop.to_thread(abs, -7, limiter=limiter)) == 7

        raise SystemExit(everloop.run(main()))
        """
    )
    assert process.returncode == 0, process.stderr


def test_statistics_say_who_holds_what_since_when():
    limiter = everloop.Limiter(1)

    def work(call):
        return everloop.block_on(call)

    async def main():
        opened = asyncio.Event()
        calls = [asyncio.create_task(everloop.to_thread(work, opened.wait(), limiter=limiter)) for _ in range(2)]
        await until(lambda: everloop.statistics()["waits"])
        seen = everloop.statistics()
        assert json.loads(json.dumps(seen)) == seen
        opened.set()
        await asyncio.gather(*calls)
        return seen

    seen = everloop.run(main())
    [mine] = [each for each in seen["limiters"] if each["waiting"]]
    [holder] = mine["holders"]
    assert (mine["tokens"], mine["out"], mine["waiting"]) == (1, 1, 1)
    assert "work (" in holder["function"]
    assert "test_limiter.py:" in holder["function"]
    assert holder["thread"] == "asyncio_0"
    assert 0 < holder["seconds"] < 30
    assert any("the call of " in wait["waiter"] and "work (" in wait["waiter"] for wait in seen["waits"])
    [pool] = [each["pool"] for each in seen["loops"] if each["running"]]
    assert [call["thread"] for call in pool["calls"]] == ["asyncio_0"]
