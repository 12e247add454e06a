"""Libraries that really block, inside of coroutines under rescue."""

import asyncio
import contextlib
import os
import socket
import sqlite3
import subprocess
import threading

import requests

from support import (
    SlowServer,
    run_against,
    spin,
    wait_aside,
)


def test_requests_to_a_slow_server(rescuing_loop, witness):
    with SlowServer() as server:

        def fetch():
            with requests.Session() as session:
                session.trust_env = False
                return session.get(server.url).text

        for _ in range(2):
            assert run_against(rescuing_loop, witness, fetch, server.gate.open) == "slow"


def test_requests_that_time_out(rescuing_loop, witness):
    with SlowServer() as server:

        async def fetch():
            with requests.Session() as session:
                session.trust_env = False
                try:
                    session.get(server.url, timeout=0.1)
                except requests.Timeout:
                    with witness:
                        return "timed out"

        async def main():
            tasks = [asyncio.create_task(fetch()) for _ in range(3)]
            await asyncio.sleep(0)
            while not all(task.done() for task in tasks):
                with witness:
                    spin(0.0005)
                await asyncio.sleep(0.0005)
            for _ in tasks:
                server.gate.open()
            return await asyncio.gather(*tasks)

        assert rescuing_loop.run_until_complete(main()) == ["timed out"] * 3


def test_sqlite_waits_for_a_lock(rescuing_loop, witness, tmp_path):
    path = tmp_path / "database"
    options = {"check_same_thread": False, "isolation_level": None, "timeout": 60}
    holder, waiter = (sqlite3.connect(path, **options) for _ in range(2))
    holder.execute("CREATE TABLE t (n)")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("INSERT INTO t VALUES (1)")

    def insert():
        waiter.execute("INSERT INTO t VALUES (2)")
        with witness:
            return waiter.execute("SELECT sum(n) FROM t").fetchone()

    assert run_against(rescuing_loop, witness, insert, lambda: holder.execute("COMMIT")) == (3,)
    holder.close()
    waiter.close()


def test_sqlite_stays_on_its_thread_within_a_step(rescuing_loop, witness, gate):
    """A connection that checks its thread is fine as long as its step is one."""

    def use():
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.create_function("wait", 0, lambda: len(os.read(gate.reader, 1)))
            return connection.execute("SELECT wait()").fetchone()

    assert run_against(rescuing_loop, witness, use, gate.open) == (1,)


def test_a_child_process_is_waited_for(rescuing_loop, gate, witness):
    def run():
        return subprocess.run(["head", "-c", "1"], stdin=gate.reader, capture_output=True, check=True).stdout

    for _ in range(2):
        assert run_against(rescuing_loop, witness, run, gate.open) == b"o"


def test_names_are_resolved_while_others_run(rescuing_loop, gate, witness):
    """How long the resolver takes is not ours to say: every answer is right, rescued or not."""

    def resolve(number):
        return socket.getaddrinfo("localhost", number, type=socket.SOCK_STREAM)

    async def block(number):
        found = resolve(number)
        with witness:
            return {address[1] for *_, address in found}

    async def main():
        return await asyncio.gather(*(block(number) for number in range(1, 30)))

    rescuing_loop.rescue_after = 0.0001
    assert rescuing_loop.run_until_complete(main()) == [{number} for number in range(1, 30)]


def test_a_fifo_blocks_at_open_and_at_read(rescuing_loop, witness, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def read():
        with path.open() as fifo:
            with witness:
                pass
            return fifo.read()

    async def block():
        return read()

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        writer = os.open(path, os.O_WRONLY)
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        os.write(writer, b"contents")
        witness.open_and_linger(lambda: os.close(writer))
        return await task

    assert rescuing_loop.run_until_complete(main()) == "contents"


def test_a_thread_is_joined(rescuing_loop, gate, witness):
    thread = threading.Thread(target=gate.wait)
    thread.start()
    assert run_against(rescuing_loop, witness, thread.join, gate.open) is None
