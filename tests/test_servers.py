"""Each row of docs/servers.md: a server that is told so runs the application on everloop, and ends well.

A server that is not installed is left out. All listen on Unix sockets, as nobody else can have that address.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

from support import PATIENCE

# An application without a framework; `/` says on which loop it runs, and where anyio's calls go.
ASGI = """
import asyncio, json, os, threading, anyio, everloop

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    everloop.running_loop()
    thread = await anyio.to_thread.run_sync(lambda: threading.current_thread().name)
    body = json.dumps([type(asyncio.get_running_loop()).__module__, thread, os.getpid()]).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
# The body of the answer of the frameworks' applications.
TOLD = """
import asyncio, os, threading, everloop
def told():
    everloop.running_loop()
    return [type(asyncio.get_running_loop()).__module__, threading.current_thread().name, os.getpid()]
"""
EVERLOOP = "-m", "everloop"


def need(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


class Connection(http.client.HTTPConnection):
    """To a Unix socket, or to a port of this machine."""

    def connect(self):
        if self.host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.host)
        else:
            super().connect()


def ask(address):
    """The answer of a server, as JSON."""
    connection = Connection(address, timeout=2)  # Sanic opens a socket first that it never serves
    try:
        connection.request("GET", "/", headers={"Host": "localhost", "Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 200, body
    return json.loads(body)


class Served:
    """A server that runs, and what it has printed once it has ended."""

    def __init__(self, process, address):
        self.process, self.address = process, address
        self.output = None

    def answer(self):
        """The first answer: servers take a while to start."""
        deadline = time.monotonic() + PATIENCE / 2
        while True:
            try:
                return ask(self.address)
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.end()
                    raise AssertionError(f"no answer: {self.output}") from None
                time.sleep(0.02)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.output = self.process.communicate(timeout=PATIENCE / 2)[0]
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.output = self.process.communicate()[0]
            raise AssertionError(f"the server did not end: {self.output}") from None


@pytest.fixture
def serve(tmp_path):
    """Starts a server: words of its command, in which ADDRESS is replaced; files by name; variables."""
    served = []
    folder = tempfile.TemporaryDirectory(prefix="s")  # a short name: Sanic makes a longer one of it
    address = f"{folder.name}/s"

    def start(*words, program=ASGI, files=None, **variables):
        for name, source in {"app.py": program, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source).replace("ADDRESS", repr(address)))
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("EVERLOOP_", "UVICORN_"))
        }
        process = subprocess.Popen(
            [sys.executable, *(word.replace("ADDRESS", address) for word in words)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1", **variables},
            start_new_session=True,
        )
        served.append(Served(process, address))
        return served[-1]

    yield start
    for each in served:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate()
    folder.cleanup()


def runs_on_everloop(served, thread=""):
    """The server runs the application on everloop, with anyio's calls on a thread of this name, and ends well."""
    loop, name, pid = served.answer()
    assert loop == "everloop.loop"
    assert name.startswith(thread)
    served.end()
    assert "this program runs on" not in served.output, served.output
    assert served.process.returncode in (0, -signal.SIGTERM), served.output
    return pid


OWN, ANYIO = "asyncio_", "AnyIO worker thread"  # the names of the threads of the two pools


# ---- uvicorn


@pytest.mark.parametrize("words", ["", "--workers 2", "--reload"])
def test_uvicorn_by_its_option(serve, words):
    if words == "--reload":
        words = "--reload --reload-dir ."
    served = serve("-m", "uvicorn", "--loop", "everloop:new_event_loop", "--uds", "ADDRESS", *words.split(), "app:app")
    pid = runs_on_everloop(served, ANYIO)
    assert (pid != served.process.pid) is bool(words)


def test_uvicorn_by_its_option_and_one_word_for_def_endpoints(serve):
    words = "-m", "uvicorn", "--loop", "everloop:new_event_loop", "--uds", "ADDRESS", "app:app"
    runs_on_everloop(serve(*words, EVERLOOP_ANYIO_POOL="1"), OWN)


@pytest.mark.parametrize("words", ["", "--workers 2"])
def test_uvicorn_by_the_command(serve, words):
    runs_on_everloop(serve(*EVERLOOP, "-m", "uvicorn", "--uds", "ADDRESS", *words.split(), "app:app"), OWN)


RUNS = f"{ASGI}\nif __name__ == '__main__':\n    import uvicorn\n    uvicorn.run"


def test_uvicorn_run_by_its_argument(serve):
    program = f"{RUNS}(app, uds=ADDRESS, loop='everloop:new_event_loop')"
    runs_on_everloop(serve("app.py", program=program), ANYIO)


@pytest.mark.parametrize("arguments", ["app", "'app:app', workers=2", "'app:app', loop='none'"])
def test_uvicorn_run_by_the_command(serve, arguments):
    runs_on_everloop(serve(*EVERLOOP, "app.py", program=f"{RUNS}({arguments}, uds=ADDRESS)"), OWN)


def test_a_uvicorn_server_inside_a_program_of_one_s_own(serve):
    program = f"""{ASGI}
import uvicorn
everloop.run(uvicorn.Server(uvicorn.Config(app, uds=ADDRESS)).serve())
"""
    runs_on_everloop(serve("app.py", program=program), ANYIO)


# ---- gunicorn


@pytest.mark.parametrize("worker", ["Worker", "AsgiWorker"])
@pytest.mark.parametrize("words", ["", "--preload"])
def test_gunicorn_by_a_worker_class(serve, worker, words):
    need("gunicorn", "gunicorn.workers.gasgi" if worker == "AsgiWorker" else "uvicorn_worker")
    served = serve(
        *("-m", "gunicorn", "-k", f"everloop.gunicorn.{worker}", "-b", "unix:ADDRESS", *words.split(), "app:app")
    )
    assert runs_on_everloop(served, OWN) != served.process.pid


def test_gunicorn_s_worker_class_leaves_anyio_its_threads_if_it_is_told_so(serve):
    need("gunicorn", "uvicorn_worker")
    words = "-m", "gunicorn", "-k", "everloop.gunicorn.Worker", "-b", "unix:ADDRESS", "app:app"
    runs_on_everloop(serve(*words, EVERLOOP_ANYIO_POOL="0"), ANYIO)


def test_a_worker_class_says_what_it_needs(monkeypatch):
    from everloop import gunicorn

    gunicorn._worker.cache_clear()
    monkeypatch.setitem(sys.modules, "uvicorn_worker", None)
    monkeypatch.setitem(sys.modules, "uvicorn.workers", None)
    with pytest.raises(ImportError, match="this worker class needs uvicorn-worker: install it with pip"):
        gunicorn.Worker  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Wroker'"):
        gunicorn.Wroker  # noqa: B018


# ---- other servers


def test_hypercorn_by_the_command(serve):
    need("hypercorn")
    runs_on_everloop(serve(*EVERLOOP, "-m", "hypercorn", "-b", "unix:ADDRESS", "app:app"), OWN)


def test_a_hypercorn_server_inside_a_program_of_one_s_own(serve):
    need("hypercorn")
    program = f"""{ASGI}
import hypercorn.asyncio, hypercorn.config
config = hypercorn.config.Config()
config.bind = ["unix:" + ADDRESS]
everloop.run(hypercorn.asyncio.serve(app, config))
"""
    runs_on_everloop(serve("app.py", program=program), ANYIO)


@pytest.mark.parametrize("words", ["", "--workers 2"])
def test_granian_by_the_command(serve, words):
    need("granian")
    server = "-m", "granian", "--interface", "asgi", "--uds", "ADDRESS"
    runs_on_everloop(serve(*EVERLOOP, *server, *words.split(), "app:app"), OWN)


def test_daphne_by_the_command(serve):
    need("daphne")
    runs_on_everloop(serve(*EVERLOOP, "-m", "daphne", "-u", "ADDRESS", "app:app"), OWN)


SANIC = f"""{TOLD}
from sanic import Sanic, json
app = Sanic("app")
@app.get("/")
async def root(request):
    return json(told())
"""


@pytest.mark.parametrize("words", ["--single-process", "--workers 2"])
def test_sanic_by_the_command(serve, words):
    need("sanic")
    runs_on_everloop(serve(*EVERLOOP, "-m", "sanic", "app:app", "--unix", "ADDRESS", *words.split(), program=SANIC))


AIOHTTP = f"""{TOLD}
from aiohttp import web
async def root(request):
    return web.json_response(told())
app = web.Application()
app.router.add_get("/", root)
web.run_app(app, path=ADDRESS"""


def test_aiohttp_by_its_argument(serve):
    need("aiohttp")
    runs_on_everloop(serve("app.py", program=f"{AIOHTTP}, loop=everloop.new_event_loop())"))


def test_aiohttp_by_the_command(serve):
    need("aiohttp")
    runs_on_everloop(serve(*EVERLOOP, "app.py", program=f"{AIOHTTP})"))


TORNADO = f"""{TOLD}
import json, signal, tornado.httpserver, tornado.netutil, tornado.web
class Root(tornado.web.RequestHandler):
    async def get(self):
        self.write(json.dumps(told()))
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Root)]))
    server.add_socket(tornado.netutil.bind_unix_socket(ADDRESS))
    await stop.wait()
"""


def test_tornado_by_run(serve):
    need("tornado")
    runs_on_everloop(serve("app.py", program=f"{TORNADO}\neverloop.run(main())"))


def test_tornado_by_the_command(serve):
    need("tornado")
    runs_on_everloop(serve(*EVERLOOP, "app.py", program=f"{TORNADO}\nasyncio.run(main())"))


# ---- frameworks with a command of their own

DJANGO = f"""{TOLD}
import django, sys
from django.conf import settings
from django.http import JsonResponse
from django.urls import path
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
django.setup()
async def root(request):
    return JsonResponse(told(), safe=False)
urlpatterns = [path("", root)]
"""


def test_django_s_asgi_application_under_uvicorn(serve):
    need("django")
    program = f"{DJANGO}\nfrom django.core.asgi import get_asgi_application\napp = get_asgi_application()"
    words = "-m", "uvicorn", "--loop", "everloop:new_event_loop", "--lifespan", "off", "--uds", "ADDRESS", "app:app"
    runs_on_everloop(serve(*words, program=program))


def test_django_s_asynchronous_views_under_wsgi_by_the_command(serve):
    need("django", "gunicorn")
    program = f"{DJANGO}\nfrom django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()"
    runs_on_everloop(serve(*EVERLOOP, "-m", "gunicorn", "-b", "unix:ADDRESS", "app:app", program=program))


def test_litestar_s_command(serve):
    need("litestar")
    program = f"""{TOLD}
from litestar import Litestar, get
@get("/", sync_to_thread=False)
async def root() -> list:
    return told()
app = Litestar([root])
"""
    runs_on_everloop(serve(*EVERLOOP, "-m", "litestar", "--app", "app:app", "run", "--uds", "ADDRESS", program=program))


def test_fastapi_s_command(serve):
    need("fastapi_cli")
    program = (
        f"{TOLD}\nfrom fastapi import FastAPI\napp = FastAPI()\n@app.get('/')\nasync def root():\n    return told()"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    served = serve(*EVERLOOP, "-m", "fastapi", "run", "--port", port, "app.py", program=program)
    served.address = f"127.0.0.1:{port}"
    runs_on_everloop(served)


def test_quart_by_the_command(serve):
    need("quart")
    program = f"""{TOLD}
from quart import Quart
import hypercorn.asyncio, hypercorn.config
app = Quart(__name__)
@app.get("/")
async def root():
    return told()
if __name__ == "__main__":
    config = hypercorn.config.Config()
    config.bind = ["unix:" + ADDRESS]
    asyncio.run(hypercorn.asyncio.serve(app, config))
"""
    runs_on_everloop(serve(*EVERLOOP, "app.py", program=program))


# ---- the page


@pytest.mark.parametrize("page", ["docs/servers.md", "docs/zh-CN/servers.md"])
def test_each_server_of_the_page_has_a_test(page):
    root = pathlib.Path(__file__).parent.parent
    table = (root / page).read_text().split("\n## ")[1]
    rows = re.findall(r"^\| (.*?) \|.*everloop", table, re.MULTILINE)
    servers = {found[0] for row in rows if (found := re.search("[a-z]+", row.lower()))}
    names = re.findall(r"^def test_(\w+)", pathlib.Path(__file__).read_text(), re.MULTILINE)
    tested = {word for name in names for word in name.split("_")}
    assert len(rows) == 15
    assert servers <= tested
