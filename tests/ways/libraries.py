"""Ways to wait in the middle of a library, and odd places at which code of the program's own is called."""

import abc
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import functools
import heapq
import logging
import mmap
import multiprocessing.pool
import os
import queue
import sched
import shutil
import signal
import smtplib
import sqlite3
import subprocess
import sys
import threading
import time

from waits import FOLDER, fifo, slow_server
from way import TIME, lasting, later, way

# ---- the library waits


@way("sleep", advised="to_thread")
def scheduler():
    events = sched.scheduler()
    events.enter(TIME[0], 1, int)
    events.run()  # here events.run


@way("pipe", advised="to_thread")
def log_to_a_full_pipe():
    reader, writer = os.pipe()
    log = logging.Logger("some")
    log.addHandler(logging.StreamHandler(os.fdopen(writer, "w")))
    later(lambda: [os.read(reader, 1 << 16) for _ in range(2)])
    log.warning("x" * (1 << 16) + "y")  # here log.warning


@way("pipe", advised="to_thread")
def print_to_a_full_pipe():
    reader, writer = os.pipe()
    later(lambda: [os.read(reader, 1 << 16) for _ in range(2)])
    with os.fdopen(writer, "w") as file:
        print("x" * (1 << 16), file=file, flush=True)  # here print


@way("sleep", "child", advised="create_subprocess")
def run_with_a_time():
    subprocess.run(["sleep", str(TIME[0])], timeout=9)  # here subprocess.run


@way("pipe", "socket", "poll", "child", advised="create_subprocess")
def communicate_with_a_time():
    process = subprocess.Popen(["sleep", str(TIME[0])], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.communicate(timeout=9)  # here process.communicate


@way("child")
def wait_for_any_child():
    subprocess.Popen(["sleep", str(TIME[0])])
    os.wait()  # here os.wait


@way("child")
def waitid():
    process = subprocess.Popen(["sleep", str(TIME[0])])
    os.waitid(os.P_PID, process.pid, os.WEXITED)  # here os.waitid


@way("call", advised="to_thread")
def wait_for_a_signal():
    signal.sigtimedwait([signal.SIGUSR1], TIME[0])  # here signal.sigtimedwait


@way("socket", advised="to_thread")
def mail_server():
    with contextlib.suppress(smtplib.SMTPException):
        smtplib.SMTP("127.0.0.1", silent_server())  # here smtplib.SMTP


def silent_server():
    """Says nothing until the time is over, and then hangs up."""
    import socket

    server = socket.create_server(("127.0.0.1", 0))

    def hang_up():
        one, _ = server.accept()
        later(one.close).join()
        server.close()

    threading.Thread(target=hang_up, daemon=True).start()
    return server.getsockname()[1]


@way("socket", advised="HTTP client")
def download():
    import urllib.request

    urllib.request.urlretrieve(f"http://127.0.0.1:{slow_server()}/")  # here urllib.request.urlretrieve


@way("lock")
def queue_get_with_a_time():
    with contextlib.suppress(queue.Empty):
        queue.Queue().get(timeout=TIME[0])  # here queue.Queue().get


@way("lock")
def condition_wait_for():
    condition = threading.Condition()
    with condition:
        condition.wait_for(int, TIME[0])  # here condition.wait_for


@way("lock")
def future_result_with_a_time():
    with contextlib.suppress(TimeoutError):
        concurrent.futures.Future().result(TIME[0])  # here concurrent.futures.Future().result


@way("lock", advised="to_thread")
def as_completed():
    future = concurrent.futures.Future()
    later(future.set_result, 1)
    for _ in concurrent.futures.as_completed([future]):  # here
        pass


@way("lock")
def thread_pool_map():
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.map(time.sleep, [TIME[0]])  # here pool.map


@way("sleep", "lock", advised="driver")
def database_is_locked():
    path = os.path.join(FOLDER, "locked.db")
    one, other = sqlite3.connect(path, isolation_level=None), sqlite3.connect(path, timeout=TIME[0])
    one.execute("create table some (a)")
    one.execute("begin exclusive")
    with contextlib.suppress(sqlite3.OperationalError):
        other.execute("insert into some values (1)")  # here other.execute
    one.close()
    other.close()


@way("file", "native", advised="to_thread")
def fsync():
    with open(os.path.join(FOLDER, "synced"), "wb") as file:
        goes_on = lasting()
        while goes_on():
            file.write(b"x" * 1_000_000)  # here
            os.fsync(file.fileno())  # here


@way("file", advised="to_thread", on="copied")
def copy_of_a_slow_file():
    path = fifo("copied")
    later(lambda: open(path, "wb").close())
    with contextlib.suppress(shutil.SpecialFileError), open(path, "rb") as one, open(os.devnull, "wb") as other:  # here
        shutil.copyfileobj(one, other)


# ---- odd places of the program's own code


def nap():
    time.sleep(TIME[0])  # here time.sleep


@contextlib.contextmanager
def napping():
    nap()
    yield


@way("sleep", like=nap)
def context_manager():
    with napping():
        pass


@way("sleep", like=nap)
def exit_stack():
    with contextlib.ExitStack() as stack:
        stack.callback(nap)


class Descriptor:
    def __get__(self, *_):
        nap()

    def __set__(self, *_):
        nap()


class Described:
    value = Descriptor()


@way("sleep", like=nap)
def descriptor():
    return Described().value


@way("sleep", like=nap)
def assigned_descriptor():
    Described().value = 1


@way("sleep", like=nap)
def cached_property():
    class Cached:
        @functools.cached_property
        def value(self):
            nap()

    return Cached().value


@way("sleep", like=nap)
def after_init():
    @dataclasses.dataclass
    class Some:
        def __post_init__(self):
            nap()

    Some()


@way("sleep", like=nap)
def subclass():
    class Base:
        def __init_subclass__(cls):
            nap()

    class Some(Base):
        pass

    return Some


@way("sleep", like=nap)
def metaclass():
    class Meta(abc.ABCMeta):
        def __call__(cls):
            nap()

    class Some(metaclass=Meta):
        pass

    Some()


class Ordered:
    def __lt__(self, other):
        nap()
        return True

    def __len__(self):
        nap()
        return 1

    def __format__(self, _):
        nap()
        return ""

    def __contains__(self, _):
        nap()
        return True

    def __hash__(self):
        nap()
        return 1

    def __iadd__(self, _):
        nap()
        return self


@way("sleep", like=nap)
def comparison_in_a_heap():
    heapq.heapify([Ordered(), Ordered()])


@way("sleep", like=nap)
def length():
    len(Ordered())


@way("sleep", like=nap)
def formatted():
    return f"{Ordered():>9}"


@way("sleep", like=nap)
def contained():
    assert 1 in Ordered()


@way("sleep", like=nap)
def key_of_a_dict():
    return {Ordered(): 1}


@way("sleep", like=nap)
def added_in_place():
    some = Ordered()
    some += 1


@way("sleep", like=nap)
def single_dispatch():
    @functools.singledispatch
    def some(_):
        nap()

    some(1)


@way("sleep", like=nap)
def filter_of_a_log():
    log = logging.Logger("some")
    log.addFilter(lambda _: nap())
    log.warning("some")


@way("sleep", like=nap)
def thrown_into_a_generator():
    def some():
        try:
            yield
        finally:
            nap()

    made = some()
    next(made)
    made.close()


@way("sleep", like=nap)
def trace_of_an_import():
    class Finder:
        def find_spec(self, *_):
            nap()

    sys.meta_path.insert(0, Finder())
    try:
        with contextlib.suppress(ImportError):
            import nothing_of_that_name  # noqa: F401
    finally:
        del sys.meta_path[0]


@way("sleep", like=nap)
def called_from_c():
    callback = ctypes.CFUNCTYPE(None)(nap)
    callback()


@way("sleep")
def one_line_with_more():
    before = 1; time.sleep(TIME[0]); after = 2  # here time.sleep  # noqa: E702  # fmt: skip
    return before, after


@way("sleep")
def conditional_expression():
    return time.sleep(TIME[0]) if TIME else None  # here time.sleep


@way("sleep")
def in_a_dict_comprehension():
    return {each: time.sleep(each) for each in [TIME[0]]}  # here time.sleep


@way("sleep")
def in_a_generator_expression():
    return any(time.sleep(each) for each in [TIME[0]])  # here time.sleep


@way("sleep", advised="to_thread")
def by_another_name():
    wait_a_while = time.sleep
    wait_a_while(TIME[0])  # here wait_a_while


@way("sleep", advised="to_thread")
def from_a_table():
    {"sleep": time.sleep}["sleep"](TIME[0])  # here {'sleep': time.sleep}['sleep']


# ---- files in memory


@way("file", "gil", "python", advised="")
def page_faults():
    path = os.path.join(FOLDER, "mapped")
    with open(path, "wb") as file:
        file.truncate(1 << 28)
    goes_on = lasting()
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        while goes_on():
            pages.madvise(mmap.MADV_DONTNEED)  # here
            pages.find(b"x")  # here
