"""Names are resolved without holding up the loop, and connections go to the address that answers first."""

import asyncio
import contextlib
import socket
import threading

import pytest

import everloop
from support import gates

LOCALHOST = "127.0.0.1"


def addresses(*pairs):
    """What getaddrinfo would answer."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", pair) for pair in pairs]


def answer(loop, *pairs):
    """Have the loop's resolver answer this; the list of questions."""
    asked = []

    async def getaddrinfo(host, port, **options):
        asked.append((host, port, options))
        return addresses(*pairs)

    loop.getaddrinfo = getaddrinfo
    return asked


@contextlib.contextmanager
def silent_address():
    """An address that does not answer: its backlog is full, so that connecting takes for ever."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind((LOCALHOST, 0))
        listener.listen(0)
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


@contextlib.contextmanager
def refusing_address():
    with socket.socket() as sock:
        sock.bind((LOCALHOST, 0))
        yield sock.getsockname()


@contextlib.asynccontextmanager
async def answering_address():
    def greet(reader, writer):
        writer.close()

    async with await asyncio.start_server(greet, LOCALHOST, 0) as server:
        yield server.sockets[0].getsockname()


# ---- names


def test_numbers_are_resolved(run):
    async def main():
        loop = asyncio.get_running_loop()
        options = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP, "family": socket.AF_INET}
        assert await loop.getaddrinfo(LOCALHOST, 80, **options) == addresses((LOCALHOST, 80))
        assert await loop.getaddrinfo(LOCALHOST, "80", **options) == addresses((LOCALHOST, 80))
        assert await loop.getaddrinfo(None, 80, flags=socket.AI_PASSIVE, **options) == addresses(("0.0.0.0", 80))
        assert await loop.getaddrinfo(LOCALHOST.encode(), None, **options) == addresses((LOCALHOST, 0))
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert await loop.getnameinfo((LOCALHOST, 80), numeric) == (LOCALHOST, "80")

    run(main())


def test_what_cannot_be_resolved_is_an_error(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("not an address", 80, flags=socket.AI_NUMERICHOST)
        with pytest.raises(socket.gaierror):
            await loop.getnameinfo(("not an address", 80), socket.NI_NUMERICHOST)

    run(main())


def test_a_slow_resolver_does_not_hold_up_the_loop(run, monkeypatch):
    with gates(1) as [gate]:

        def slow(*args, **options):
            gate.wait()
            return addresses((LOCALHOST, threading.get_ident()))

        monkeypatch.setattr(socket, "getaddrinfo", slow)

        async def main():
            resolving = asyncio.create_task(asyncio.get_running_loop().getaddrinfo("slow.test", 80))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not resolving.done()
            gate.open()
            [(*_, (_, thread))] = await resolving
            assert thread not in (threading.get_ident(), threading.main_thread().ident)

        run(main())


def test_a_numeric_address_asks_no_resolver(run):
    async def main():
        loop = asyncio.get_running_loop()
        asked = answer(loop)
        async with answering_address() as (host, port):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
        assert asked == []

    run(main())


def test_a_resolver_that_blocks_the_loop_is_rescued(rescuing_loop, monkeypatch):
    """socket.getaddrinfo called by a step itself, as synchronous clients do."""
    with gates(1) as [gate]:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (gate.wait(), addresses((LOCALHOST, 80)))[1])

        async def main():
            async def resolve():
                return socket.getaddrinfo("slow.test", 80)

            resolving = asyncio.create_task(resolve())
            await asyncio.sleep(0)
            gate.open()
            assert await resolving == addresses((LOCALHOST, 80))

        rescuing_loop.run_until_complete(main())


# ---- happy eyeballs


def test_an_address_that_does_not_answer_costs_only_the_delay(run):
    async def main():
        loop = asyncio.get_running_loop()
        with silent_address() as silent:
            async with answering_address() as answering:
                asked = answer(loop, silent, answering)
                transport, _ = await loop.create_connection(asyncio.Protocol, "a.test", 80, happy_eyeballs_delay=0.01)
                assert transport.get_extra_info("peername") == answering
                assert [question[:2] for question in asked] == [("a.test", 80)]
                transport.close()
                await asyncio.sleep(0)

    run(main())


def test_an_address_that_refuses_costs_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with refusing_address() as refusing:
            async with answering_address() as answering:
                answer(loop, refusing, answering)
                for options in ({}, {"happy_eyeballs_delay": 1000}):
                    transport, _ = await loop.create_connection(asyncio.Protocol, "a.test", 80, **options)
                    assert transport.get_extra_info("peername") == answering
                    transport.close()

    run(main())


def test_all_errors_are_told_if_none_answers(run):
    async def main():
        loop = asyncio.get_running_loop()
        with refusing_address() as first, refusing_address() as second:
            answer(loop, first, second)
            for options in ({}, {"happy_eyeballs_delay": 0.01}):
                with pytest.raises(OSError, match="Multiple exceptions") as error:
                    await loop.create_connection(asyncio.Protocol, "a.test", 80, **options)
                assert str(first[1]) in str(error.value)
                assert str(second[1]) in str(error.value)
                with pytest.raises(ExceptionGroup) as group:
                    await loop.create_connection(asyncio.Protocol, "a.test", 80, all_errors=True, **options)
                assert [type(each) for each in group.value.exceptions] == [ConnectionRefusedError] * 2

    run(main())


def test_cancelling_a_race_leaves_no_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        with silent_address() as first, silent_address() as second:
            before = len(loop._selector.get_map())
            answer(loop, first, second)
            connecting = asyncio.create_task(
                loop.create_connection(asyncio.Protocol, "a.test", 80, happy_eyeballs_delay=0.001)
            )
            while len(loop._selector.get_map()) < 2 + before:
                await asyncio.sleep(0)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await asyncio.sleep(0)
            assert len(loop._selector.get_map()) == before

    run(main())


def test_a_race_goes_on_while_a_step_blocks(rescuing_loop):
    async def main():
        with silent_address() as silent, gates(1) as [gate]:
            async with answering_address() as answering:
                answer(rescuing_loop, silent, answering)

                async def block():
                    gate.wait()

                connecting = asyncio.create_task(
                    rescuing_loop.create_connection(asyncio.Protocol, "a.test", 80, happy_eyeballs_delay=0.01)
                )
                blocked = asyncio.create_task(block())
                transport, _ = await connecting
                assert transport.get_extra_info("peername") == answering
                assert not blocked.done()
                gate.open()
                await blocked
                transport.close()
                await asyncio.sleep(0)

    rescuing_loop.run_until_complete(main())


def test_addresses_of_two_families_take_turns(run):
    async def main():
        loop = asyncio.get_running_loop()
        tried = []

        async def sock_connect(sock, address):
            tried.append(sock.family)
            raise ConnectionRefusedError

        async def getaddrinfo(host, port, **options):
            six = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0))
            return [six, six, *addresses((LOCALHOST, port), (LOCALHOST, port))]

        loop.getaddrinfo, loop.sock_connect = getaddrinfo, sock_connect
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(asyncio.Protocol, "a.test", 80, interleave=1)
        four, six = socket.AF_INET, socket.AF_INET6
        assert tried == [six, four, six, four]

    run(main())


def test_everloop_run_resolves_too():
    async def main():
        async with await asyncio.start_server(lambda *_: None, "localhost", 0) as server:
            return len(server.sockets)

    assert everloop.run(main()) >= 1
