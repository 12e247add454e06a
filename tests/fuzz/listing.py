"""A program as a person reads it: an outline, and the source of what it uses."""

import inspect
import textwrap
from collections.abc import Iterator

from .operations import OPERATIONS
from .programs import Body, Program, Surroundings
from .ways import WAYS


def listing(program: Program, *, source: bool = True) -> str:
    """The text of a program."""
    lines = []
    around = [f"{name} = {value}" for name, value in _unusual(program.surroundings)]
    if around:
        lines.append(f"around it: {', '.join(around)}")
    for number, body in enumerate(program.tasks):
        lines.append(f"task {number}:")
        lines += _outline(body)
    if source:
        lines += ["", *_sources(program)]
    return "\n".join(lines)


def _unusual(surroundings: Surroundings) -> Iterator[tuple[str, object]]:
    for name, usual in vars(Surroundings()).items():
        if (value := getattr(surroundings, name)) != usual:
            yield name, value


def _outline(body: Body, depth: int = 1) -> Iterator[str]:
    indent = "    " * depth
    for operation in body or ():
        yield f"{indent}{operation.name}: way {operation.way}, {operation.delay * 1000:g} ms, count {operation.count}"
        for number, inside in enumerate(operation.bodies):
            yield f"{indent}  body {number}:"
            yield from _outline(inside, depth + 1)
    if not body:
        yield f"{indent}nothing"


def _sources(program: Program) -> Iterator[str]:
    """The source of the operations and ways that a program uses."""
    names, ways = set(), set()

    def note(body):
        for operation in body:
            names.add(operation.name)
            ways.add(operation.way)
            for inside in operation.bodies:
                note(inside)

    for body in program.tasks:
        note(body)
    functions = [OPERATIONS[name].function for name in sorted(names)] + [WAYS[name] for name in sorted(ways)]
    for function in functions:
        yield textwrap.indent(inspect.getsource(function), "    | ")
