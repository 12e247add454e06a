"""What EventLoop takes from the interpreter's asyncio works on it: network, TLS, subprocesses, signals, executors."""

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import pathlib
import signal
import socket
import ssl
import sys
import types

import pytest

import everloop

CERTIFICATE = pathlib.Path(__file__).with_name("localhost.pem")  # self-signed, with its key, for a hundred years


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def talk(reader, writer):
    """Ask an echo server twice, and check the end of the stream."""
    for word in (b"hello", b"x" * 300_000):
        writer.write(word)
        assert await reader.readexactly(len(word)) == word.upper()
    writer.write_eof() if writer.can_write_eof() else writer.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


# ---- streams


def test_tcp_streams():
    async def main():
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            await talk(*await asyncio.open_connection(*server.sockets[0].getsockname()))

    everloop.run(main())


def test_unix_streams(tmp_path):
    async def main():
        path = tmp_path / "socket"
        async with await asyncio.start_unix_server(echo, path):
            await talk(*await asyncio.open_unix_connection(path))

    everloop.run(main())


def test_tls_streams():
    async def main():
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(CERTIFICATE)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(CERTIFICATE)
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port, ssl=trusting, server_hostname="localhost")
            assert writer.get_extra_info("ssl_object").version().startswith("TLS")
            await talk(reader, writer)

    everloop.run(main())


def test_an_untrusted_certificate_is_an_error():
    async def main():
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(CERTIFICATE)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's side of it
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            host, port = server.sockets[0].getsockname()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(host, port, ssl=ssl.create_default_context(), server_hostname="localhost")

    everloop.run(main())


def test_many_connections_at_once():
    async def main():
        async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=200) as server:
            address = server.sockets[0].getsockname()

            async def client():
                await talk(*await asyncio.open_connection(*address))

            await asyncio.gather(*(client() for _ in range(50)))

    everloop.run(main())


def test_a_refused_connection_is_an_os_error():
    async def main():
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*unheard.getsockname())

    everloop.run(main())


# ---- protocols


class Recorder(asyncio.Protocol):
    """Notes which method was called, in which context and inside which running loop."""

    variable = contextvars.ContextVar("variable")

    def __init__(self, connected_as):
        self.variable.set(connected_as)
        self.calls = []
        self.lost = asyncio.get_running_loop().create_future()

    def note(self, name):
        self.calls.append((name, asyncio.get_running_loop() is self.lost.get_loop()))

    def connection_made(self, transport):
        self.note("connection_made")
        self.transport = transport

    def data_received(self, data):
        self.note(data.decode())

    def eof_received(self):
        self.note("eof_received")

    def connection_lost(self, exception):
        self.note("connection_lost")
        self.lost.set_result(exception)


def test_a_protocol_is_called_in_order():
    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        transport, protocol = await loop.create_connection(lambda: Recorder("here"), sock=left)
        assert isinstance(transport, asyncio.Transport)
        assert protocol.calls == [("connection_made", True)]
        right.send(b"hello")
        right.close()
        assert await protocol.lost is None
        assert protocol.calls == [
            (name, True) for name in ("connection_made", "hello", "eof_received", "connection_lost")
        ]

    everloop.run(main())


def test_connection_lost_comes_after_close_returned():
    async def main():
        left, right = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(lambda: Recorder("here"), sock=left)
        transport.close()
        assert protocol.calls == [("connection_made", True)]
        await protocol.lost
        right.close()

    everloop.run(main())


def test_udp():
    class Answer(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Ask(asyncio.DatagramProtocol):
        def __init__(self):
            self.answer = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, address):
            self.answer.set_result(data)

    async def main():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Answer, local_addr=("127.0.0.1", 0))
        client, ask = await loop.create_datagram_endpoint(Ask, remote_addr=server.get_extra_info("sockname"))
        client.sendto(b"hello")
        assert await ask.answer == b"HELLO"
        client.close()
        server.close()
        await asyncio.sleep(0)

    everloop.run(main())


def test_pipes():
    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        reader, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
        )
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
        writer.write(b"through the pipe")
        writer.close()
        assert await stream.read() == b"through the pipe"
        reader.close()
        await asyncio.sleep(0)

    everloop.run(main())


def test_sendfile(tmp_path):
    (tmp_path / "file").write_bytes(b"contents" * 10_000)

    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=right)
        with (tmp_path / "file").open("rb") as file:
            reading = asyncio.create_task(reader.read())
            await loop.sendfile(transport, file)
        transport.close()
        assert await reading == b"contents" * 10_000
        writer.close()
        await writer.wait_closed()

    everloop.run(main())


# ---- processes and signals


def test_a_subprocess_is_talked_to():
    async def main():
        program = "import sys; print(sys.stdin.read().upper(), end=''); sys.exit(3)"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        output, _ = await process.communicate(b"hello")
        assert (output, process.returncode) == (b"HELLO", 3)

    everloop.run(main())


def test_many_subprocesses_end():
    async def main():
        async def status(number):
            return await (await asyncio.create_subprocess_shell(f"exit {number}")).wait()

        assert await asyncio.gather(*(status(number) for number in range(10))) == list(range(10))

    everloop.run(main())


def test_a_signal_handler_runs_as_a_step(loop):
    async def main():
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await seen.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1) is True
        assert loop.remove_signal_handler(signal.SIGUSR1) is False

    loop.run_until_complete(main())


def test_a_signal_wakes_an_idle_loop(loop):
    """The handler is called by Python itself, in the main thread, while the loop sleeps without any timer."""
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(loop.stop))
    try:
        loop.run_in_executor(None, os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    loop.run_until_complete(loop.shutdown_default_executor())


# ---- programs that patch asyncio


def test_everloop_can_stand_where_asyncio_keeps_its_own_loop(monkeypatch):
    monkeypatch.setattr(asyncio, "SelectorEventLoop", everloop.EventLoop)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(asyncio.sleep(0, "done")) == "done"
        assert isinstance(runner.get_loop(), everloop.EventLoop)


# ---- executors and names


def test_to_thread_carries_the_context():
    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set("carried")
        return await asyncio.to_thread(variable.get)

    assert everloop.run(main()) == "carried"


def test_executors_return_results_and_exceptions(loop):
    async def main():
        assert await loop.run_in_executor(None, pow, 2, 10) == 1024
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert await asyncio.gather(*(loop.run_in_executor(pool, abs, -n) for n in range(100))) == list(range(100))
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


def test_names_are_resolved(loop):
    async def main():
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)
        assert await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (
            "127.0.0.1",
            "80",
        )
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


# ---- tasks and generators


def test_tasks_and_futures_are_asyncio_s_own(loop):
    async def main():
        task = loop.create_task(asyncio.sleep(0, "result"), name="named")
        assert type(task) is asyncio.Task
        assert type(loop.create_future()) is asyncio.Future
        assert task.get_name() == "named"
        assert asyncio.all_tasks() == {task, asyncio.current_task()}
        return await task

    assert loop.run_until_complete(main()) == "result"


def test_a_task_factory_is_used(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    assert loop.run_until_complete(asyncio.sleep(0, "result")) == "result"
    assert len(made) == 1
    assert loop.get_task_factory() is factory


def test_eager_tasks_work(loop):
    async def main():
        order = []

        async def child():
            order.append("child")

        task = asyncio.create_task(child())
        order.append("after")
        await task
        return order

    loop.set_task_factory(asyncio.eager_task_factory)
    assert loop.run_until_complete(main()) == ["child", "after"]


def test_an_abandoned_generator_is_closed_by_its_loop():
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(asyncio.get_running_loop())

    async def main():
        abandoned = numbers()
        assert await anext(abandoned) == 1
        del abandoned
        gc.collect()
        while not closed:
            await asyncio.sleep(0)
        return asyncio.get_running_loop()

    assert [everloop.run(main())] == closed


def test_run_shuts_generators_down():
    closed = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    kept = numbers()

    async def main():
        return await anext(kept)

    assert everloop.run(main()) == 1
    assert closed == ["closed"]


def test_task_groups_queues_and_locks_work():
    async def main():
        queue, lock, taken = asyncio.Queue(3), asyncio.Lock(), []

        async def produce():
            for number in range(50):
                await queue.put(number)
            queue.shutdown() if sys.version_info >= (3, 13) else await queue.put(None)

        async def consume():
            while len(taken) < 50:
                number = await queue.get()
                async with lock:
                    await asyncio.sleep(0)
                    taken.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        return taken

    assert everloop.run(main()) == list(range(50))


# ---- private names that asyncio's tests, and other people's, look at


def test_slow_callbacks_are_logged_by_the_logger_of_base_events(loop, monkeypatch):
    warned = []
    logger = types.SimpleNamespace(warning=lambda text, *args: warned.append(text % args), debug=lambda *args: None)
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(loop.stop)
    monkeypatch.setattr(asyncio.base_events, "logger", logger)
    loop.run_forever()
    assert any(line.startswith("Executing <Handle") and "stop" in line for line in warned)


def test_one_descriptor_is_the_loop_s_own(loop):
    assert loop._internal_fds == 1
    loop.add_signal_handler(signal.SIGUSR1, print)  # makes a pair of sockets, as asyncio's has from the beginning
    assert loop._internal_fds == 1
    loop.close()
    assert loop._internal_fds == 0
