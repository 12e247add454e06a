"""Programs that gevent has patched: greenlets stand where threads stood; everloop starts threads of the system."""

import pytest

from support import run_script

pytest.importorskip("gevent")

# Before everloop is imported, as programs do that are started by gevent's workers; and after that.
PATCHED = {
    "patched first": """
        import gevent.monkey
        gevent.monkey.patch_all()
        import everloop
    """,
    "everloop first": """
        import everloop
        import gevent.monkey
        gevent.monkey.patch_all()
    """,
}
WORKS = """
        import asyncio, gevent, sys, threading, time, warnings
        warnings.simplefilter("ignore", ResourceWarning)
"""


@pytest.fixture(params=PATCHED)
def prints(request):
    """What a program prints that was patched; it must end well."""

    def run(scene):
        ran = run_script(IGNORED + PATCHED[request.param] + WORKS + scene)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


# gevent's own warnings are no errors of the program.
IGNORED = """
        import warnings
        warnings.simplefilter("ignore")
"""


def test_calls_on_threads_return_while_the_loop_goes_on(prints):
    assert (
        prints("""
        async def main():
            ticks = []
            asyncio.get_running_loop().call_soon(ticks.append, 1)
            calls = [asyncio.to_thread(lambda n=n: n) for n in range(3)] + [everloop.to_thread(len, "xxx")]
            return await asyncio.gather(*calls), ticks

        print(everloop.run(main()))
    """)
        == "([0, 1, 2, 3], [1])\n"
    )


def test_a_step_in_blocking_lets_others_go_on(prints):
    assert (
        prints("""
        from gevent.monkey import get_original

        event = get_original("_thread", "allocate_lock")()
        event.acquire()

        async def block():
            with everloop.blocking():
                event.acquire()
            return "came back"

        async def main():
            blocked = asyncio.ensure_future(block())
            await asyncio.sleep(0)
            event.release()
            return await blocked

        print(everloop.run(main()))
    """)
        == "came back\n"
    )


def test_block_on_and_a_loop_thread_work(prints):
    assert (
        prints("""
        print(everloop.block_on(asyncio.sleep(0.001, "block_on"), timeout=5))
        with everloop.LoopThread() as portal:
            print(portal.run(asyncio.sleep(0.001, "portal"), timeout=5))

        async def main():
            return everloop.block_on(asyncio.sleep(0.001, "in a step"))

        print(everloop.run(main()))
    """)
        == "block_on\nportal\nin a step\n"
    )


def test_greenlets_of_the_main_thread_go_on_while_the_loop_sleeps(prints):
    """As on asyncio's loop, whose selector gevent has replaced: a server of the same program can answer."""
    assert (
        prints("""
        from gevent.server import StreamServer

        server = StreamServer(("127.0.0.1", 0), lambda sock, address: sock.sendall(sock.recv(1)))
        server.start()

        async def main():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
            writer.write(b"x")
            answer = await asyncio.wait_for(reader.read(1), 10)
            writer.close()
            await writer.wait_closed()
            return answer

        print(everloop.run(main()))
        server.stop()
    """)
        == "b'x'\n"
    )


def test_another_thread_wakes_a_loop_that_sleeps_beside_greenlets(prints):
    assert (
        prints("""
        from gevent.monkey import get_original

        async def main():
            loop, woken = asyncio.get_running_loop(), asyncio.Event()
            get_original("_thread", "start_new_thread")(lambda: loop.call_soon_threadsafe(woken.set), ())
            await woken.wait()
            return "woken"

        print(everloop.run(main()))
    """)
        == "woken\n"
    )


def test_a_step_that_blocks_in_gevent_is_not_rescued_and_the_program_is_told(prints):
    assert (
        prints("""
        async def one(number):
            time.sleep(0.05)
            await asyncio.sleep(0.001)
            return await asyncio.to_thread(lambda: number)

        async def main():
            return await asyncio.gather(*(one(number) for number in range(3)))

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            print(everloop.run(main(), rescue=True))
        print(any("rescue is off: gevent has replaced" in str(warning.message) for warning in told))
    """)
        == "[0, 1, 2]\nTrue\n"
    )
