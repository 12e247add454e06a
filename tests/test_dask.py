"""Work leaves this process for a cluster of Dask: a scheduler and two workers, and programs that run on everloop.

Each program is a process of its own, because Dask's threads and connections last as long as theirs. Work and program
speak through FIFOs: what opens one waits for who opens its other end.
"""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support import run_script

pytestmark = [
    # looked for, not imported: this process has nothing to do with Dask
    pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="Dask's distributed is not installed"),
    # each process imports Dask, which takes seconds on a busy machine
    pytest.mark.patience(90),
]
TIMEOUT = 60

PROGRAM = """
    import asyncio, concurrent.futures, json, os, signal, sys, threading
    from pathlib import Path

    import everloop
    from distributed import Client

    directory = Path(sys.argv[2])
    threads = concurrent.futures.ThreadPoolExecutor()

    class Fifos:
        def __init__(self, name):
            self.started, self.go, self.done = (str(directory / f"{name}-{part}") for part in ("started", "go", "done"))
            for path in (self.started, self.go, self.done):
                os.mkfifo(path)

    def work(fifos, finish=False):
        Path(fifos.started).write_text(str(os.getpid()))
        Path(fifos.go).read_text()
        if finish:
            Path(fifos.done).write_text("done")
        return os.getpid()

    async def read(path):
        return await everloop.to_executor(threads, Path(path).read_text)

    async def write(path):
        await everloop.to_executor(threads, Path(path).write_text, "go")

    def say(thing):
        print(json.dumps(thing), flush=True)
"""

END = """
    with threads, Client(scheduler_file=sys.argv[1], set_as_default=False) as client:
        everloop.run(main(client, client.get_executor(pure=False)))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The path of the file in which the scheduler says where it listens."""
    directory = tmp_path_factory.mktemp("cluster")
    path = directory / "scheduler.json"
    loopback = ["--host", "127.0.0.1", "--no-dashboard"]
    with open(directory / "log", "a") as log, contextlib.ExitStack() as stack:
        start(stack, log, "scheduler", "--port", "0", "--scheduler-file", str(path), *loopback)
        for _ in range(2):
            start(stack, log, "worker", "--scheduler-file", str(path), "--nthreads", "1", *loopback)
        wait_for_workers(path, 2)
        yield path


def start(stack, log, name, *options):
    """Start one of Dask's commands; it ends with the stack."""
    command = [sys.executable, "-m", "dask", name, *options]
    process = stack.enter_context(subprocess.Popen(command, cwd=Path(log.name).parent, stdout=log, stderr=log))
    stack.callback(process.terminate)


def wait_for_workers(path, count):
    """In a process, like everything that speaks to the cluster."""
    done = run_script(
        f"""
        import os, sys, time
        from distributed import Client

        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        with Client(scheduler_file=sys.argv[1], set_as_default=False) as client:
            client.wait_for_workers({count}, timeout=40)
        """,
        str(path),
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, (path.parent / "log").read_text() + done.stderr


def run_program(cluster, directory, source):
    """The things that the program says; `source` defines `async def main(client, executor)`."""
    (directory / "program.py").write_text("".join(textwrap.dedent(part) for part in (PROGRAM, source, END)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(directory / "program.py"), str(cluster), str(directory)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert "never" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_results_and_exceptions_come_back_from_the_workers(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        def fail(key):
            raise KeyError(key)

        async def main(client, executor):
            # the client's own futures are Dask's, and not those of concurrent.futures
            for submits in (executor, client):
                say(await everloop.to_executor(submits, lambda a, b: a - b, 44, b=2))
                try:
                    await everloop.to_executor(submits, fail, "key")
                except KeyError as error:
                    say([*error.args, os.getpid() in await asyncio.gather(
                        *(everloop.to_executor(executor, os.getpid) for _ in range(8))
                    )])
        """,
    )
    assert said == [42, ["key", False]] * 2


def test_the_loop_goes_on_while_both_workers_work(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        async def main(client, executor):
            both = [Fifos("one"), Fifos("two")]
            working = [asyncio.create_task(everloop.to_executor(executor, work, fifos)) for fifos in both]
            at_work = [int(await read(fifos.started)) for fifos in both]
            for fifos in both:
                await write(fifos.go)
            say([len(set(at_work)), await asyncio.gather(*working) == at_work])
        """,
    )
    assert said == [[2, True]]


def test_queued_work_that_is_cancelled_never_starts(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        def count_tasks(dask_worker):
            return len(dask_worker.state.tasks)

        async def wait_until_workers_know(client, count):  # the scheduler knows before, and tells them
            while sum((await asyncio.to_thread(client.run, count_tasks)).values()) != count:
                pass

        async def main(client, executor):
            both = [Fifos("one"), Fifos("two")]
            working = [asyncio.create_task(everloop.to_executor(executor, work, fifos)) for fifos in both]
            for fifos in both:
                await read(fifos.started)

            queued = asyncio.create_task(everloop.to_executor(executor, (directory / "touched").touch))
            await wait_until_workers_know(client, 3)
            queued.cancel()
            try:
                await queued
            except asyncio.CancelledError:
                say("cancelled")
            await wait_until_workers_know(client, 2)

            for fifos in both:
                await write(fifos.go)
            await asyncio.gather(*working)
            await asyncio.gather(*(everloop.to_executor(executor, int) for _ in range(8)))
            say((directory / "touched").exists())
        """,
    )
    assert said == ["cancelled", False]


def test_work_that_has_begun_goes_on_when_it_is_cancelled(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        async def main(client, executor):
            fifos = Fifos("one")
            working = asyncio.create_task(everloop.to_executor(executor, work, fifos, finish=True))
            await read(fifos.started)
            working.cancel()
            try:
                await working
            except asyncio.CancelledError:
                say("cancelled")
            await write(fifos.go)
            say(await read(fifos.done))
        """,
    )
    assert said == ["cancelled", "done"]


def test_the_work_of_a_worker_that_is_killed_is_done_again_elsewhere(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        async def main(client, executor):
            fifos = Fifos("one")
            working = asyncio.create_task(everloop.to_executor(executor, work, fifos))
            killed = int(await read(fifos.started))
            os.kill(killed, signal.SIGKILL)
            second = int(await read(fifos.started))
            await write(fifos.go)
            say([second != killed, await working == second])
        """,
    )
    assert said == [[True, True]]


def test_work_that_kills_each_worker_raises_killed_worker(cluster, tmp_path):
    said = run_program(
        cluster,
        tmp_path,
        """
        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        async def main(client, executor):
            try:
                await everloop.to_executor(executor, die)
            except Exception as error:
                say(type(error).__name__)
            say(await everloop.to_executor(executor, int, "42"))
        """,
    )
    assert said == ["KilledWorker", 42]


def test_without_pure_equal_calls_are_one_call_with_one_fate(cluster, tmp_path):
    """Dask's own rule, and the reason why our pages write get_executor(pure=False)."""
    said = run_program(
        cluster,
        tmp_path,
        """
        async def main(client, executor):
            for executor in (client.get_executor(), executor):
                one, two = await asyncio.gather(*(everloop.to_executor(executor, os.urandom, 8) for _ in range(2)))
                say(one == two)

            fifos = Fifos("one")
            one, two = (
                asyncio.create_task(everloop.to_executor(client.get_executor(), work, fifos)) for _ in range(2)
            )
            await read(fifos.started)
            one.cancel()
            done, _ = await asyncio.wait([one, two])
            say([task.cancelled() for task in (one, two)])
            await write(fifos.go)
        """,
    )
    assert said == [True, False, [True, True]]


@pytest.mark.parametrize("page", ["clusters.md", "zh-CN/clusters.md"])
def test_the_program_of_the_page_runs_as_it_stands(cluster, tmp_path, page):
    text = (Path(__file__).parent.parent / "docs" / page).read_text()
    [program] = re.findall(r"^```python\n(import .*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "DASK_SCHEDULER_ADDRESS": json.loads(cluster.read_text())["address"]},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["49", "[0, 1, 4, 9, 16]", "121"]
