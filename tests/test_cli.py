"""`python -m everloop`: a program on everloop, as `python` would run it."""

import os
import subprocess
import sys
import textwrap

import pytest

import everloop
from everloop import cli

SHOW = """
import asyncio, sys, threading, anyio

async def main():
    loop = type(asyncio.get_running_loop()).__module__
    thread = await anyio.to_thread.run_sync(lambda: threading.current_thread().name)
    rescue = getattr(asyncio.get_running_loop(), "rescue", None)
    print(loop, thread, rescue, __name__, sys.argv[1:], sys.path[0])

asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(SHOW)
    return path


def run(*arguments, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return subprocess.run(
        [sys.executable, "-m", "everloop", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
        **options,
    )


def test_a_file_runs_on_everloop(program):
    process = run(program, "--its", "own")
    assert process.stdout.split(maxsplit=4)[:4] == ["everloop.loop", "asyncio_0", "False", "__main__"], process.stderr
    assert process.stdout.endswith(f"['--its', 'own'] {program.parent}\n")


def test_a_module_runs_on_everloop(program):
    process = run("--rescue", "-m", "program", "--rescue", cwd=program.parent)
    assert process.stdout == f"everloop.loop asyncio_0 True __main__ ['--rescue'] {program.parent}\n", process.stderr


def test_anyio_can_keep_its_threads(program):
    process = run("--no-anyio-pool", program)
    assert process.stdout.startswith("everloop.loop AnyIO worker thread False"), process.stderr


def test_nothing_to_run_is_told():
    process = run()
    assert process.returncode == 2
    assert "nothing to run: give a file, or -m and a module" in process.stderr
    assert "python -m everloop --rescue -m uvicorn app:app" in run("--help").stdout


def test_the_exit_status_is_the_program_s(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("raise SystemExit(7)")
    assert run(path).returncode == 7


def test_uvicorn_takes_everloop(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(
        textwrap.dedent(
            """
            import asyncio, os, signal

            async def app(scope, receive, send):
                assert scope["type"] == "lifespan"
                print(type(asyncio.get_running_loop()).__module__, flush=True)
                await receive()
                await send({"type": "lifespan.startup.complete"})
                os.kill(os.getpid(), signal.SIGTERM)
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            """
        )
    )
    process = run("-m", "uvicorn", "app:app", "--port", "0", cwd=tmp_path)
    assert process.stdout == "everloop.loop\n", process.stderr


def test_the_environment_switches_anyio_s_pool(monkeypatch):
    monkeypatch.setenv("EVERLOOP_ANYIO_POOL", "1")
    everloop.bridge.switch_anyio_pool()
    from everloop.bridge import anyio_threads

    assert anyio_threads._threads is not None
    everloop.restore_anyio_pool()
    monkeypatch.setenv("EVERLOOP_ANYIO_POOL", "0")
    everloop.bridge.switch_anyio_pool()
    assert anyio_threads._threads is None
    assert callable(cli.main)
