"""Fixtures: loops that must close without a trace, gates, and a hard timeout around every test."""

import contextlib
import faulthandler
import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import signal
import sys

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key  # the real stderr, from before the capture

import everloop
from everloop import _native, watch
from process_support import Hall
from stages import STAGES, Stage
from support import PATIENCE, Gate, ResettingPeer, Witness, everloop_threads, open_descriptors, wait_until
from support import rescuing_loop as new_rescuing_loop

GRACE = 15.0  # seconds that a hung test gets to unwind before the whole run is ended


class Hang(SystemExit):
    """A test did not end. A SystemExit, because event loops let that through and pytest counts it as a failure."""


def pytest_configure(config):
    config.addinivalue_line("markers", "patience(seconds): how long this test may take before it counts as hung")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # each test ends with a collection, which need not look at all modules again


@pytest.fixture(scope="module")
def fork_server():
    """multiprocessing's fork server: it would stay until this process ends, so it is here first and goes last."""
    forkserver = multiprocessing.forkserver
    multiprocessing.set_forkserver_preload(["everloop"])  # processes start sooner
    forkserver.ensure_running()
    yield
    forkserver._forkserver._stop()
    multiprocessing.resource_tracker._resource_tracker._stop()


@pytest.fixture(autouse=True)
def _hard_timeout(request):
    """Fail a test that hangs, with the stacks of all threads, and go on with the next one.

    SIGALRM interrupts the main thread. Where even that does not help, faulthandler ends the process.
    """
    marker = request.node.get_closest_marker("patience")
    patience = marker.args[0] if marker else PATIENCE

    def on_alarm(signum, frame):
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        raise Hang(f"{request.node.nodeid} did not end within {patience:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, patience, GRACE / 5)
    real_stderr = request.config.stash.get(fault_handler_stderr_fd_key, sys.__stderr__)
    faulthandler.dump_traceback_later(patience + GRACE, exit=True, file=real_stderr)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _no_leftovers(_hard_timeout):
    """Every test gives back all descriptors, and leaves no thread of everloop behind."""
    _native.forget_sites()  # they are the process's, and one test's are no business of the next
    descriptors, threads = open_descriptors(), everloop_threads()

    def left_over_threads():
        return {number: name for number, name in everloop_threads().items() if number not in threads}

    def left_over_descriptors():
        return {fd: what for fd, what in open_descriptors().items() if descriptors.get(fd) != what}

    yield
    gc.collect()
    with contextlib.suppress(AssertionError):  # the assertion below tells more
        wait_until(lambda: not left_over_threads(), "the end of everloop's threads")
    assert left_over_threads() == {}
    with contextlib.suppress(AssertionError):  # the watchdog may be reading the source for a report
        wait_until(lambda: not left_over_descriptors(), "the end of descriptors")
    assert left_over_descriptors() == {}


@pytest.fixture
def loop(_no_leftovers):
    """A loop that does not rescue."""
    loop = everloop.EventLoop(rescue=False)
    yield loop
    loop.close()


@pytest.fixture
def one_look(monkeypatch):
    """A step that waits looks for a circle once. (When it looks again, it comes back and goes aside again.)"""
    monkeypatch.setattr("everloop.bridge.loops.step_wait.pauses", lambda timeout: iter([timeout]))


@pytest.fixture
def rescuing_loop(_no_leftovers):
    """A loop that rescues a step which is blocked for 5 ms."""
    loop = new_rescuing_loop()
    yield loop
    loop.close()


@pytest.fixture(params=STAGES)
def run(_no_leftovers, request):
    """Runs a coroutine on asyncio's own loop, and on everloop: plain, with rescue, and while home is aside."""
    return Stage(request.param)


@pytest.fixture
def reports(caplog):
    """The records of the logger `everloop`, as dictionaries, in the order of their arrival."""
    watch.install()  # the old writer keeps quiet about lines that earlier tests have blocked at

    def found(state=None):
        records = [record for record in caplog.records if hasattr(record, "everloop")]
        return [record.everloop for record in records if state in (None, record.everloop["state"])]

    return found


@pytest.fixture
def gate(_no_leftovers):
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def peer(_no_leftovers):
    """A connection on which `recv` blocks until the test resets it."""
    peer = ResettingPeer()
    yield peer
    peer.close()


@pytest.fixture
def listen(_no_leftovers, tmp_path):
    """Has this process listen, and says at which addresses. Ends that after the test."""

    def begin(*addresses):
        _native.listen(",".join(addresses or (f"{tmp_path}/here.sock", "127.0.0.1:0")), 10.0)
        return _native.listens_at()

    yield begin
    _native.stop_listening()


@pytest.fixture
def hall(tmp_path):
    return Hall(str(tmp_path / "hall"))


@pytest.fixture
def witness():
    """Fails the test that uses it if two pieces of Python overlapped."""
    witness = Witness()
    yield witness
    assert witness.overlaps == []
