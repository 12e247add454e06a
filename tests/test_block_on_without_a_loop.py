"""block_on on a thread without a loop: a client that is made by one call is used by the next ones."""

import asyncio
import contextvars
import gc
import socket
import threading

import pytest

import everloop
from test_fork import in_child


@pytest.fixture
def echo():
    """The address of a server on another thread's loop that sends lines back."""

    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async def start():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()

    async def stop(server):
        server.close()
        await server.wait_closed()

    with everloop.LoopThread() as portal:
        server, address = portal.run(start())
        yield address
        portal.run(stop(server))


class Client:
    async def connect(self, address):
        self.reader, self.writer = await asyncio.open_connection(*address)
        return self

    async def ask(self, line):
        self.writer.write(line)
        return await self.reader.readline()

    async def close(self):
        self.writer.close()

    async def loop(self):
        return asyncio.get_running_loop()


def test_a_client_is_used_over_several_calls(echo):
    client = everloop.block_on(Client().connect(echo))
    assert [everloop.block_on(client.ask(b"one\n")), everloop.block_on(client.ask(b"two\n"), timeout=10)] == [
        b"ONE\n",
        b"TWO\n",
    ]
    loop = everloop.block_on(client.loop())
    assert not loop.is_closed()
    everloop.block_on(client.close())
    # With the last connection the loop goes.
    assert loop.is_closed()
    assert everloop.block_on(client.loop()) is not loop


def test_two_clients_of_one_thread_share_its_loop(echo):
    first, second = (everloop.block_on(Client().connect(echo)) for _ in range(2))
    everloop.block_on(first.close())
    assert everloop.block_on(second.ask(b"still here\n")) == b"STILL HERE\n"
    everloop.block_on(second.close())


def test_tasks_that_are_left_are_cancelled_all_the_same(echo):
    tasks = []

    async def connect():
        tasks.append(asyncio.create_task(asyncio.Event().wait()))
        return await Client().connect(echo)

    client = everloop.block_on(connect())
    assert tasks[0].cancelled()
    everloop.block_on(client.close())


def test_context_variables_are_those_of_each_call(echo):
    variable = contextvars.ContextVar("variable")

    async def look():
        return variable.get()

    client = everloop.block_on(Client().connect(echo))
    for value in ("first", "second"):
        variable.set(value)
        assert everloop.block_on(look()) == value
    everloop.block_on(client.close())


def test_the_loop_goes_with_its_thread():
    loops = []
    ours, theirs = socket.socketpair()

    async def watch():
        asyncio.get_running_loop().add_reader(ours, int)
        loops.append(asyncio.get_running_loop())

    def use():
        everloop.block_on(watch())
        assert not loops[0].is_closed()

    with ours, theirs:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        gc.collect()
        assert loops[0].is_closed()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_loop_of_its_own(echo):
    client = everloop.block_on(Client().connect(echo))
    assert in_child(lambda: everloop.block_on(asyncio.sleep(0, "child"))) == "'child'"
    assert everloop.block_on(client.ask(b"parent\n")) == b"PARENT\n"
    everloop.block_on(client.close())
