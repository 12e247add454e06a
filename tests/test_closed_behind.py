"""Somebody closes the loop's own descriptors behind its back: a daemonizer, a wrong number. The run tells of it."""

import asyncio
import errno
import os
import threading

import pytest

import everloop
from support import gates, run_script


def files_of_the_loop(kind):
    """The descriptors of the only loop that are of this kind, by what the system calls them."""

    def target(number):
        try:
            return os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the one that the directory was read through
            return ""

    return [int(number) for number in os.listdir("/proc/self/fd") if target(number) == f"anon_inode:[{kind}]"]


@pytest.fixture
def own_files():
    """Those of the loop that was made here, by kind. Each is closed once only, by the test."""
    before = {kind: files_of_the_loop(kind) for kind in ("eventpoll", "eventfd")}
    loop = everloop.new_event_loop()
    files = {kind: [fd for fd in files_of_the_loop(kind) if fd not in known] for kind, known in before.items()}
    loop.own_files = {kind: number for kind, (number,) in files.items()}
    yield loop
    loop.close()


def is_bad_descriptor(error):
    return error.errno == errno.EBADF


def test_a_loop_that_goes_to_sleep_learns_of_it(own_files):
    loop = own_files

    async def main():
        os.close(loop.own_files["eventpoll"])
        await asyncio.Event().wait()

    task = loop.create_task(main())
    task._log_destroy_pending = False
    with pytest.raises(OSError, check=is_bad_descriptor):
        loop.run_until_complete(task)


def test_a_loop_that_has_work_learns_of_it(own_files):
    loop = own_files

    def again():
        loop.call_soon(again)

    loop.call_soon(again)
    loop.call_soon(os.close, loop.own_files["eventpoll"])
    with pytest.raises(OSError, check=is_bad_descriptor):
        loop.run_forever()


def test_each_run_says_so(own_files):
    loop = own_files
    os.close(loop.own_files["eventpoll"])
    for _ in range(2):
        with pytest.raises(OSError, check=is_bad_descriptor):
            loop.run_forever()


def test_home_tells_of_what_a_relief_thread_has_met(own_files):
    """Home is in a blocking call meanwhile."""
    loop = own_files
    with gates(1) as [gate]:

        def block():
            loop.call_soon(close)
            with everloop.blocking():
                gate.wait()
            loop.call_soon(ran.append, "after the call")

        def close():
            os.close(loop.own_files["eventpoll"])
            threads.append(threading.current_thread())
            gate.open()

        ran, threads = [], []
        loop.call_soon(block)
        with pytest.raises(OSError, check=is_bad_descriptor):
            loop.run_forever()
        assert threads != [threading.main_thread()]
        assert ran == []


def test_a_sleeping_loop_that_cannot_be_woken_any_more_learns_of_it(own_files):
    """Who wakes it finds the descriptor closed, and has another way."""
    loop = own_files
    over = threading.Event()

    def disturb():
        os.close(loop.own_files["eventfd"])
        while not over.is_set():
            loop.call_soon_threadsafe(int)

    thread = threading.Thread(target=disturb)
    loop.call_soon(thread.start)
    with pytest.raises(OSError, check=is_bad_descriptor):
        loop.run_forever()
    over.set()
    thread.join()


def test_watching_a_file_says_so(own_files, gate):
    os.close(own_files.own_files["eventpoll"])
    with pytest.raises(OSError, check=is_bad_descriptor):
        own_files.add_reader(gate.reader, print)


def test_a_program_that_closes_all_descriptors_ends_with_the_error():
    """Those of connections too; and nothing is closed twice."""
    ran = run_script("""
        import asyncio, os, warnings
        import everloop

        async def main():
            server = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(0.001)
            os.closerange(3, 256)
            await reader.read()

        warnings.simplefilter("ignore")
        everloop.run(main())
    """)
    assert ran.returncode == 1
    assert "OSError: [Errno 9] Bad file descriptor" in ran.stderr
