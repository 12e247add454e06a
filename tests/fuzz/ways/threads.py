"""Waiting for other threads: locks, conditions, queues, futures."""

import concurrent.futures
import contextlib
import queue
import threading
import time

from . import way


@contextlib.contextmanager
def after(seconds, function, *args):
    """Call a function on another thread in a while; that thread has ended when the block has."""
    timer = threading.Timer(seconds, function, args)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@way
def sleep(here):
    return time.sleep(here.delay)


@way
def sleep_with_unpacked_arguments(here):
    return time.sleep(*[here.delay]), threading.Event().wait(**{"timeout": here.delay / 2})


@way
def lock_with_timeout(here):
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire(timeout=here.delay)


@way
def lock_in_with(here):
    lock = threading.Lock()
    lock.acquire()
    with after(here.delay, lock.release), lock:
        here.alone()
    return lock.locked()


@way
def rlock_of_another_thread(here):
    lock, taken, enough = threading.RLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            enough.wait()

    with after(0, hold):
        taken.wait()
        with after(here.delay, enough.set), lock, lock:
            here.alone()
    return "held twice"


@way
def condition_with_timeout(here):
    condition = threading.Condition()
    with condition:
        return condition.wait(here.delay)


@way
def condition_notified(here):
    condition, ready = threading.Condition(), []

    def notify():
        with condition:
            ready.append(True)
            condition.notify_all()

    with after(here.delay, notify), condition:
        return condition.wait_for(lambda: ready)


@way
def event(here):
    told = threading.Event()
    with after(here.delay, told.set):
        return told.wait()


@way
def semaphore(here):
    semaphore = threading.BoundedSemaphore(1)
    with semaphore:
        return semaphore.acquire(timeout=here.delay)


@way
def barrier(here):
    meeting = threading.Barrier(2)
    with after(here.delay, meeting.wait):
        meeting.wait()
    return meeting.broken


@way
def queue_empty(here):
    try:
        return queue.Queue().get(timeout=here.delay)
    except queue.Empty as error:
        here.alone()
        return type(error).__name__


@way
def simple_queue(here):
    line = queue.SimpleQueue()
    with after(here.delay, line.put, "item"):
        return line.get()


@way
def queue_joined(here):
    line = queue.Queue()
    line.put("item")
    with after(here.delay, lambda: (line.get(), line.task_done())):
        line.join()
    return line.qsize()


@way
def thread_joined(here):
    thread = threading.Thread(target=time.sleep, args=(here.delay,))
    thread.start()
    thread.join()
    return thread.is_alive()


@way
def thread_local(here):
    class Local(threading.local):
        def __init__(self):
            time.sleep(here.delay)
            here.alone()
            self.value = "made for this thread"

    return Local().value


@way
def future_result(here):
    future = concurrent.futures.Future()
    with after(here.delay, future.set_exception, LookupError("not found")):
        try:
            future.result()
        except LookupError as error:
            here.alone()
            return str(error)


@way
def executor(here):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(time.sleep, [here.delay / 2, here.delay])), pool.submit(divmod, 7, 2).result()
