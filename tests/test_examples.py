"""Every example is run as its reader runs it, in a process of its own, and does what its docstring says.

No test asserts a duration: who was answered first says it all. The timeouts are there only so that nothing hangs.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import everloop

EXAMPLES = Path(__file__).parent.parent / "examples"
SHARED = {"loops.py", "serving.py"}
TIMEOUT = 60

# longer than TIMEOUT, so that a hanging example is ended and told about rather than the test
pytestmark = pytest.mark.patience(90)

HELLO = '{"message":"Hello World"}'
HEALTHY = '{"status":"ok"}'
HEALTH_FIRST = [f"/health was answered first: {HEALTHY}", f"/ was answered next: {HELLO}"]
ROOT_FIRST = [f"/ was answered first: {HELLO}", f"/health was answered next: {HEALTHY}"]

# what each example prints on any loop; "..." stands for the rest of a line
ON_ANY_LOOP = {
    "dask_cluster.py": [
        "primes below 200000: 17984",
        "counted in other processes? True",
        "the loop went on meanwhile? True",
    ],
    "def_endpoint.py": HEALTH_FIRST,
    "executors.py": [
        "default pool: another thread? True",
        "thread pool: done on mine_0",
        "process pool: 333328333350000 another process? True",
    ],
    "loop_on_another_thread.py": ["1", "the loop has stopped"],
    "run.py": ["1", "RuntimeError: ... cannot be called from a running event..."],
    "run_until_complete.py": ["1", "RuntimeError: This event loop is already running", "1"],
    "task_from_endpoint.py": ["/ was answered first: 222", f"/health was answered next: {HEALTHY}"],
    "tasks.py": [
        "InvalidStateError: Result is not set.",
        "by await: 222 222",
        "by a callback: 222",
    ],
}

ON_EVERLOOP = {
    **ON_ANY_LOOP,
    "deadlock.py": ["a deadlock? True"],
    "dividing.py": ["served; the accounts are right? True", "computed until somebody else was served"],
    "faces.py": [
        "synchronous code: [0, 2, 4]",
        "synchronous code: 42",
        "asynchronous code: [0, 2, 4]",
        "asynchronous code: 42",
    ],
    "loop_thread.py": ["heard: ['beat', 'beat', 'beat']", "slow: cleaned up", "slow: took too long"],
    "own_loop.py": ["rescue: True after: 0.05", "rescue: False after: 0.02"],
    "processes.py": [
        "primes below 20000: 2262",
        "that process is gone; the next call has a new one: 120",
        "a lambda cannot be sent to another process",
    ],
    "reports.py": ["told of: time.sleep", "a test fails: time.sleep", "blocked most: time.sleep"],
    "threads.py": [
        "answers: 380 never more than two at once? True",
        "the search has ended: nobody wanted it any more",
        "on a thread: Event.wait",
    ],
    "block_on.py": [
        "with no loop at all: 6",
        "inside a coroutine: 6",
        "on a worker thread: 6",
        "too slow: cancelled",
    ],
    "blocked_endpoint.py": HEALTH_FIRST,
    "blocking.py": [
        "the door is open; same thread as before? True",
        "the window is open; same thread as before? True",
    ],
    "task_from_thread.py": ["answered at once: 222"],
    "thread_endpoint.py": [HEALTH_FIRST[0], "Done blocking work!!", HEALTH_FIRST[1]],
}

ON_ASYNCIO = {
    **ON_ANY_LOOP,
    "blocked_endpoint.py": ROOT_FIRST,
    "task_from_thread.py": ["no answer within 2 s: the loop sleeps on", "answered once woken up: 222"],
}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} - SHARED == set(ON_EVERLOOP)


def test_every_example_is_listed() -> None:
    text = (EXAMPLES / "README.md").read_text()

    assert {path.name for path in EXAMPLES.glob("*.py")} == set(re.findall(r"\]\((\w+\.py)\)", text))


def test_every_public_name_is_in_an_example() -> None:
    going = {"EventLoopPolicy"}  # with asyncio's own policies: nobody should begin with it
    used = {name for path in EXAMPLES.glob("*.py") for name in re.findall(r"everloop\.(\w+)", path.read_text())}

    assert set(everloop.__all__) - used == going


@pytest.mark.parametrize("name", sorted(ON_EVERLOOP))
def test_on_everloop(name: str) -> None:
    assert_prints(run_example(name), ON_EVERLOOP[name])


@pytest.mark.parametrize("name", sorted(ON_ASYNCIO))
def test_on_asyncio(name: str) -> None:
    assert_prints(run_example(name, "--loop", "asyncio"), ON_ASYNCIO[name])


def test_health_answers_while_eight_roots_block() -> None:
    async def visit(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client:
            roots = [asyncio.create_task(client.get("/")) for _ in range(8)]

            # asked one after the other, all of it while the endpoints block
            for _ in range(20):
                assert (await client.get("/health")).json() == {"status": "ok"}
            assert not any(root.done() for root in roots)

            assert [answer.json() for answer in await asyncio.gather(*roots)] == [{"message": "Hello World"}] * 8

    with served("--loop", "everloop:new_event_loop", EVERLOOP_RESCUE="1", EXAMPLE_SECONDS="3") as url:
        asyncio.run(visit(url))


def run_example(name: str, *arguments: str) -> list[str]:
    """The lines that the example prints; it must end well, and complain of nothing but of a blocked loop."""
    if name == "dask_cluster.py" and not importlib.util.find_spec("distributed"):
        pytest.skip("Dask's distributed is not installed")
    options = ["--no-serve"] if name == "blocked_endpoint.py" else []
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options, *arguments],
        env=environment(EXAMPLE_SECONDS="2"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stderr
    assert not re.search("Traceback|never awaited|never retrieved", done.stderr), done.stderr
    return done.stdout.splitlines()


def assert_prints(printed: list[str], expected: list[str]) -> None:
    patterns = [re.escape(line).replace(re.escape("..."), ".+") for line in expected]

    assert len(printed) == len(patterns), printed
    for line, pattern in zip(printed, patterns, strict=True):
        assert re.fullmatch(pattern, line)


@contextlib.contextmanager
def served(*options: str, **variables: str) -> Iterator[str]:
    """The URL of the blocked endpoint's application, served by uvicorn's own command."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", *options]
    command += ["blocked_endpoint:app"]
    with subprocess.Popen(command, env=environment(**variables), stderr=subprocess.PIPE, text=True) as server:
        try:
            yield wait_for_url(server)
        finally:
            server.kill()


def wait_for_url(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    watch = threading.Timer(TIMEOUT, server.kill)
    watch.start()
    try:
        log = ""
        for line in server.stderr:
            log += line
            if found := re.search(r"running on (http://\S+)", line):
                return found[1]
        pytest.fail(f"the server did not start:\n{log}")
    finally:
        watch.cancel()


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "EVERLOOP_RESCUE"}
    return {**inherited, **variables}
