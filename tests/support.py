"""What several test files need: gates that block a thread, a witness of overlapping steps, scripts, a slow server.

No test sleeps to wait for something: a step blocks at a `Gate`, and whoever should run meanwhile opens it. On a loop
that freezes nobody does, the test hangs, and the hard timeout of `conftest.py` fails it with every thread's stack.
"""

import asyncio
import contextlib
import http.server
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time

import everloop

PATIENCE = 30.0  # seconds after which a test counts as hung


def rescuing_loop(**options):
    """A loop that rescues soon, so that tests are short."""
    return everloop.EventLoop(**{"rescue": True, "rescue_after": 0.005, **options})


def wait_until(condition, what="the condition"):
    """Wait from a plain thread for something that another thread does and that no event tells."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.001)


async def wait_aside(loop, count=1):
    """Let other tasks run until so many steps are aside."""
    while loop.statistics()["aside"] < count:
        await asyncio.sleep(0)


async def catch_two_cancels(seen, cancel):
    """Catch a cancel, call `cancel` for another one, and catch that too. A third one meets the caller's next wait."""
    for name in ("first", "second"):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(name)
            cancel()


def hand_offs(loop):
    """How often a step of this loop was put aside, for whatever reason."""
    statistics = loop.statistics()
    return statistics["releases"] + statistics["rescues"] + statistics["learned"]


def spin(seconds):
    """Run Python lines for so long, giving the GIL away as often as the interpreter likes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Gate:
    """A pipe to block at: `os.read(gate.reader, 1)` lets go of the GIL and returns once somebody calls `open()`."""

    def __init__(self):
        self.reader, self.writer = os.pipe()

    def wait(self):
        return os.read(self.reader, 1)

    def open(self):
        os.write(self.writer, b"o")

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@contextlib.contextmanager
def gates(count):
    opened = [Gate() for _ in range(count)]
    try:
        yield opened
    finally:
        for gate in opened:
            gate.close()


class ResettingPeer:
    """A connection whose `connection.recv(1)` blocks until `send()`, or until `reset()`: ConnectionResetError."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.connection = socket.create_connection(server.getsockname())
            self._peer, _ = server.accept()

    def send(self):
        self._peer.send(b"o")

    def reset(self):
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peer.close()

    def close(self):
        self.connection.close()
        self._peer.close()


class Witness:
    """Sees whether two steps run Python at once.

    Each piece of Python that should be alone runs inside `with witness:`. `open_and_linger` ends a blocking call of
    another step and then stays inside for a while: if that step goes on without the baton, it is caught red-handed.
    """

    def __init__(self):
        self.overlaps = []
        self.entries = 0
        self._inside = None

    def __enter__(self):
        me = threading.current_thread().name
        if self._inside is not None:
            self.overlaps.append((self._inside, me))
        self._inside = me
        entries = self.entries
        for _ in range(20):  # a few lines in which another thread may get the GIL
            pass
        self.entries = entries + 1

    def __exit__(self, *exc_info):
        if self._inside != threading.current_thread().name:
            self.overlaps.append((self._inside, threading.current_thread().name))
        self._inside = None

    def open_and_linger(self, open_gate):
        with self:
            open_gate()
            spin(0.03)


def run_against(loop, witness, blocking_call, release):
    """Run `blocking_call` as a step of its own and `release` once it is aside; both sides are witnessed."""

    async def block():
        try:
            return blocking_call()
        finally:
            with witness:
                pass

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        await wait_aside(loop)
        witness.open_and_linger(release)
        return await task

    return loop.run_until_complete(main())


def local_events(function):
    """Our events of a function's code."""
    tools = [number for number in range(6) if sys.monitoring.get_tool(number) == "everloop"]
    return [sys.monitoring.get_local_events(number, function.__code__) for number in tools]


@contextlib.contextmanager
def frequent_switches():
    """Let threads change often, so that a missing exclusion shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield random.Random(7)
    finally:
        sys.setswitchinterval(before)


def run_script(source, *arguments, timeout=PATIENCE, **environment):
    """Run Python source in a process of its own. A hang is a failure, with all stacks on its standard error."""
    prologue = f"import faulthandler; faulthandler.dump_traceback_later({timeout - 5}, exit=True)\n"
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", prologue + textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )


@contextlib.contextmanager
def started_script(source):
    """Run Python source in a process of its own, and talk to it while it runs."""
    prologue = f"import faulthandler; faulthandler.dump_traceback_later({PATIENCE - 5}, exit=True)\n"
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-u", "-c", prologue + textwrap.dedent(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def interrupt(process, said):
    """Send SIGINT once the process has said so, and return how it ended."""
    told = process.stdout.readline().strip()
    if told == said:
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert told == said, errors
    return process.returncode, output, errors


class SlowServer:
    """An HTTP server on a thread that answers a request once `gate` is opened, and not before."""

    def __init__(self):
        self.gate = Gate()
        slow = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                slow.gate.wait()
                self.send_response(200)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"slow")

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.gate.close()


def open_descriptors():
    """The open file descriptors, and what each one is."""
    found = {}
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that listed the directory
            found[int(name)] = os.readlink(f"/dev/fd/{name}")
    return found


WATCHDOG = ("everloop-watch", "everloop-deputy")


def everloop_threads():
    """The live threads that everloop started, by number, but for the process's watchdog and its deputy, which linger
    for a second."""
    found = {thread.native_id: thread.name for thread in threading.enumerate()}
    with contextlib.suppress(FileNotFoundError):
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as comm:
                found.setdefault(int(task), comm.read().strip())
    return {number: name for number, name in found.items() if name.startswith("everloop") and name not in WATCHDOG}
