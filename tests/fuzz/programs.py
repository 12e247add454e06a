"""Random programs, as data: what their tasks do, from a seed alone."""

import dataclasses
import random
from typing import Any

from .operations import OPERATIONS
from .ways import WAYS

DELAYS = (0.0, 0.0002, 0.0015, 0.003, 0.005, 0.009)  # seconds: shorter and longer than rescue waits
DEPTH = 2  # how deep operations are nested that have bodies


@dataclasses.dataclass(frozen=True)
class Operation:
    """One thing that a task does. What `delay`, `count` and `bodies` are for is the operation's affair."""

    name: str
    way: str = "sleep"  # how it blocks
    delay: float = 0.0  # seconds
    count: int = 1
    bodies: "tuple[Body, ...]" = ()

    @property
    def size(self) -> int:
        return 1 + sum(body_size(body) for body in self.bodies)


Body = tuple[Operation, ...]  # what one task does, one after the other


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What else goes on in the process. Whatever it is, the results are the same."""

    switch_interval: float = 0.005  # seconds after which a thread must let go of the GIL
    debug: bool = False  # asyncio's debug mode
    eager: bool = False  # tasks take their first step when they are made
    alarm: bool = False  # a signal arrives again and again
    collect_often: bool = False  # the cyclic collector runs often
    busy_thread: bool = False  # a thread of its own wants the GIL


@dataclasses.dataclass(frozen=True)
class Program:
    tasks: tuple[Body, ...]
    surroundings: Surroundings = Surroundings()

    @property
    def size(self) -> int:
        return sum(body_size(body) for body in self.tasks)


def body_size(body: Body) -> int:
    return sum(operation.size for operation in body)


# ---- making one


def generate(seed: int) -> Program:
    """The program of a seed."""
    chance = random.Random(seed)
    surroundings = Surroundings(
        switch_interval=chance.choice([0.005, 0.005, 0.005, 0.00001]),
        **{name: chance.random() < 0.1 for name in ("debug", "eager", "alarm", "collect_often")},
        busy_thread=chance.random() < 0.03,  # such a program takes seconds
    )
    tasks = tuple(_body(chance, DEPTH, chance.randint(1, 5)) for _ in range(chance.randint(1, 4)))
    return Program(tasks, surroundings)


def _body(chance: random.Random, depth: int, length: int) -> Body:
    return tuple(_operation(chance, depth) for _ in range(length))


def _operation(chance: random.Random, depth: int) -> Operation:
    names = [name for name, kind in OPERATIONS.items() if depth or not kind.most_bodies]
    name = chance.choices(names, [OPERATIONS[name].weight for name in names])[0]
    bodies = chance.randint(1, most) if (most := OPERATIONS[name].most_bodies) else 0
    return Operation(
        name=name,
        way=chance.choice(list(WAYS)),
        delay=chance.choice(DELAYS),
        count=chance.randint(1, 5),
        bodies=tuple(_body(chance, depth - 1, chance.randint(1, 3)) for _ in range(bodies)),
    )


# ---- written down and read again


def to_data(program: Program) -> dict[str, Any]:
    """A program as what JSON can hold."""
    return dataclasses.asdict(program)


def from_data(data: dict[str, Any]) -> Program:
    tasks = tuple(_body_from_data(body) for body in data["tasks"])
    return Program(tasks, Surroundings(**data["surroundings"]))


def _body_from_data(data: list[dict[str, Any]]) -> Body:
    return tuple(
        Operation(**{**operation, "bodies": tuple(_body_from_data(body) for body in operation["bodies"])})
        for operation in data
    )
