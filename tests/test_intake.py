"""Much that arrives at once is read bit by bit: what the first of it sets going runs before the last is read."""

import asyncio
import contextlib
import os
import socket

import everloop

PAIRS = 16
PIECE = bytes(128 * 1024)  # fits into a socket's buffers
INTAKE = 256 * 1024


class Recorder(asyncio.Protocol):
    """Notes what it gets, and in which turn."""

    def __init__(self, turn, on_data=None):
        self.turn = turn
        self.received = {}
        self.on_data = on_data

    def data_received(self, data):
        self.received[self.turn[0]] = self.received.get(self.turn[0], 0) + len(data)
        if self.on_data is not None:
            self.on_data(self)

    def count(self):
        return sum(self.received.values())


@contextlib.asynccontextmanager
async def flood():
    """Counts turns, and makes connections into which much is written at once, again and again."""
    loop = asyncio.get_running_loop()
    turn = [0]

    def count():
        turn[0] += 1
        loop.call_soon(count)

    loop.call_soon(count)
    with contextlib.ExitStack() as stack:
        peers, recorders, transports = [], [], []
        for _ in range(PAIRS):
            ours, peer = socket.socketpair()
            stack.callback(peer.close)
            recorder = Recorder(turn)
            transport, _ = await loop.create_connection(lambda recorder=recorder: recorder, sock=ours)
            stack.callback(transport.abort)
            peers.append(peer)
            recorders.append(recorder)
            transports.append(transport)

        def write():
            for peer in peers:
                peer.sendall(PIECE)

        async def settle(pieces):
            while any(recorder.count() < pieces * len(PIECE) for recorder in recorders):
                await asyncio.sleep(0)

        write()
        await settle(1)  # the loop has seen now how much comes
        yield recorders, transports, write, settle


def test_a_turn_reads_about_as_much_as_one_read_may_take():
    async def main():
        async with flood() as (recorders, _, write, settle):
            for recorder in recorders:
                recorder.received.clear()
            write()
            await settle(1)
            turns = {}
            for recorder in recorders:
                for turn, count in recorder.received.items():
                    turns[turn] = turns.get(turn, 0) + count
            assert sum(turns.values()) == PAIRS * len(PIECE)
            assert max(turns.values()) <= 2 * INTAKE

    everloop.run(main())


def test_what_the_first_read_sets_going_runs_before_the_last_read():
    async def main():
        async with flood() as (recorders, _, write, settle):
            loop = asyncio.get_running_loop()
            order = []

            def note(recorder):
                order.append("read")
                loop.call_soon(order.append, "ran")

            for recorder in recorders:
                recorder.on_data = note
            write()
            await settle(2)
            assert order.index("ran") < len(order) - 1 - order[::-1].index("read")

    everloop.run(main())


def test_a_transport_that_is_closed_before_its_turn_reads_nothing():
    async def main():
        async with flood() as (recorders, transports, write, _):
            first = []

            def abort_others(recorder):
                first.append(recorder)
                for other, transport in zip(recorders, transports, strict=True):
                    if other is not recorder:
                        transport.abort()

            for recorder in recorders:
                recorder.received.clear()
                recorder.on_data = abort_others
            write()
            while not first:
                await asyncio.sleep(0)
            for _ in range(2 * PAIRS):
                await asyncio.sleep(0)
            assert {id(recorder) for recorder in recorders if recorder.received} == {
                id(recorder) for recorder in first[:1]
            }

    everloop.run(main())


def test_what_another_thread_has_read_meanwhile_is_not_reported_again():
    async def main():
        async with flood() as (recorders, _, write, settle):
            loop = asyncio.get_running_loop()
            all_read = asyncio.Event()
            missing = set(range(8))
            errors = []

            def read(number, end):
                try:
                    os.read(end, 10)
                except BlockingIOError as error:
                    errors.append(error)
                missing.discard(number)
                if not missing:
                    all_read.set()

            def wait_once(recorder):
                if not missing:
                    return
                for each in recorders:
                    each.on_data = None
                everloop.block_on(all_read.wait())

            with contextlib.ExitStack() as stack:
                pipes = []
                for number in sorted(missing):
                    reader, writer = os.pipe()
                    stack.callback(os.close, reader)
                    stack.callback(os.close, writer)
                    os.set_blocking(reader, False)
                    loop.add_reader(reader, read, number, reader)
                    stack.callback(loop.remove_reader, reader)
                    pipes.append(writer)
                for recorder in recorders:
                    recorder.on_data = wait_once
                write()
                for writer in pipes:
                    os.write(writer, b"x")
                await settle(2)
                await all_read.wait()
                for _ in range(3 * PAIRS):
                    await asyncio.sleep(0)
            assert errors == []

    everloop.run(main())


def test_what_had_to_wait_when_the_loop_stopped_is_looked_at_again_in_the_next_run(loop):
    flooded = flood()
    recorders, _, write, settle = loop.run_until_complete(flooded.__aenter__())
    reader, writer = os.pipe()
    called = []
    try:
        loop.add_reader(reader, called.append, "reader")
        for recorder in recorders:
            recorder.on_data = lambda _: loop.stop()
        write()
        os.write(writer, b"x")
        loop.run_forever()
        assert called == [], "the loop has stopped before the pipe had its turn"
        os.read(reader, 1)
        for recorder in recorders:
            recorder.on_data = None
        loop.run_until_complete(settle(2))
        assert called == []
    finally:
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
        loop.run_until_complete(flooded.__aexit__(None, None, None))
