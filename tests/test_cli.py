"""`python -m everloop`: a program on everloop, as `python` would run it."""

import asyncio
import json
import os
import py_compile
import subprocess
import sys
import textwrap
import zipfile

import pytest

import everloop
from everloop import cli, environment, other_loops
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


def run(*arguments, cwd=None, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return subprocess.run(
        [sys.executable, "-m", "everloop", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment, **variables},
        check=False,
        cwd=cwd,
    )


def test_a_file_runs_on_everloop(program):
    process = run(program, "--its", "own")
    assert process.stdout.split(maxsplit=4)[:4] == ["everloop.loop", "asyncio_0", "False", "__main__"], process.stderr
    assert process.stdout.endswith(f"['--its', 'own'] {program.parent}\n")


def test_a_module_runs_on_everloop(program):
    process = run("--rescue", "-m", "program", "--rescue", cwd=program.parent)
    assert process.stdout == f"everloop.loop asyncio_0 True __main__ ['--rescue'] {program.parent}\n", process.stderr
    process = run("--rescue=all", "-mprogram", cwd=program.parent)
    assert process.stdout == f"everloop.loop asyncio_0 all __main__ [] {program.parent}\n", process.stderr


def test_anyio_can_keep_its_threads(program):
    process = run("--anyio-pool=off", program)
    assert process.stdout.startswith("everloop.loop AnyIO worker thread False"), process.stderr


def test_nothing_to_run_is_told():
    process = run()
    assert process.returncode == 2
    assert "nothing to run: give a file, -m and a module, -c and code, or -" in process.stderr
    assert "python -m everloop --rescue -m uvicorn app:app" in run("--help").stdout
    assert run("--version").stdout.startswith(f"everloop {everloop.__version__} on CPython 3.")


# ---- as `python` does

LOOK = """
import __main__, os, sys
names = "__file__", "__cached__", "__package__", "__doc__"
print(sys.argv, sys.path[0], os.getcwd() in sys.path, __name__, vars(__main__) is globals())
print([(name, globals().get(name)) for name in names], getattr(__spec__, "name", None), type(__loader__))
"""
ENDS = {
    "an exception": "def fail(): 1 / 0\nfail()",
    "an error of syntax": "def fail(:",
    "a status": "raise SystemExit(7)",
    "a text": "raise SystemExit('the end')",
    "Ctrl-C": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()",
    "Ctrl-C in a loop": "import asyncio, os, signal\nasync def main():\n    os.kill(os.getpid(), signal.SIGINT)\n"
    "    await asyncio.sleep(1)\ntry:\n    asyncio.run(main())\nexcept KeyboardInterrupt as error:\n"
    "    raise KeyboardInterrupt from None",
    "a thread that outlives it": "import __main__, threading, time\n"
    "def later(): threading.main_thread().join(); print(vars(__main__) is vars(sys.modules['__main__']), sys.argv)\n"
    "import sys; threading.Thread(target=later).start()",
}


@pytest.fixture
def folder(tmp_path):
    """Programs of all kinds, which tell how they were run."""
    for name in ("look.py", "package/__init__.py", "package/__main__.py", "inner/__main__.py", "inner/look.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if name.endswith("__init__.py") else LOOK)
    (tmp_path / "link.py").symlink_to("inner/look.py")
    with zipfile.ZipFile(tmp_path / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    py_compile.compile(str(tmp_path / "look.py"), str(tmp_path / "compiled.pyc"))
    return tmp_path


def both(folder, arguments, **options):
    """What a program does under `python`, and under the command."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    found = []
    for command in ([], ["-m", "everloop"]):
        process = subprocess.run(
            [sys.executable, *command, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
            check=False,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )
        found.append((process.returncode, process.stdout, process.stderr))
    return found


@pytest.mark.parametrize(
    "words",
    [
        "look.py",
        "look.py 1 --check -m",
        "inner/look.py",
        "link.py",
        "compiled.pyc x",
        "inner",
        "archive.pyz -c",
        "-- look.py",
        "-m look -m look",
        "-mlook",
        "-m package x",
        "-m inner",
        "missing.py",
        "-m missing",
        "-m package.missing",
        "-m look.missing",
    ],
)
def test_a_program_is_run_as_python_runs_it(folder, words):
    plain, ours = both(folder, words.split())
    assert ours == plain
    assert plain[1] or plain[0], "it has told nothing"


@pytest.mark.parametrize("arguments", [["-c", LOOK, "-c", "x"], ["-c" + LOOK], ["-"], ["-", "x", "-"]])
def test_so_is_a_text(folder, arguments):
    plain, ours = both(folder, arguments, input=LOOK)
    assert ours == plain
    assert plain[1]


@pytest.mark.parametrize("how", ENDS)
def test_a_program_ends_as_under_python(folder, how):
    (folder / "look.py").write_text(ENDS[how])
    plain, ours = both(folder, ["look.py"])
    assert ours == plain
    assert plain != (0, "", "")


# ---- options


@pytest.mark.parametrize("option", environment.OPTIONS.values(), ids=lambda option: option.name)
def test_each_option_may_be_given_to_the_command_which_hands_it_to_the_processes_that_it_starts(option, tmp_path):
    if option.name == "report_at_exit":
        pytest.skip("it prints something: see below")
    value = {"report": "json", "rescue": "all", "listen": f"{tmp_path}/s", "max_processes": "3"}.get(option.name, "1")
    show = f"import os; print(os.environ[{option.variable!r}])"
    process = run(f"{option.flag}={value}", "-c", show)
    assert (process.stdout, process.stderr) == (f"{value}\n", "")
    if option.kind.is_switch:
        assert run(option.flag, "-c", show).stdout == "1\n"
    else:
        assert run(option.flag, value, "-c", show).stdout == f"{value}\n"
        assert f"{option.flag} needs a value: give it " in run(option.flag).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--rescue=maybe x.py", "--rescue is 'maybe': give it one of 1, true"),
        ("--rescue-after 0 x.py", "--rescue-after is '0': give it a number of seconds from 0.0001 to 3600, such as"),
        ("--max-relief-threads=-1 x.py", "--max-relief-threads is '-1': give it a whole number, 0 or more"),
        ("--live-limit=inf x.py", "--live-limit is 'inf': give it a number of seconds"),
        ("--listen=nowhere x.py", "the environment variable EVERLOOP_LISTEN is 'nowhere'"),
        ("--resuce x.py", "there is no option --resuce: did you mean --rescue?"),
        ("--rescue-all x.py", "there is no option --rescue-all: did you mean --rescue"),
        ("-x x.py", "there is no option -x"),
        ("-m", "argument expected for the -m option"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(words, told):
    process = run(*words.split())
    assert process.returncode == 2
    assert f"everloop: error: {told}" in process.stderr
    assert process.stdout == ""


def test_options_that_were_read_at_the_import_count_all_the_same(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("import asyncio, time\nasync def main(): time.sleep(0.2)\nasyncio.run(main())")
    process = run("--report=json", "--report-at-exit", path)
    lines = [json.loads(line)["state"] for line in process.stderr.splitlines()]
    assert lines == ["blocked", "ended", "worst"]
    assert run("--watchdog=off", path).stderr == ""


# ---- checks


def test_a_check_says_whether_everloop_works_here():
    process = run("--check", "--rescue-after=0.5")
    assert process.returncode == 0, process.stdout
    for line in ("ok    loop: ", "ok    rescue: a step that blocks is put aside", "everloop works here"):
        assert line in process.stdout
    assert "rescue_after: 0.5 (EVERLOOP_RESCUE_AFTER=0.5)" in process.stdout


def test_a_check_finds_variables_that_make_no_sense_and_those_that_are_none():
    process = run("--check", EVERLOOP_RESUCE="1", EVERLOOP_VERSION="7", EVERLOOP_MAX_PROCESSES="many")
    assert process.returncode == 1
    assert "FAIL  max_processes: the environment variable EVERLOOP_MAX_PROCESSES is 'many': give" in process.stdout
    assert "note  EVERLOOP_RESUCE is none of everloop's variables: did you mean EVERLOOP_RESCUE?\n" in process.stdout
    assert "note  EVERLOOP_VERSION is none of everloop's variables\n" in process.stdout


def test_a_program_that_is_checked_says_that_it_runs_on_everloop(tmp_path):
    path = tmp_path / "workers.py"
    path.write_text(WORKERS)
    process = run("--check", path, "spawn")
    assert process.stdout == "(1, 'everloop.loop') (0, 'everloop.loop')\n", process.stderr
    assert process.stderr.count("everloop: this program runs on everloop (pid ") == 2


def test_the_running_loop_is_told_or_why_there_is_none(tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        return everloop.running_loop() is loop is await everloop.to_thread(everloop.running_loop)

    assert everloop.run(main())
    with pytest.raises(RuntimeError, match="no event loop runs this code: call it from a coroutine"):
        everloop.running_loop()

    async def other():
        everloop.running_loop()

    with (
        pytest.raises(RuntimeError, match="runs on asyncio's own loop, not on everloop: nobody has chosen"),
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        runner.run(other())


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
