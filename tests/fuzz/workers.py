"""Processes that run programs: one that crashes or stands still costs a process, and is a fault of its program."""

import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import pathlib
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading

from .comparing import compare
from .programs import Program, from_data, to_data
from .running import run_program

PACKAGE = pathlib.Path(__file__).parent
START_SECONDS = 60
STACKS = "stacks\n"  # in place of a job: print what all tasks do

Faults = dict[str, list[str]]  # by loop


class Worker:
    """A process that runs one program after the other; made anew when one has ended it."""

    def __init__(self, patience: float):
        self.patience = patience  # seconds that a program may take on all its loops
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._end()

    def run(self, program: Program, loops: list[str]) -> Faults:
        """Run a program on asyncio and on these loops; returns the faults of those that have any."""
        if self._process is None:
            self._start()
        self._send(json.dumps({"program": to_data(program), "loops": loops}) + "\n")
        faults, on = {}, "asyncio"
        while (answer := self._receive()) is not None:
            if "done" in answer:
                return faults
            on = answer["loop"]
            if "faults" not in answer:
                continue  # it begins
            if answer["faults"]:
                faults[on] = answer["faults"]
        faults[on] = [self._last_words()]
        return faults

    def _start(self):
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by _end)
        self._process = subprocess.Popen(
            [sys.executable, PACKAGE, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # what it starts ends with it
        )
        self._answers = b""
        select.select([self._process.stdout], [], [], START_SECONDS)  # it says that it is ready
        self._receive()

    def _send(self, line):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def _receive(self):
        """The next answer, or None if there will be none."""
        while b"\n" not in self._answers:
            if not select.select([self._process.stdout], [], [], self.patience)[0]:
                return None
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                return None
            self._answers += chunk
        line, _, self._answers = self._answers.partition(b"\n")
        return json.loads(line)

    def _last_words(self):
        """How the process ended, or stood still, and what it wrote then."""
        try:
            how = f"crashed: exit status {self._process.wait(1)}"
        except subprocess.TimeoutExpired:
            how = f"stood still for {self.patience:g} s"
            self._send(STACKS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.3)
            self._process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks of all threads
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
        log = self._log
        log.seek(0)
        text = log.read()[-20_000:]
        self._end()
        return f"{how}\n{text}"

    def _end(self):
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()
        self._process = None


# ---- inside the process


def work():
    """Take jobs from the standard input, and answer on the standard output. The process ends with its input."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what programs print is no answer
    jobs = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True, name="jobs").start()
    gc.collect()
    gc.freeze()  # each program ends with a collection, which need not look at all modules again

    print(json.dumps({"ready": True}), file=answers)
    while True:
        job = jobs.get()
        _forget_sites()
        program, expected = from_data(job["program"]), None
        for loop_name in ["asyncio", *job["loops"]]:
            print(json.dumps({"loop": loop_name}), file=answers)
            outcome = run_program(program, loop_name)
            expected = expected or outcome
            print(json.dumps({"loop": loop_name, "faults": compare(expected, outcome)}), file=answers)
        print(json.dumps({"done": True}), file=answers)


def _read_jobs(jobs):
    for line in sys.stdin:
        if line == STACKS:
            _print_tasks()
        else:
            jobs.put(json.loads(line))
    os.killpg(os.getpid(), signal.SIGKILL)  # nobody listens any more, also if a program stands still


def _forget_sites():
    """Where steps block is learned for the whole process: what a program does must not depend on those before it."""
    from everloop import _native

    _native.forget_sites()


def _print_tasks():
    """Write what the tasks of all loops wait for to the standard error."""
    for task in list(asyncio.tasks._scheduled_tasks) + list(getattr(asyncio.tasks, "_eager_tasks", ())):
        if not task.done():
            print(f"{task.get_name()}:", *_frames(task.get_coro()), f"waits for {task._fut_waiter}", file=sys.stderr)
    sys.stderr.flush()


def _frames(coroutine):
    """Where a coroutine is, and those that it awaits."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            yield f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
