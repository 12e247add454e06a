"""Ways to wait: for a time, for other threads and processes, for files and sockets."""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import fcntl
import http.client
import multiprocessing
import os
import queue
import select
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings

import httpx
from way import TIME, address, later, pair, way

C = ctypes.CDLL(None, use_errno=True)
FOLDER = tempfile.mkdtemp()
FORK = multiprocessing.get_context("fork")
seen = {}  # what a way has waited for


def told(name):
    return lambda: seen[name]


# ---- for a time


@way("sleep")
def sleep():
    time.sleep(TIME[0])  # here time.sleep


@way("sleep")
def sleep_in_c():
    C.usleep(int(TIME[0] * 1e6))  # here C.usleep


@way("sleep", advised="to_thread")
def sleep_by_select():
    select.select([], [], [], TIME[0])  # here select.select


# ---- for another thread


@way("lock")
def lock():
    lock = threading.Lock()
    lock.acquire()
    later(lock.release)
    lock.acquire()  # here lock.acquire


@way("lock")
def lock_with_a_time():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=TIME[0])  # here lock.acquire


@way("lock")
def with_lock():
    lock = threading.Lock()
    lock.acquire()
    later(lock.release)
    with lock:  # here with lock
        pass


@way("lock")
def rlock():
    lock, has, ends = threading.RLock(), threading.Event(), threading.Event()

    def keep():
        with lock:
            has.set()
            ends.wait()

    threading.Thread(target=keep, daemon=True).start()
    has.wait()
    later(ends.set)
    lock.acquire()  # here lock.acquire
    lock.release()


@way("lock")
def condition():
    condition = threading.Condition()

    def notify():
        with condition:
            condition.notify()

    with condition:
        later(notify)
        condition.wait()  # here condition.wait


@way("lock")
def event():
    event = threading.Event()
    later(event.set)
    event.wait()  # here event.wait


@way("lock")
def event_with_a_time():
    threading.Event().wait(TIME[0])  # here threading.Event().wait


@way("lock")
def semaphore():
    semaphore = threading.Semaphore(0)
    later(semaphore.release)
    semaphore.acquire()  # here semaphore.acquire


@way("lock")
def barrier():
    barrier = threading.Barrier(2)
    later(barrier.wait)
    barrier.wait()  # here barrier.wait


@way("lock")
def queue_get():
    numbers = queue.Queue()
    later(numbers.put, 1)
    numbers.get()  # here numbers.get


@way("lock")
def queue_put():
    numbers = queue.Queue(1)
    numbers.put(1)
    later(numbers.get)
    numbers.put(2)  # here numbers.put


@way("lock")
def queue_join():
    numbers = queue.Queue()
    numbers.put(1)
    later(numbers.task_done)
    numbers.join()  # here numbers.join


@way("lock")
def simple_queue():
    numbers = queue.SimpleQueue()
    later(numbers.put, 1)
    numbers.get()  # here numbers.get


@way("lock")
def thread_join():
    thread = later(int)
    thread.join()  # here thread.join


@way("lock")
def future_result():
    future = concurrent.futures.Future()
    later(future.set_result, 1)
    future.result()  # here future.result


@way("lock")
def futures_wait():
    future = concurrent.futures.Future()
    later(future.set_result, 1)
    concurrent.futures.wait([future])  # here concurrent.futures.wait


@way("lock")
def executor_shutdown():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(time.sleep, TIME[0])
    pool.shutdown()  # here pool.shutdown


@way("lock")
def with_executor():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # here
        pool.submit(time.sleep, TIME[0])


@way("lock")
def executor_map():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    list(pool.map(time.sleep, [TIME[0]]))  # here list


# ---- for another process


@way("lock")
def process_lock():
    lock = FORK.Lock()
    lock.acquire()
    later(lock.release)
    lock.acquire()  # here lock.acquire


@way("lock")
def process_event():
    event = FORK.Event()
    later(event.set)
    event.wait()  # here event.wait


@way("pipe", "socket", "poll")
def process_pipe():
    one, other = FORK.Pipe()
    later(other.send, 1)
    one.recv()  # here one.recv


@way("pipe", "socket", "poll")
def process_pipe_poll():
    one, other = FORK.Pipe(duplex=False)
    seen["pipe"] = other
    one.poll(TIME[0])  # here one.poll


@way("pipe", "lock", "poll", advised="to_thread")
def process_queue():
    numbers = FORK.Queue()
    later(numbers.put, 1)
    numbers.get()  # here numbers.get


@way("child", "poll", "pipe", advised="to_thread")
def process_join():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = FORK.Process(target=time.sleep, args=(TIME[0],))
        process.start()
    process.join()  # here process.join


@way("child", on="sleep)")
def subprocess_run():
    subprocess.run(["sleep", str(TIME[0])])  # here subprocess.run


@way("pipe", "child", advised="create_subprocess")
def subprocess_run_captured():
    subprocess.run(["sleep", str(TIME[0])], capture_output=True)  # here subprocess.run


@way("pipe", "child", advised="create_subprocess")
def check_output():
    subprocess.check_output(["sleep", str(TIME[0])])  # here subprocess.check_output


@way("child", on="sleep)")
def popen_wait():
    process = subprocess.Popen(["sleep", str(TIME[0])])
    process.wait()  # here process.wait


@way("sleep", "child", advised="create_subprocess")
def popen_wait_with_a_time():
    process = subprocess.Popen(["sleep", str(TIME[0])])
    process.wait(timeout=9)  # here process.wait


@way("pipe", "child", advised="create_subprocess")
def communicate():
    process = subprocess.Popen(["sleep", str(TIME[0])], stdout=subprocess.PIPE)
    process.communicate()  # here process.communicate


@way("child", on="sleep)")
def waitpid():
    number = os.posix_spawnp("sleep", ["sleep", str(TIME[0])], os.environ)
    os.waitpid(number, 0)  # here os.waitpid


@way("child")
def system():
    os.system(f"sleep {TIME[0]}")  # here os.system


@way("pipe", "child", advised="create_subprocess")
def popen_read():
    os.popen(f"sleep {TIME[0]}; echo").read()  # here os.popen(...).read


@way("pipe", advised="to_thread")
def for_line_in_process():
    process = subprocess.Popen(["sleep", str(TIME[0])], stdout=subprocess.PIPE)
    for _ in process.stdout:  # here process.stdout or for _ in process.stdout
        pass
    process.stdout.close()
    process.wait()


# ---- for files


@way("pipe")
def pipe_read():
    reader, writer = os.pipe()
    later(os.write, writer, b"x")
    os.read(reader, 1)  # here os.read


@way("pipe")
def pipe_write():
    reader, writer = os.pipe()
    later(lambda: [os.read(reader, 1 << 16) for _ in range(2)])
    os.write(writer, bytes((1 << 16) + 1))  # here os.write


@way("pipe")
def for_line_in_pipe():
    reader, writer = os.pipe()
    later(os.close, writer)
    with os.fdopen(reader) as lines:
        for _ in lines:  # here for _ in lines
            pass


@way("pipe")
def input_from_pipe():
    reader, writer = os.pipe()
    later(os.write, writer, b"x\n")
    before, sys.stdin = sys.stdin, os.fdopen(reader)
    try:
        input()  # here input
    finally:
        sys.stdin = before


def fifo(name):
    path = os.path.join(FOLDER, name)
    os.mkfifo(path)
    return path


@way("file", on="fifo-open")
def fifo_open():
    path = fifo("fifo-open")
    later(os.open, path, os.O_WRONLY)
    open(path).close()  # here open


@way("file", "pipe", on="fifo-read")
def fifo_read():
    path = fifo("fifo-read")
    with open(os.open(path, os.O_RDWR)) as file:
        later(lambda: os.write(file.fileno(), b"x\n"))
        file.readline()  # here file.readline


@way("lock", on="flock", advised="to_thread")
def flock():
    with open(os.path.join(FOLDER, "flock"), "w") as one, open(one.name) as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        later(fcntl.flock, one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX)  # here fcntl.flock


@way("lock", on="fcntl", advised="to_thread")
async def file_lock():
    # A lock of fcntl(2) is the process's: another process has it.
    path = os.path.join(FOLDER, "fcntl")
    keeps = f"import fcntl, sys, time; f = open({path!r}, 'w'); fcntl.lockf(f, 2); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", keeps], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    await asyncio.to_thread(process.stdout.read, 1)
    later(process.stdin.close)
    with open(path, "w") as file:
        seen["last"] = process
        fcntl.lockf(file, fcntl.LOCK_EX)  # here fcntl.lockf


# ---- for sockets


@way("socket", on=told("recv"))
def recv():
    one, other = pair()
    seen["recv"] = address(one.getpeername())
    later(other.send, b"x")
    one.recv(1)  # here one.recv


@way("socket", on=told("recv_timeout"))
def recv_with_a_time():
    one, other = pair()
    seen["recv_timeout"] = address(one.getpeername())
    one.settimeout(9)
    later(other.send, b"x")
    one.recv(1)  # here one.recv


@way("socket")
def recv_unix():
    one, other = socket.socketpair()
    later(other.send, b"x")
    one.recv(1)  # here one.recv


@way("socket", on=told("udp"))
def recvfrom():
    one = socket.socket(type=socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    seen["udp"] = address(one.getsockname())
    later(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", one.getsockname())
    one.recvfrom(1)  # here one.recvfrom


@way("socket", on=told("accept"))
def accept():
    server = socket.create_server(("127.0.0.1", 0))
    seen["accept"] = address(server.getsockname())
    later(socket.create_connection, server.getsockname())
    server.accept()  # here server.accept


@way("socket", on=told("connect"))
def connect():
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    seen["connect"] = address(server.getsockname())
    full = []
    for _ in range(2):
        full.append(socket.socket())
        full[-1].setblocking(False)
        full[-1].connect_ex(server.getsockname())
    one = socket.socket()
    one.settimeout(TIME[0])
    with contextlib.suppress(TimeoutError):
        one.connect(server.getsockname())  # here one.connect


@way("socket")
def connect_unix():
    path = os.path.join(FOLDER, "backlog")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(0)
    first, one = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    first.connect(path)
    later(server.accept)
    seen["unix"] = first
    one.connect(path)  # here one.connect


@way("socket", on=told("sendall"))
def sendall():
    one, other = pair()
    seen["sendall"] = address(one.getpeername())

    def read():
        while other.recv(1 << 20):
            pass

    later(read)
    one.sendall(bytes(8 << 20))  # here one.sendall
    one.close()


@way("socket", on=told("select"))
def select_one():
    one, other = pair()
    seen["select"] = address(one.getpeername())
    later(other.send, b"x")
    select.select([one], [], [])  # here select.select


@way("poll", on="2 files")
def poll_two():
    reader, writer = os.pipe()
    one, other = pair()
    later(other.send, b"x")
    poll = select.poll()
    poll.register(one)
    poll.modify(one, select.POLLIN)
    poll.register(reader, select.POLLIN)
    poll.poll()  # here poll.poll
    seen["poll"] = writer


@way("socket", on=told("epoll"))
def epoll():
    one, other = pair()
    seen["epoll"] = address(one.getpeername())
    later(other.send, b"x")
    with select.epoll() as epoll:
        epoll.register(one, select.EPOLLIN)
        epoll.poll()  # here epoll.poll


@way("socket", on=told("selector"))
def selector():
    one, other = pair()
    seen["selector"] = address(one.getpeername())
    later(other.send, b"x")
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ)
        selector.select()  # here selector.select


@way("socket", on=told("tls"))
def tls():
    one, other = pair()
    seen["tls"] = address(one.getpeername())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    later(other.close)
    with contextlib.suppress(OSError):
        context.wrap_socket(one, server_hostname="localhost")  # here context.wrap_socket


@way("socket")
def socket_file():
    one, other = pair()
    later(other.send, b"x\n")
    with one.makefile() as lines:
        lines.readline()  # here lines.readline


def slow_server():
    """Answers its first request when the time is over."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        one, _ = server.accept()
        one.recv(1000)
        later(one.sendall, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").join()
        one.close()
        server.close()

    threading.Thread(target=answer, daemon=True).start()
    return server.getsockname()[1]


@way("socket", advised="HTTP client")
def http_client():
    client = http.client.HTTPConnection("127.0.0.1", slow_server())
    client.request("GET", "/")
    client.getresponse()  # here client.getresponse


@way("socket", advised="HTTP client")
def urlopen():
    url = f"http://127.0.0.1:{slow_server()}/"
    urllib.request.urlopen(url).read()  # here urllib.request.urlopen


CLIENT = httpx.Client(verify=False, trust_env=False)  # made before: that takes its time, too


@way("socket", advised="httpx.AsyncClient")
def library_client():
    url = f"http://127.0.0.1:{slow_server()}/"
    CLIENT.get(url)  # here CLIENT.get


# ---- for a name server


def slow_name_server():
    """This thread's name server, from now on, is one that answers when the time is over: there is no such name.

    The C library keeps its settings in a structure that belongs to the thread, and that programs may change: flags and
    four numbers, then the addresses.
    """
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    C.__res_init()
    C.__res_state.restype = ctypes.c_void_p
    state = C.__res_state()
    address = struct.pack("=HHI8x", socket.AF_INET, socket.htons(server.getsockname()[1]), 0x0100007F)
    ctypes.memmove(state + 16, struct.pack("i", 1), 4)
    ctypes.memmove(state + 20, address, len(address))

    def answer():
        held = [server.recvfrom(512)]
        later(int).join()
        server.settimeout(0.2)
        while True:
            for question, asker in held:
                server.sendto(question[:2] + b"\x81\x83" + question[4:6] + bytes(6) + question[12:], asker)
            try:
                held = [server.recvfrom(512)]
            except TimeoutError:
                return

    threading.Thread(target=answer, daemon=True).start()


@way("dns")
def getaddrinfo():
    slow_name_server()
    try:
        socket.getaddrinfo("nobody.example.", 80)  # here socket.getaddrinfo
    except OSError:
        C.__res_init()


@way("dns", advised="to_thread")
def connection_to_a_name():
    slow_name_server()
    try:
        socket.create_connection(("nobody.example.", 80))  # here socket.create_connection
    except OSError:
        C.__res_init()


@way("dns", "socket", advised="loop.getaddrinfo")
def gethostbyname():
    slow_name_server()
    try:
        socket.gethostbyname("nobody.example.")  # here socket.gethostbyname
    except OSError:
        C.__res_init()
