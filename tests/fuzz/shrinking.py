"""Makes a program that fails smaller, as long as it fails: delta debugging over the program as data."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .programs import Body, Operation, Program, Surroundings


def shrink(program: Program, fails: Callable[[Program], bool], seconds: float) -> Program:
    """The smallest program found that fails.

    Args:
        program: One that fails.
        fails: Runs a program, as often as it takes, and says whether it fails.
        seconds: When to be content with what was found.
    """
    deadline = time.monotonic() + seconds
    tried = {program}
    shrunk = True
    while shrunk:
        shrunk = False
        for candidate in smaller(program):
            if time.monotonic() > deadline:
                return program
            if candidate not in tried:
                tried.add(candidate)
                if fails(candidate):
                    program, shrunk = candidate, True
                    break
    return program


def smaller(program: Program) -> Iterator[Program]:
    """Programs that are a step simpler, those that are simpler by much first."""
    for tasks in _shorter(program.tasks):
        if tasks:
            yield replace(program, tasks=tasks)
    for surroundings in _calmer(program.surroundings):
        yield replace(program, surroundings=surroundings)
    for index, body in enumerate(program.tasks):
        for simpler in _smaller_bodies(body):
            yield replace(program, tasks=_with(program.tasks, index, simpler))


def _shorter(items: tuple) -> Iterator[tuple]:
    """Without its halves, then without its quarters, and so on."""
    size = len(items)
    while size:
        for start in range(0, len(items), size):
            yield items[:start] + items[start + size :]
        size //= 2


def _calmer(surroundings: Surroundings) -> Iterator[Surroundings]:
    calm = Surroundings()
    for name, value in vars(calm).items():
        if getattr(surroundings, name) != value:
            yield replace(surroundings, **{name: value})


def _smaller_bodies(body: Body) -> Iterator[Body]:
    yield from _shorter(body)
    for index, operation in enumerate(body):
        # what is inside, without what is around it
        for inside in operation.bodies:
            yield body[:index] + inside + body[index + 1 :]
        for simpler in _simpler(operation):
            yield _with(body, index, simpler)


def _simpler(operation: Operation) -> Iterator[Operation]:
    for bodies in _shorter(operation.bodies):
        if bodies:
            yield replace(operation, bodies=bodies)
    for index, body in enumerate(operation.bodies):
        for simpler in _smaller_bodies(body):
            yield replace(operation, bodies=_with(operation.bodies, index, simpler))
    if operation.bodies and operation.bodies[0]:
        yield replace(operation, bodies=((),))
    if operation.delay:
        yield replace(operation, delay=0.0)
    if operation.way != "sleep":
        yield replace(operation, way="sleep")
    if operation.count > 1:
        yield replace(operation, count=1)
        yield replace(operation, count=operation.count - 1)


def _with(items: tuple, index: int, item: object) -> tuple:
    return (*items[:index], item, *items[index + 1 :])
