"""Runs one program on one loop, and writes down what came of it."""

import asyncio
import dataclasses
import importlib
import signal
import traceback

from . import leftovers, surroundings
from .operations import OPERATIONS, Expected
from .programs import Body, Operation, Program
from .ways import WAYS, Here
from .witness import PATH, Witness


@dataclasses.dataclass
class Outcome:
    """What came of a program."""

    record: dict[tuple, list] = dataclasses.field(default_factory=dict)  # by task: each operation, and its result
    faults: list[str] = dataclasses.field(default_factory=list)  # what is wrong on any loop


def run_program(program: Program, loop_name: str) -> Outcome:
    """Run a program on a loop.

    Args:
        program: What to run.
        loop_name: "asyncio", "everloop", "rescue=SECONDS", or "module:factory" of any other loop.
    """
    outcome = Outcome()
    with leftovers.noticed(outcome.faults), surroundings.around(program.surroundings, outcome.faults):
        with asyncio.Runner(loop_factory=lambda: new_loop(loop_name), debug=program.surroundings.debug) as runner:
            run = Run(runner.get_loop(), outcome.record)
            leftovers.remember(run.loop)
            try:
                with surroundings.alarm(program.surroundings):
                    runner.run(run.main(program))
            except Exception:
                outcome.faults.append(f"the program raised\n{traceback.format_exc()}")
        outcome.faults += run.witness.faults
        del run, runner
    return outcome


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    if ":" in name:
        module, factory = name.split(":")
        return getattr(importlib.import_module(module), factory)()
    import everloop

    if name == "everloop":
        return everloop.EventLoop(rescue=False)
    return everloop.EventLoop(rescue=True, rescue_after=float(name.removeprefix("rescue=")))


class Run:
    """A program that runs on a loop."""

    SIGNAL = signal.SIGUSR1

    def __init__(self, loop, record):
        self.loop = loop
        self.record = record
        self.witness = Witness(loop)
        self.is_everloop = hasattr(loop, "rescue_after")
        self.signal_events = set()  # of the tasks that wait for a signal
        # only the main thread can set one up, and a task may be on another
        loop.add_signal_handler(self.SIGNAL, self._on_signal)
        loop.set_exception_handler(self._on_exception)

    async def main(self, program):
        if program.surroundings.eager:
            self.loop.set_task_factory(asyncio.eager_task_factory)
        tasks = [asyncio.create_task(self.body(body, (number,))) for number, body in enumerate(program.tasks)]
        await asyncio.gather(*tasks)

        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self.witness.fault(f"tasks that have not ended: {left}")

    async def body(self, body: Body, path: tuple) -> int:
        """One task's operations, one after the other; or a part of a task that writes down its results for itself."""
        results = self.record.setdefault(path, [])
        task, outside = asyncio.current_task(), PATH.get()
        PATH.set(path)
        try:
            for index, operation in enumerate(body):
                step = Step(self, operation, path, index, task)
                step.check()
                try:
                    result = await OPERATIONS[operation.name].function(step)
                except Exception as error:
                    self.witness.faults.append(f"{step} raised\n{traceback.format_exc()}")
                    result = repr(error)
                results.append((operation.name, result))
                step.check()
        finally:
            PATH.set(outside)
        return len(body)

    def _on_signal(self):
        for event in self.signal_events:
            event.set()

    def _on_exception(self, loop, context):
        if isinstance(context.get("exception"), Expected):
            context["exception"].handled = context["message"]
        else:
            self.witness.fault(f"the exception handler was called: {context}")


class Step:
    """An operation of a task: what the functions in `operations` get."""

    def __init__(self, run: Run, operation: Operation, path: tuple, index: int, task: asyncio.Task):
        self.run, self.operation, self.path, self.index, self.task = run, operation, path, index, task
        self.loop, self.delay, self.count = run.loop, operation.delay, operation.count
        self.bodies = len(operation.bodies)

    def __str__(self):
        return f"{self.operation.name}, operation {self.index} of task {self.path}"

    def block(self, share: float = 1.0) -> object:
        """Block for a share of the delay, in the operation's way, anywhere in a step of the loop."""
        here = Here(self.delay * share, self.alone)
        current, context = asyncio.current_task(), PATH.get()
        try:
            return WAYS[self.operation.way](here)
        finally:
            self.run.witness.check(str(self), current, context)

    def alone(self) -> None:
        """No other step of the loop runs now."""
        self.run.witness.alone(str(self))

    def check(self) -> None:
        """This is a step of the operation's own task."""
        self.run.witness.check(str(self), self.task, self.path)

    def fault(self, what: str) -> None:
        """Note that something is wrong, whatever other loops do."""
        self.run.witness.fault(f"{self}: {what}")

    async def body(self, number: int = 0, fails: bool = False) -> int:
        """One of the operation's bodies, as a coroutine for a task of its own or for this one."""
        path = (*self.path, self.index, number)
        done = await self.run.body(self.operation.bodies[number], path)
        if fails:
            raise Expected(str(path))
        return done
