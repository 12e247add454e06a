"""The other rows of docs/servers.md: tests, notebooks and workers on everloop.

What is not installed is left out.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from subprocess import PIPE, STDOUT

import pytest

from support import PATIENCE
from test_servers import need

ASK = "import asyncio, everloop\nasync def ask(): return everloop.running_loop()\n"


def run(folder, *words, commands="", **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        cwd=folder,
        env={**environment, "HOME": str(folder), **variables},
        start_new_session=True,
    )
    try:
        output = process.communicate(commands, timeout=PATIENCE - 5)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):  # those that it has started, too
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def write(folder, **files):
    for name, source in files.items():
        (folder / f"{name}.py").write_text(ASK + textwrap.dedent(source))


# ---- tests

PYTEST = "-m", "pytest", "-q", "-p", "no:cacheprovider"
PLAIN = """
import pytest
@pytest.mark.asyncio
async def test_it():
    everloop.running_loop()
"""


@pytest.mark.parametrize("words", [(), ("-p", "everloop_pytest", "--everloop")])
def test_pytest_asyncio_takes_a_factory_or_what_asyncio_makes(tmp_path, words):
    need("pytest_asyncio")
    write(tmp_path, test_it=PLAIN)
    if not words:
        factories = "def pytest_asyncio_loop_factories(config, item): return {'everloop': everloop.new_event_loop}"
        write(tmp_path, conftest=factories)
    status, output = run(tmp_path, *PYTEST, "-p", "asyncio", *words)
    assert (status, "1 passed" in output) == (0, True), output


@pytest.mark.parametrize("words", [(), ("-p", "everloop_pytest", "--everloop")])
def test_anyio_s_plugin_takes_a_factory_or_what_asyncio_makes(tmp_path, words):
    write(tmp_path, test_it=PLAIN.replace("mark.asyncio", "mark.anyio"))
    options = "" if words else ", {'loop_factory': everloop.new_event_loop}"
    backend = "@pytest.fixture\ndef anyio_backend(): return "
    write(tmp_path, conftest=f"import pytest\n{backend}('asyncio'{options or ', {}'})")
    status, output = run(tmp_path, *PYTEST, "-p", "no:asyncio", *words)
    assert (status, "1 passed" in output) == (0, True), output


UNITTEST = """
import unittest
class Test(unittest.IsolatedAsyncioTestCase):
    FACTORY
    async def test_it(self):
        everloop.running_loop()
"""


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        pytest.param(
            "loop_factory = everloop.EventLoop",
            (),
            marks=pytest.mark.skipif(sys.version_info < (3, 13), reason="it takes no factory"),
        ),
        ("", ("-m", "everloop")),
    ],
)
def test_unittest_takes_a_factory_or_what_asyncio_makes(tmp_path, factory, words):
    write(tmp_path, test_it=UNITTEST.replace("FACTORY", factory))
    status, output = run(tmp_path, *words, "-m", "unittest")
    assert (status, "Ran 1 test" in output) == (0, True), output


# ---- notebooks

KERNEL = """
import jupyter_client.manager, sys
manager, client = jupyter_client.manager.start_new_kernel(kernel_name=sys.argv[1])
def show(message):
    content = message["content"]
    print(content.get("text") or content.get("evalue") or "", end="")
try:
    for cell in sys.argv[2:]:
        client.execute_interactive(cell, timeout=30, output_hook=show)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


def kernel(folder, words, *cells):
    """What cells print in a kernel that is started by these words."""
    need("ipykernel", "jupyter_client")
    place = folder / "kernels" / "chosen"
    place.mkdir(parents=True)
    words = [sys.executable, *words, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    place.joinpath("kernel.json").write_text(json.dumps({"argv": words, "display_name": "x", "language": "python"}))
    (folder / "kernel.py").write_text(KERNEL)
    return run(folder, "kernel.py", "chosen", *cells, JUPYTER_PATH=str(folder), IPYTHONDIR=str(folder))


def test_a_kernel_that_the_command_starts_runs_on_everloop(tmp_path):
    cells = "import asyncio, everloop", "loop = everloop.running_loop(); await asyncio.sleep(0); print(loop.rescue)"
    status, output = kernel(tmp_path, ("-m", "everloop", "--rescue"), *cells)
    assert (status, "True\n" in output) == (0, True), output


def test_beside_the_loop_of_a_stock_kernel_an_everloop_runs_on_a_thread(tmp_path):
    beside = "import everloop; print(everloop.LoopThread().run(asyncio.sleep(0, 'beside')))"
    status, output = kernel(tmp_path, (), "import asyncio", beside)
    assert (status, "beside\n" in output) == (0, True), output


def test_what_cannot_work_in_a_notebook_is_not_advised_there(tmp_path):
    cells = "everloop.run(asyncio.sleep(0))", "everloop.block_on(asyncio.sleep(0))", "await everloop.to_thread(int)"
    status, output = kernel(tmp_path, (), "import asyncio, everloop", *cells)
    assert status == 0, output
    assert "everloop.run() cannot be called from a running event loop: await the coroutine instead" in output
    assert output.count("In a notebook, hand the coroutine to everloop.LoopThread().run(...), or start the kernel") == 2
    assert "with everloop.run()" not in output


# ---- debuggers

STOPS = """
async def main():
    number = 6
    breakpoint()
    print("goes on", type(everloop.running_loop()).__module__)
asyncio.run(main())
"""


def test_a_breakpoint_stops_under_the_command(tmp_path):
    write(tmp_path, program=STOPS)
    status, output = run(tmp_path, "-m", "everloop", "program.py", commands="p number * 7\nc\n")
    assert (status, "42\n" in output, "goes on everloop.loop\n" in output) == (0, True, True), output


def test_the_command_stands_after_pdb(tmp_path):
    write(tmp_path, program="async def main():\n    print('main', everloop.running_loop().rescue)\nasyncio.run(main())")
    words = "-m", "pdb", "-c", "continue", "-m", "everloop", "program.py"
    _, output = run(tmp_path, *words, commands="q\n", EVERLOOP_RESCUE="1")
    assert "main True\n" in output


def test_the_command_stands_after_debugpy(tmp_path):
    need("debugpy")
    write(tmp_path, program="async def main():\n    print('main', everloop.running_loop().rescue)\nasyncio.run(main())")
    words = "-m", "debugpy", "--listen", "127.0.0.1:0", "-m", "everloop", "--rescue", "program.py"
    status, output = run(tmp_path, *words)
    assert (status, "main True\n" in output) == (0, True), output


# ---- workers

CELERY = """
import celery, celery.contrib.testing.worker
app = celery.Celery(broker="memory://", backend="cache+memory://")
portal = everloop.LoopThread()
@app.task
def on_the_portal():
    return type(portal.run(ask())).__module__
@app.task
def on_a_loop_of_its_own():
    return type(everloop.run(ask())).__module__
with celery.contrib.testing.worker.start_worker(app, perform_ping_check=False, pool="solo"):
    print([task.delay().get(timeout=20) for task in (on_the_portal, on_the_portal, on_a_loop_of_its_own)])
portal.close()
"""


def test_a_task_of_celery_runs_coroutines_on_everloop(tmp_path):
    need("celery")
    write(tmp_path, program=CELERY)
    status, output = run(tmp_path, "program.py")
    assert (status, "['everloop.loop', 'everloop.loop', 'everloop.loop']" in output) == (0, True), output


TASKIQ = """
import os, signal, taskiq
class Broker(taskiq.AsyncBroker):
    async def kick(self, message): pass
    async def listen(self):
        await asyncio.Event().wait()
        yield b""
broker = Broker()
@broker.on_event(taskiq.TaskiqEvents.WORKER_STARTUP)
async def begin(state):
    print("begins on", type(everloop.running_loop()).__module__, flush=True)
    os.kill(os.getppid(), signal.SIGTERM)
"""


def test_taskiq_s_worker_runs_on_everloop_by_the_command(tmp_path):
    need("taskiq")
    write(tmp_path, app=TASKIQ, uvloop="raise ImportError('as if it were not installed')")
    server = "-m", "everloop", "-m", "taskiq", "worker", "--workers", "1", "app:broker"
    output = run(tmp_path, *server)[1]
    assert "begins on everloop.loop\n" in output
