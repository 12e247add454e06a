"""The clock that jumps: timers come at once, in their order, and nothing else comes too late for them."""

import asyncio
import socket
import threading

import pytest

import everloop
from everloop.autojump import autojump


def jumping(main, **options):
    with autojump(**options):
        return everloop.run(main)


def test_timers_come_in_their_order_and_at_their_times():
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        begin = loop.time()
        for hour in (3, 1, 2):
            loop.call_later(3600 * hour, lambda: seen.append(round((loop.time() - begin) / 3600, 3)))
        await asyncio.sleep(4 * 3600)
        return seen

    assert jumping(main()) == [1, 2, 3]


def test_a_time_out_comes_only_if_nothing_is_to_be_had():
    async def main():
        queue = asyncio.Queue()
        asyncio.get_running_loop().call_later(10, queue.put_nowait, "it came")
        found = await asyncio.wait_for(queue.get(), 3600)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 3600)
        return found

    assert jumping(main()) == "it came"


def test_sockets_and_threads_are_waited_for():
    async def main():
        one, two = socket.socketpair()
        async with asyncio.timeout(3600):
            reader, writer = await asyncio.open_connection(sock=one)
            other, answer = await asyncio.open_connection(sock=two)
            writer.write(b"a line\n")
            answer.write(await other.readline())
            line = await reader.readline()
            go = threading.Event()
            call = asyncio.create_task(asyncio.to_thread(go.wait))
            asyncio.get_running_loop().call_later(0.001, go.set)
            waited = await call
        for each in (writer, answer):
            each.close()
            await each.wait_closed()
        return line, waited

    assert jumping(main()) == (b"a line\n", True)


def test_a_loop_that_runs_on_afterwards_goes_on_from_there():
    async def hour():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    async def moment():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=everloop.new_event_loop) as runner:
        with autojump():
            first = runner.run(hour())
        assert first <= runner.run(moment()) < first + 3600


@pytest.mark.parametrize("threshold", [-1, float("nan"), "soon"])
def test_a_threshold_that_is_no_time_is_refused(threshold):
    with pytest.raises(ValueError, match="autojump takes a number of seconds, not"):
        autojump(threshold=threshold)


def test_who_asks_for_a_threshold_is_given_that_time():
    async def main():
        loop = asyncio.get_running_loop()
        there, here = socket.socketpair()
        here.setblocking(False)
        thread = threading.Thread(target=there.sendall, args=(b"x",))
        thread.start()
        try:
            async with asyncio.timeout(3600):
                return await loop.sock_recv(here, 1)
        finally:
            thread.join()
            there.close()
            here.close()

    assert jumping(main(), threshold=10.0) == b"x"
