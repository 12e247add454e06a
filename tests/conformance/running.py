"""Runs one module of a suite, in as many processes as it takes: a crash or a hang costs one test, not the module."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from suite import HERE, MODULE_SECONDS

MOST_PROCESSES = 40  # for one module
LOOK_SECONDS = 0.05
COLLECT_SECONDS = 300  # until the first test is found: all that a suite needs may have to be compiled first


@dataclasses.dataclass
class Loop:
    """What a module is run on. The stock loop runs with nothing replaced."""

    label: str  # of its logs
    name: str = ""  # module:factory; empty: the stock loop
    path: pathlib.Path = pathlib.Path()  # where its package is imported from


STOCK = Loop("stock")


@dataclasses.dataclass
class Result:
    """What became of a test."""

    outcome: str = "not reached"  # else passed, failed, skipped, hung, crashed
    message: str = ""
    loops: int = 0  # how many loops it made

    @property
    def passed(self):
        return self.outcome == "passed"


@dataclasses.dataclass
class Run:
    """What became of a module."""

    tests: dict[str, Result] = dataclasses.field(default_factory=dict)
    excluded: dict[str, str] = dataclasses.field(default_factory=dict)  # the test, and the pattern that matched
    broken: list[str] = dataclasses.field(default_factory=list)  # what went wrong outside of any test

    def passes(self, test):
        return test in self.tests and self.tests[test].passed

    def take(self, events):
        """Notes what a process reported; returns the test it was in at its end, and whether it got to its end."""
        current, finished = None, False
        for event in events:
            match event:
                case {"event": "selected", "test": test}:
                    self.tests.setdefault(test, Result())
                case {"event": "excluded", "test": test, "by": pattern}:
                    self.excluded[test] = pattern
                case {"event": "begin", "test": current}:
                    pass
                case {"event": "end", "test": test, "outcome": outcome, "message": message, "loops": loops}:
                    self.tests[test] = Result(outcome, message, loops)
                    current = None
                case {"event": "broken", "message": message}:
                    self.broken.append(message)
                case {"event": "finished"}:
                    finished = True
        return current, finished

    def left(self):
        return [test for test, result in self.tests.items() if result.outcome == "not reached"]


def run_module(suite, module, loop, *, known=(), only=None):
    """Runs a module on a loop, without the tests in `known`; or one test of it."""
    slug = re.sub(r"\W+", "_", f"{module}_{loop.label}{'_alone' if only else ''}")
    run, deadline = Run(), time.monotonic() + MODULE_SECONDS
    for _ in range(MOST_PROCESSES):
        done = {test for test, result in run.tests.items() if result.outcome != "not reached"}
        plan = {"known": sorted({*known, *done}), "exclude": list(suite.exclude), "only": only}
        process = Process(suite, module, loop, slug, plan)
        ended_by = process.wait(deadline)
        current, finished = run.take(process.events())

        if current:
            run.tests[current] = Result("hung" if process.killed else "crashed", f"{ended_by}\n{process.last_words()}")
        elif not finished and not run.left():
            run.broken.append(f"its process did not end well: {ended_by}\n{process.last_words()}")
        elif not finished and not run.tests:
            run.broken.append(f"it cannot be run: {ended_by}\n{process.last_words()}")
        if finished or not current or not run.left() or time.monotonic() > deadline:
            break
    return run


class Process:
    """A process that runs tests, in a session of its own: what it leaves behind is ended with it."""

    def __init__(self, suite, module, loop, slug, plan):
        self.suite = suite
        self.killed = False
        self.events_file, self.log_file = (suite.log / f"{slug}.{kind}" for kind in ("events", "log"))
        plan_file = suite.log / f"{slug}.plan"
        plan_file.write_text(json.dumps(plan))
        self.events_file.write_bytes(b"")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                suite.command(module),
                cwd=suite.tests,
                env=environment(suite, loop, self.events_file, plan_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, deadline):
        """Waits for its end, or ends it when a test is silent for too long. Says how it ended."""
        size, since = 0, time.monotonic()
        while self.process.poll() is None:
            time.sleep(LOOK_SECONDS)
            now, before = time.monotonic(), size
            size = self.events_file.stat().st_size
            if size != before:
                since = now
            patience = self.suite.test_seconds if size else COLLECT_SECONDS
            if now > deadline or now - since > patience:
                self.killed = True
                self.signal(signal.SIGABRT)  # faulthandler writes the stacks to the log
                time.sleep(1)
                self.signal(signal.SIGKILL)
                self.process.wait()
                return f"no progress for {now - since:.0f} s"
        self.signal(signal.SIGKILL)
        return f"exit status {self.process.returncode}"

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def events(self):
        for line in self.events_file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that its end cut short
                yield json.loads(line)

    def last_words(self):
        """The stack of the thread that was current, where faulthandler wrote one; else the end of the log."""
        text = self.log_file.read_bytes()[-60_000:].decode(errors="replace")
        at = text.rfind("Current thread")
        return "\n".join(text[at:].splitlines()[:15]) if at >= 0 else text[-1500:]


def environment(suite, loop, events_file, plan_file):
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    if loop.name:
        variables |= suite.environment
    return variables | {
        "PATH": f"{suite.python.parent}{os.pathsep}{variables['PATH']}",
        "PYTHONPATH": str(HERE / "child"),
        "PYTHONFAULTHANDLER": "1",
        "CONFORMANCE_LOOP": loop.name,
        "CONFORMANCE_LOOP_PATH": str(loop.path),
        "CONFORMANCE_ALIASES": ",".join(suite.aliases),
        "CONFORMANCE_EVENTS": str(events_file),
        "CONFORMANCE_PLAN": str(plan_file),
    }
