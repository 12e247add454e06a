"""`python -m everloop`: a program on everloop, as `python` would run it."""

import os
import subprocess
import sys
import textwrap

import pytest

import everloop
from everloop import cli, other_loops
from support import run_script

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
    process = run("--rescue-all", "-m", "program", cwd=program.parent)
    assert process.stdout == f"everloop.loop asyncio_0 all __main__ [] {program.parent}\n", process.stderr


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
    from everloop.bridge.threads import anyio_threads

    anyio_threads.switch_anyio_pool()
    assert anyio_threads._threads is not None
    everloop.restore_anyio_pool()
    monkeypatch.setenv("EVERLOOP_ANYIO_POOL", "0")
    anyio_threads.switch_anyio_pool()
    assert anyio_threads._threads is None
    assert callable(cli.main)


# ---- processes that the program starts


WORKERS = """
import asyncio, multiprocessing, sys, warnings

warnings.filterwarnings("ignore", "This process .* is multi-threaded")  # debug builds show it

async def loop():
    return type(asyncio.get_running_loop()).__module__

def work(queue, generations, method):
    queue.put((generations, asyncio.run(loop())))
    if generations:
        start(queue, generations - 1, method)

def start(queue, generations, method):
    process = multiprocessing.get_context(method).Process(target=work, args=(queue, generations, method))
    process.start()
    process.join()

if __name__ == "__main__":
    method = sys.argv[1]
    queue = multiprocessing.get_context(method).SimpleQueue()
    start(queue, 1, method)
    print(queue.get(), queue.get())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_run_on_everloop_and_so_do_theirs(tmp_path, method):
    path = tmp_path / "workers.py"
    path.write_text(WORKERS)
    process = run(path, method)
    assert process.stdout == "(1, 'everloop.loop') (0, 'everloop.loop')\n", process.stderr
    assert process.stderr == ""


# ---- another loop after all

PROGRAM = """
import asyncio, os, sys, threading, warnings
warnings.simplefilter("ignore")

async def main():
    pass

def everloop():
    asyncio.run(main())

def other():
    asyncio.Runner(loop_factory=asyncio.SelectorEventLoop).run(main())

def on_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
"""
BY_NAME = (
    "everloop: this program runs on asyncio's own loop, not on everloop: it was made by name, or by a loop_factory. "
    "To run it on everloop, make it with everloop.new_event_loop, or give no loop_factory.\n"
)


def told(tmp_path, source, **modules):
    """What a program is told of the loops that it runs on."""
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + textwrap.dedent(source))
    process = run(path)
    assert process.returncode == 0, process.stderr
    return process.stderr


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("", id="no loop"),
        pytest.param("everloop()", id="everloop"),
        pytest.param("everloop(); other()", id="another one later"),
        pytest.param("everloop(); on_a_thread(other)", id="another one later on a thread"),
        pytest.param("on_a_thread(other); everloop()", id="another one first on a thread"),
        pytest.param("on_a_thread(everloop); on_a_thread(other)", id="both on threads"),
        pytest.param("sys.set_asyncgen_hooks(print, None); sys.set_asyncgen_hooks(None)", id="hooks of its own"),
    ],
)
def test_a_program_that_runs_on_everloop_is_told_nothing(tmp_path, source):
    assert told(tmp_path, source) == ""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("other()", id="once"),
        pytest.param("other(); other(); on_a_thread(other)", id="several times"),
        pytest.param("on_a_thread(other)", id="on a thread only"),
        pytest.param("asyncio.SelectorEventLoop().run_until_complete(main())", id="by hand"),
        pytest.param("other(); everloop()", id="everloop comes later"),
        pytest.param("import logging; logging.disable(); other()", id="with logging off"),
    ],
)
def test_a_program_that_runs_on_another_loop_is_told_once_why_and_what_to_do(tmp_path, source):
    assert told(tmp_path, source) == BY_NAME


def test_processes_of_one_kind_are_told_once_together(tmp_path):
    source = """
    for _ in range(3):
        if not os.fork():
            other()
            os._exit(0)
        os.wait()
    """
    assert told(tmp_path, source) == BY_NAME


def test_a_forked_process_that_runs_on_another_loop_is_told_though_its_parent_ran_on_everloop(tmp_path):
    source = """
    everloop()
    if not os.fork():
        other()
        os._exit(0)
    os.wait()
    """
    assert told(tmp_path, source) == BY_NAME


def test_a_policy_of_the_program_is_named(tmp_path):
    source = """
    import other
    asyncio.set_event_loop_policy(other.Policy())
    everloop()
    """
    policy = """
    import asyncio

    class Policy(asyncio.DefaultEventLoopPolicy):
        pass
    """
    text = told(tmp_path, source, other="import warnings\nwarnings.simplefilter('ignore')" + textwrap.dedent(policy))
    assert "not on everloop: its event loop policy is other.Policy. To run it on everloop, leave out the call" in text


@pytest.mark.parametrize("chooser", other_loops.CHOOSERS, ids=lambda chooser: chooser.module)
def test_who_chooses_a_loop_of_its_own_is_found_by_its_frames(chooser):
    for module in (chooser.module, f"{chooser.module}.inner"):
        space = {"__name__": module, "explain": other_loops.explain}
        exec("def run():\n    return explain()", space)
        assert space["run"]() == (chooser.why, chooser.remedy)


def test_a_server_that_chooses_a_loop_is_named_with_what_to_give_it(tmp_path):
    hypercorn = """
    def serve(run):
        run()
    """
    text = told(tmp_path, "import hypercorn; hypercorn.serve(other)", hypercorn=hypercorn)
    assert text == (
        "everloop: this program runs on asyncio's own loop, not on everloop: "
        "hypercorn was given a worker class for it. To run it on everloop, give hypercorn --worker-class asyncio.\n"
    )


def test_trio_is_named(tmp_path):
    trio = """
    import sys

    def run(main):
        sys.set_asyncgen_hooks(firstiter=lambda generator: None, finalizer=lambda generator: None)
        sys.set_asyncgen_hooks(None, None)
    """
    text = told(tmp_path, "import trio; trio.run(main)", trio=trio)
    assert text.startswith("everloop: this program runs on trio, not on everloop: ")


def test_the_program_s_standard_error_may_be_closed(tmp_path):
    assert told(tmp_path, "sys.stderr = None; other()") == ""


def test_where_there_are_no_policies_any_more_asyncio_makes_everloops_too():
    source = """
    import asyncio, asyncio.unix_events

    asyncio.set_event_loop = asyncio.events.set_event_loop = lambda loop: None
    for module in (asyncio, asyncio.events, asyncio.unix_events):
        vars(module).pop("__getattr__", None)
        for name in [name for name in vars(module) if "policy" in name.lower()]:
            delattr(module, name)

    from everloop import takeover
    takeover.take_over()

    async def main():
        return type(asyncio.get_running_loop()).__module__

    assert asyncio.run(main()) == "everloop.loop"
    assert type(asyncio.new_event_loop()).__module__ == "everloop.loop"
    """
    process = run_script(source)
    assert process.returncode == 0, process.stderr
