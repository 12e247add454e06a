"""A debug build counts all references: whatever is done once more leaves that count where it was.

As regrtest -R: some runs to warm up, and then the next ones leave nothing behind. One of them may meet a thread on its
way out, or a table that grows, so what counts is what half of them leave.
"""

import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

import everloop
import test_bridge_leaks
from everloop import _native
from support import open_descriptors, wait_until
from tls_support import client_context, server_context

pytestmark = [
    pytest.mark.skipif(not hasattr(sys, "gettotalrefcount"), reason="only debug builds count references"),
    pytest.mark.patience(120),
]

WARM_UP = 3
RUNS = 5

SCENES = {}


def scene(function):
    """Is run on a loop of its own each time."""
    SCENES[function.__name__] = lambda: run(function())
    return function


def run(coroutine, **options):
    with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(**options)) as runner:
        runner.run(coroutine)


def references():
    """All there are, once all that is not needed any more is gone."""
    sys._clear_internal_caches() if hasattr(sys, "_clear_internal_caches") else sys._clear_type_cache()
    for _ in range(3):
        gc.collect()
    return sys.gettotalrefcount()


# ---- callbacks, tasks and threads


@scene
async def callbacks_and_timers():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    for number in range(50):
        loop.call_soon(int, number)
        loop.call_soon(int, number).cancel()
        loop.call_later(0, int, number)
        loop.call_later(3600, int, number).cancel()
        loop.call_at(loop.time(), callback=int)
    loop.call_later(3600, int)  # still there when the loop is closed
    loop.call_soon_threadsafe(done.set_result, None)
    await done


@scene
async def results_and_errors():
    async def fail():
        raise LookupError

    for _ in range(10):
        assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]
        with contextlib.suppress(LookupError):
            await asyncio.create_task(fail())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.0001)
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])


@scene
async def callbacks_that_fail():
    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context["message"]))
    loop.call_soon(int, "no number")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(told) == 1


@scene
async def debug_mode():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.call_soon(int)
    with contextlib.suppress(TypeError):
        loop.call_soon(None)
    await asyncio.create_task(asyncio.sleep(0))


@scene
async def steps_aside():
    async def block():
        for _ in range(5):
            with everloop.blocking():
                pass
            everloop.block_on(asyncio.sleep(0))
            await asyncio.sleep(0)

    await asyncio.gather(*(block() for _ in range(5)))


def rescued_steps():
    async def block():
        for _ in range(3):
            time.sleep(0.003)
            with contextlib.suppress(OSError):
                os.stat("/nowhere")
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(block() for _ in range(3)))

    run(main(), rescue=True, rescue_after=0.0005)
    _native.forget_sites()


SCENES["rescued_steps"] = rescued_steps


@scene
async def threads():
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(asyncio.to_thread(int) for _ in range(5)))
    with contextlib.suppress(ValueError):
        await loop.run_in_executor(None, int, "no number")
    await loop.getaddrinfo("127.0.0.1", 1)


@scene
async def asynchronous_generators():
    async def numbers():
        yield 1
        yield 2

    kept.append(numbers())
    async for _ in kept.pop():
        break
    generator = numbers()
    await anext(generator)


kept = []


@scene
async def signals():
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await arrived.wait()
    loop.remove_signal_handler(signal.SIGUSR1)


# ---- files


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(reader, writer):
    for size in (1, 1000, 100_000):
        writer.write(bytes(size))
        await reader.readexactly(size)
    writer.close()
    await writer.wait_closed()


async def serve_and_talk(**options):
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=options and server_context())
    port = server.sockets[0].getsockname()[1]
    for _ in range(2):
        await talk(*await asyncio.open_connection("127.0.0.1", port, **options))
    server.close()
    await server.wait_closed()


@scene
async def connections():
    await serve_and_talk()


@scene
async def connections_with_tls():
    await serve_and_talk(ssl=client_context(), server_hostname="localhost")


@scene
async def connections_in_debug_mode():
    asyncio.get_running_loop().set_debug(True)
    await serve_and_talk()


@scene
async def unix_connections():
    with tempfile.TemporaryDirectory() as directory:
        server = await asyncio.start_unix_server(echo, f"{directory}/socket")
        await talk(*await asyncio.open_unix_connection(f"{directory}/socket"))
        server.close()
        await server.wait_closed()


@scene
async def connections_that_are_left_open():
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        writer.write(bytes(10_000_000))
        writer.transport.abort()
        await asyncio.sleep(0)


@scene
async def sockets():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        receiving = asyncio.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        theirs.send(b"hello")
        await receiving
        await loop.sock_sendall(ours, b"hello")
        receiving = asyncio.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        readable = asyncio.Event()
        loop.add_reader(ours, readable.set)
        theirs.send(b"hello")
        await readable.wait()
        loop.remove_reader(ours)
        loop.add_writer(ours, int)  # still there when the loop is closed


@scene
async def datagrams():
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            arrived.set_result(data)

    receiver, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    address = receiver.get_extra_info("sockname")
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
    sender.sendto(b"hello")
    await arrived
    sender.close()
    receiver.close()


@scene
async def pipes():
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0))
    sink, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(write_end, "wb", 0))
    sink.write(b"hello")
    sink.close()
    assert await reader.read() == b"hello"
    source.close()


@scene
async def subprocesses():
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert await process.communicate(b"hello") == (b"hello", None)


# ---- what is measured


def with_portal(call):
    everloop.replace_anyio_pool()
    try:
        with everloop.LoopThread() as portal:
            call(portal)
    finally:
        everloop.restore_anyio_pool()


for name, call in test_bridge_leaks.BRIDGE_CALLS.items():
    SCENES[f"bridge: {name}"] = functools.partial(with_portal, call)


def left_behind(use):
    """How many references a run leaves behind: half of the runs leave less, or as many."""
    descriptors = open_descriptors()
    left = [0] * (WARM_UP + RUNS)  # small numbers, which are no new references
    before = references()
    for number in range(len(left)):
        use()
        wait_until(lambda: open_descriptors() == descriptors, "the end of what the run has opened")
        after = references()
        left[number], before = after - before, after
    return sorted(left[WARM_UP:])[RUNS // 2]


@pytest.mark.parametrize("name", SCENES)
def test_no_references_are_left_behind_by(name):
    assert left_behind(SCENES[name]) <= 0


def test_what_leaks_is_found():
    leak = []
    assert left_behind(lambda: leak.append(object())) == 1
