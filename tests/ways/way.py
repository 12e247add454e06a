"""A way to block a loop: a function that does it, and what a report is to say of that."""

import inspect
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Everybody reads the time that a way blocks for from here, in seconds: `run.py` may change it.
TIME = [0.3]
WAYS: dict[str, "Way"] = {}

_ADVISED = {
    "sleep": "asyncio.sleep",
    "file": "to_thread",
    "pipe": "to_thread",
    "socket": "to_thread",
    "poll": "to_thread",
    "lock": "asyncio primitive",
    "child": "create_subprocess",
    "dns": "loop.getaddrinfo",
    "python": "to_process",
    "gil": "to_process",
    "native": "to_thread",
    "thread": "other thread",
    "collector": "gc.freeze",
    "import": "at the top",
    "steps": "fewer of these steps",
}


@dataclass
class Way:
    """What a report is to say of one way to block."""

    run: Callable[[], Any]
    kinds: tuple[str, ...]
    advised: str
    lines: list[tuple[str, int]]  # any of these is right
    calls: list[str]  # as the source spells what is at those lines; empty: nobody cares
    on: Callable[[], str] | None
    stages: list[Callable[[], object]] = field(default_factory=list)  # what ends the stage of a way that has run


def way(
    *kinds: str, advised: str | None = None, on: Any = None, like: Callable[..., Any] | None = None, at: Any = None
) -> Any:
    """Makes a way of a function. The lines that are to blame have the comment `# here`, and what is called after that.

    `on` is what the cause names, or a function that tells it afterwards. The lines are those of `like`, if it is given,
    or one is given: file and number.
    """

    def make(function: Callable[[], Any]) -> Callable[[], Any]:
        lines, calls = ([at], []) if at else marked(like or function)
        lines = lines or [("<native>", 0)]  # nothing of the program's is at work
        WAYS[function.__name__] = Way(
            function,
            kinds,
            advised or _ADVISED[kinds[0]],
            lines,
            calls,
            on if callable(on) or on is None else lambda: on,
        )
        return function

    return make


def marked(function: Callable[..., Any]) -> tuple[list[tuple[str, int]], list[str]]:
    """The lines of a function that are marked, and what is called there."""
    source, first = inspect.getsourcelines(function)
    file = inspect.getsourcefile(function) or ""
    found = [
        (number, found[1]) for number, line in enumerate(source, first) if (found := re.search("# here(.*)", line))
    ]
    return [(file, number) for number, _ in found], [
        call for _, text in found if (call := text.partition("#")[0].strip())
    ]


def later(action: Callable[..., object], *arguments: object, after: float | None = None) -> threading.Thread:
    """Does something when the time of the way is over."""
    timer = threading.Timer(TIME[0] if after is None else after, action, arguments)
    timer.daemon = True
    timer.start()
    return timer


def times(work: Callable[[int], object], size: int = 1) -> int:
    """The size for which some work takes the time of a way, where it takes twice the time for twice the size."""
    import time

    while True:
        begun = time.perf_counter()
        work(size)
        took = time.perf_counter() - begun
        if took > 0.02:
            return int(size * TIME[0] * 1.2 / took) + 1
        size *= 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def address(one: tuple[str, int]) -> str:
    """An address as a report names it."""
    return f"{one[0]}:{one[1]}"
