"""`EVERLOOP_LISTEN`: a process can be looked into from outside, also while everything in it stands still."""

import asyncio
import concurrent.futures
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

import everloop
from everloop import _native, environment
from listen_support import PATIENCE, ask, connect, read_all, state_of, talk
from support import run_script, started_script, wait_until

reading = pytest.mark.skipif(
    _native.read_process() is None, reason="the memory of this interpreter cannot be read, which test_stacks tells"
)


# ---- /live


def test_a_process_whose_loops_go_on_is_alive(listen, loop):
    addresses = listen()

    async def main():
        for address in addresses:
            assert await asyncio.to_thread(ask, address, "/live") == (200, "ok\n")

    loop.run_until_complete(main())
    assert ask(addresses[0], "/live") == (200, "ok\n")  # none runs


def test_a_loop_that_is_blocked_for_longer_than_the_limit_is_told_of(listen, loop, gate):
    [address, _] = listen()
    answers = []

    def look():
        wait_until(lambda: ask(address, "/live?limit=0")[0] == 503)
        answers.extend([ask(address, "/live?limit=0"), ask(address, "/live")])
        gate.open()

    async def main():
        thread = threading.Thread(target=look)
        thread.start()
        gate.wait()
        return thread

    loop.run_until_complete(main()).join()
    [(status, text), other] = answers
    assert status == 503
    assert "the loop of MainThread has been blocked for" in text
    assert other == (200, "ok\n")  # not for ten seconds


def while_a_step_is_aside(loop, gate, look, *args):
    """What `look` returns, which a thread calls while a step of the loop is aside at the gate."""

    async def block():
        gate.wait()

    async def main():
        task = asyncio.create_task(block())
        while not loop.statistics()["aside"]:
            await asyncio.sleep(0)
        found = await asyncio.to_thread(look, *args)
        gate.open()
        await task
        return found

    return loop.run_until_complete(main())


def test_a_step_that_was_put_aside_blocks_nobody(listen, rescuing_loop, gate):
    [address, _] = listen()
    assert while_a_step_is_aside(rescuing_loop, gate, ask, address, "/live?limit=5") == (200, "ok\n")


def test_it_answers_while_c_code_holds_the_gil(tmp_path):
    """The child sleeps with the GIL in hand until it is killed."""
    path = f"{tmp_path}/here.sock"
    source = f"""
    import ctypes, os
    os.environ.update(EVERLOOP_LISTEN={path!r}, EVERLOOP_LIVE_LIMIT="0.05")
    import everloop
    async def main():
        print("blocks", flush=True)
        ctypes.PyDLL(None).usleep(60_000_000)
    everloop.run(main())
    """
    with started_script(source) as process:
        assert process.stdout.readline() == "blocks\n", process.stderr.read()
        wait_until(lambda: ask(f"unix:{path}", "/live")[0] == 503)
        assert ask(f"unix:{path}", "/live?limit=50") == (200, "ok\n")


def test_a_step_that_begins_while_the_gil_is_not_let_go_of_is_told_of(tmp_path):
    """Two steps hold the GIL, one after the other, and no Python code runs in between."""
    path = f"{tmp_path}/here.sock"
    source = f"""
    import asyncio, ctypes, os
    os.environ.update(EVERLOOP_LISTEN={path!r}, EVERLOOP_LIVE_LIMIT="0.05", EVERLOOP_REPORT="off")
    import everloop
    async def main():
        place = ctypes.create_string_buffer(1)
        hold = ctypes.PyDLL(None).read
        for _ in range(2):
            asyncio.get_running_loop().call_soon(hold, 0, place, 1)
        print("blocks", flush=True)
        await asyncio.sleep(0)
    everloop.run(main())
    """

    def held(steps):
        [of_loop] = state_of(f"unix:{path}")["loops"]
        is_told = "C code of this step holds the GIL" in (of_loop["blocked_by"] or "")
        return of_loop["steps"] == steps and is_told and ask(f"unix:{path}", "/live")[0] == 503

    with started_script(source) as process:
        assert process.stdout.readline() == "blocks\n", process.stderr.read()
        wait_until(lambda: ask(f"unix:{path}", "/live")[0] == 503)
        [of_loop] = state_of(f"unix:{path}")["loops"]
        wait_until(lambda: held(of_loop["steps"]))
        process.stdin.write(".")
        process.stdin.flush()
        wait_until(lambda: held(of_loop["steps"] + 1))


@pytest.mark.parametrize("limit", ["x", "-1", "nan", ""])
def test_a_limit_that_is_no_number_of_seconds_is_refused(listen, limit):
    assert ask(listen()[0], f"/live?limit={limit}") == (400, "limit is a number of seconds: /live?limit=10\n")


# ---- /stacks

FROZEN = """
import ctypes, os, threading
os.environ["EVERLOOP_LISTEN"] = {path!r}
import everloop
def deep():
    print("blocks", flush=True)
    ctypes.PyDLL(None).usleep(60_000_000)  # holds the GIL until the process is killed
async def main():
    threading.Thread(target=threading.Event().wait, name="waits", daemon=True).start()
    deep()
everloop.run(main())
"""


def thread_texts(text):
    """What is told of each thread: its head, and its frames."""
    return [part.splitlines() for part in text.split("\n\n")]


@reading
def test_the_stacks_of_all_threads_are_told_while_c_code_holds_the_gil(tmp_path):
    path = f"{tmp_path}/here.sock"
    with started_script(FROZEN.format(path=path)) as process:
        assert process.stdout.readline() == "blocks\n", process.stderr.read()
        wait_until(lambda: "has the GIL: waits for a time" in ask(f"unix:{path}", "/stacks")[1])
        status, text = ask(f"unix:{path}", "/stacks")
    assert status == 200
    threads = thread_texts(text)
    assert '"everloop-listen": waits for a socket to' in text
    home, waiting = threads[0], next(lines for lines in threads if any("in Event.wait" in line for line in lines))
    assert f"thread {process.pid} " in home[0]
    assert ", home of the loop of MainThread, has the GIL: waits for a time" in home[0]
    assert [line.rpartition(" in ")[2] for line in home[1:3]] == ["deep", "main"]
    assert home[1].startswith("  <string>:")
    assert waiting[0].endswith(": waits for a lock")


@reading
def test_the_stacks_of_a_loop_that_sleeps_say_so(listen, loop):
    address = listen()[0]

    async def main():
        return await asyncio.to_thread(lambda: [ask(address, "/stacks")[1] for _ in range(3)])

    texts = loop.run_until_complete(main())
    assert any(", home of the loop of MainThread: waits for files and timers\n" in text for text in texts)
    assert all(f"{__file__}:" in text for text in texts)  # the one that asks


@reading
def test_the_stacks_of_a_loop_whose_step_is_aside_say_so(listen, rescuing_loop, gate):
    address = listen()[0]
    words = ": waits for files and timers\n"
    text = while_a_step_is_aside(rescuing_loop, gate, ask_until, address, words)
    home = next(lines[0] for lines in thread_texts(text) if f"thread {os.getpid()} " in lines[0])
    assert ", home of the loop of MainThread, with a step that is aside: waits for a pipe" in home
    [relief] = [lines[0] for lines in thread_texts(text) if lines[0].endswith(": waits for files and timers")]
    assert ", goes on with the loop of MainThread: waits" in relief


def ask_until(address, words):
    wait_until(lambda: words in ask(address, "/stacks")[1])
    return next(text for _, text in iter(lambda: ask(address, "/stacks"), None) if words in text)


def test_a_process_without_a_loop_has_threads_too(listen):
    status, text = ask(listen()[0], "/stacks")
    assert status == 200
    assert f"thread {os.getpid()} " in text


# ---- addresses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is no address"),
        ("127.0.0.1", "is no address"),
        ("127.0.0.1:65536", "is no address"),
        ("localhost:x", "is no address"),
        (":9123", "is no address"),
        ("127.0.0.1:0,", "is no address"),
        ("unix:relative.sock", "does not begin with /"),
        ("/tmp/", "is no path of a file"),
        ("/nowhere/at/all.sock", "the directory /nowhere/at cannot be looked at"),
        ("/etc/passwd/all.sock", "/etc/passwd is no directory"),
        ("/etc/passwd", "is there already, and is no socket"),
        ("/tmp/" + 103 * "a", "has 108 bytes"),
        ("0.0.0.0:9123", "say public:0.0.0.0:9123"),
        ("[::]:9123", "say public:[::]:9123"),
        ("192.0.2.1:9123", "can be reached from other machines"),
    ],
)
def test_an_address_that_will_not_do_is_refused_as_a_loop_is_made(monkeypatch, text, words):
    monkeypatch.setenv("EVERLOOP_LISTEN", text)
    with pytest.raises(ValueError, match="the environment variable EVERLOOP_LISTEN is") as refused:
        everloop.EventLoop()
    assert words in str(refused.value)


@pytest.mark.parametrize("limit", ["x", "-1", "inf", "nan"])
def test_a_limit_that_will_not_do_is_refused_as_a_loop_is_made(monkeypatch, limit):
    monkeypatch.setenv("EVERLOOP_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("EVERLOOP_LIVE_LIMIT", limit)
    with pytest.raises(ValueError, match="the environment variable EVERLOOP_LIVE_LIMIT is"):
        everloop.EventLoop()


@pytest.mark.parametrize(
    "text", ["127.0.0.1:0", "[::1]:0", "localhost:0", "public:0.0.0.0:0", "/tmp/a.sock", "unix:/tmp/{pid}.sock"]
)
def test_an_address_that_will_do_is_not(text):
    _native.check_addresses(text)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ValueError, match=rf"others may write to the directory {directory} \(mode {mode:o}\)"):
        _native.check_addresses(f"{directory}/here.sock")
    directory.chmod(mode | stat.S_ISVTX)
    _native.check_addresses(f"{directory}/here.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_belongs_to_another_user_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(f"{tmp_path}/here.sock")
    os.chown(f"{tmp_path}/here.sock", 12345, -1)
    with pytest.raises(ValueError, match="belongs to another user"):
        _native.check_addresses(f"{tmp_path}/here.sock")
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(ValueError, match="belongs to another user"):
        _native.check_addresses(f"{tmp_path}/theirs/here.sock")


def test_only_its_user_may_connect_and_the_file_goes_with_the_server(listen, tmp_path):
    before = os.umask(0)
    try:
        [address] = listen(f"{tmp_path}/{{pid}}.sock")
    finally:
        os.umask(before)
    path = f"{tmp_path}/{os.getpid()}.sock"
    assert address == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    _native.stop_listening()
    assert not os.path.exists(path)


def test_a_socket_that_nobody_listens_at_is_replaced_and_one_that_is_in_use_is_not(listen, tmp_path):
    path = f"{tmp_path}/here.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(path)
        old.listen()
        with pytest.raises(OSError, match=r"is taken by another process, or by this one: \{pid\} in the path"):
            listen(path)
    [address] = listen(path)
    assert ask(address, "/live")[0] == 200


def test_a_file_that_has_come_instead_of_the_socket_is_left_alone(listen, tmp_path):
    path = tmp_path / "here.sock"
    listen(str(path))
    path.unlink()
    path.write_text("something else")
    _native.stop_listening()
    assert path.read_text() == "something else"


def test_a_port_that_is_taken_is_told_of_and_the_program_goes_on():
    source = """
    import asyncio, logging, os, socket
    logging.basicConfig(format="%(levelname)s %(message)s")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        os.environ["EVERLOOP_LISTEN"] = "127.0.0.1:%d" % taken.getsockname()[1]
        import everloop
        for _ in range(2):
            everloop.run(asyncio.sleep(0))
    print("went on")
    """
    done = run_script(source)
    assert done.stdout == "went on\n"
    assert done.stderr.count("ERROR the environment variable EVERLOOP_LISTEN is '127.0.0.1:") == 1
    assert "is taken by another process, or by this one. The program goes on" in done.stderr


def test_what_only_says_on_is_a_socket_of_the_default_name(monkeypatch, tmp_path):
    monkeypatch.setenv("EVERLOOP_LISTEN", "1")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert environment.listen() == f"{tmp_path}/everloop-{os.getpid()}.sock"
    monkeypatch.setenv("EVERLOOP_LISTEN", "off")
    assert environment.listen() is None
    assert environment.default_socket(7, 1000, None) == "/tmp/everloop-1000/7.sock"


# ---- the life of the server


def test_it_begins_with_the_first_run_and_the_socket_goes_with_the_process(tmp_path):
    source = f"""
    import asyncio, os
    path = os.environ["EVERLOOP_LISTEN"] = {f"{tmp_path}/here.sock"!r}
    import everloop
    loop = everloop.new_event_loop()
    print(os.path.exists(path))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    print(os.path.exists(path))
    """
    done = run_script(source)
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")
    assert not os.path.exists(f"{tmp_path}/here.sock")


FORKING = """
import asyncio, os, socket, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
os.environ["EVERLOOP_LISTEN"] = sys.argv[1]
import everloop
from everloop import _native
everloop.run(asyncio.sleep(0))
[address] = _native.listens_at()
client = socket.socket(socket.AF_UNIX)
client.connect(address.removeprefix("unix:"))
client.sendall(b"GET /live HTTP/1.1\\r\\n\\r\\n")
client.recv(1)  # it is served, until it says that it has read all

def sockets():
    names = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    found = [os.readlink(name) for name in names if os.path.lexists(name)]
    return sum(name.startswith("socket:") for name in found)

if not os.fork():
    print(sockets(), _native.listens_at(), flush=True)  # the client's end
    everloop.run(asyncio.sleep(0))
    print(_native.listens_at() == [address.replace(str(os.getppid()), str(os.getpid()))], flush=True)
    _native.stop_listening()
    os._exit(0)
os.wait()
client.close()
print(os.path.exists(address.removeprefix("unix:")))
"""


def test_a_forked_child_closes_the_sockets_of_its_parent_and_listens_at_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKING, f"{tmp_path}/{{pid}}.sock"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout, done.stderr) == ("1 []\nTrue\nTrue\n", "")


REUSING = """
import asyncio, os, socket, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
os.environ["EVERLOOP_LISTEN"] = sys.argv[1]
import everloop
from everloop import _native
everloop.run(asyncio.sleep(0))
[address] = _native.listens_at()
client = socket.socket(socket.AF_UNIX)
client.connect(address.removeprefix("unix:"))
client.sendall(b"GET /live HTTP/1.1\\r\\n\\r\\n")
client.recv(1)  # it is served
held = [int(name) for name in os.listdir("/proc/self/fd") if int(name) not in (0, 1, 2, client.fileno())]
theirs = []
for fd in held:
    try:
        if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
            continue
    except FileNotFoundError:
        continue
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, fd)  # as a program that closes what it does not know, and opens something else
    os.close(other)
    theirs.append(fd)
if not os.fork():
    print(len(theirs) >= 2, all(os.fstat(fd) for fd in theirs), flush=True)
    os._exit(0)
_, status = os.wait()
print(status, flush=True)
os._exit(0)
"""


def test_a_forked_child_closes_no_number_that_is_another_file_s_by_now(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REUSING, f"{tmp_path}/here.sock"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout, done.stderr) == ("True True\n0\n", "")


# ---- who asks


def test_it_says_which_pages_there_are(listen):
    status, text = ask(listen()[0], "/nothing")
    assert status == 404
    assert "/live" in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_name_that_somebody_may_have_pointed_here_is_refused(listen, host):
    [path, net] = listen()
    assert ask(net, "/live", host) == (403, "ask for this by its address, or as localhost\n")
    assert ask(path, "/live", host)[0] == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9123", "127.0.0.1", "127.0.0.1:9123", "[::1]:9123", "[::1]"])
def test_an_address_of_this_machine_is_not(listen, host):
    assert ask(listen()[1], "/live", host)[0] == 200


def test_other_machines_are_told_the_least(listen):
    [address] = listen("public:127.0.0.1:0")
    assert address.startswith("public:127.0.0.1:")
    assert ask(address, "/live", "example.org")[0] == 200
    for path in ("/", "/stacks", "/state"):
        assert ask(address, path) == (403, "other machines are told /live and /metrics only\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"\xff\xfe\x00\r\n\r\n", 400),
        (b"GET / SPDY/1\r\n\r\n", 400),
        (b"GET http://localhost/live HTTP/1.1\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST /live HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /" + 9000 * b"a" + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /live HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /live HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_each_request_gets_a_word(listen, request_, status):
    for address in listen():
        found, body = talk(address, request_)
        assert found == status
        assert bool(body) != request_.startswith(b"HEAD")


def test_whoever_says_nothing_or_half_is_sent_away(listen):
    [address, _] = listen()
    for sent in (b"", b"GET /live HTTP"):
        with connect(address) as client:
            client.sendall(sent)
            assert "408 Request Timeout" in read_all(client)


def test_whoever_sends_without_an_end_is_not_listened_to(listen):
    [_, address] = listen()
    with connect(address) as client:
        client.sendall(b"GET /live HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            client.sendall(bytes(100_000_000))
    assert ask(address, "/live")[0] == 200


def test_whoever_goes_away_at_once_disturbs_nobody(listen):
    for address in listen():
        connect(address).close()
        with connect(address) as client:
            client.sendall(b"GET /live HTTP/1.1\r\n\r\n")
        assert ask(address, "/live")[0] == 200


def test_more_than_it_serves_at_once_wait_their_turn(listen):
    """Forty ask while ten say nothing."""
    [address, _] = listen()
    silent = [connect(address) for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(40) as executor:
        answers = list(executor.map(lambda _: ask(address, "/live")[0], range(40)))
    assert answers == 40 * [200]
    for client in silent:
        client.close()


def test_no_descriptor_is_left_open(listen):
    """The fixtures look; what served has ended with the server."""
    for address in listen():
        for path in ("/live", "/nothing"):
            ask(address, path)
