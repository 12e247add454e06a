"""A way to block a loop: a function that does it, and what a report is to say of that."""

import inspect
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Everybody reads the time that a way blocks for from here, in seconds: `run.py` may change it.
TIME = [0.3]
WAYS: dict[str, "Way"] = {}
NOBODY = ("", 0)  # among the lines to blame: any line is right, or none

_ADVISED = {
    "sleep": "asyncio.sleep",
    "host": "",
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
    firsts: list[tuple[str, int]]  # beside them: the lines that may be told of first, since it lasts there until then


def way(*kinds: str, advised: str | None = None, on: Any = None, like: Any = None, at: Any = None) -> Any:
    """Makes a way of a function. The lines that are to blame have the comment `# here`, and after that what is
    called there, in one spelling `or` another.

    `on` is what the cause names, or a function that tells it afterwards. The lines are those of `like`, if it is given
    (a function, or a list of them), or the one that is given: file and number.
    """

    def make(function: Callable[[], Any]) -> Callable[[], Any]:
        functions = [each for each in (like if isinstance(like, list) else [like or function]) if each != NOBODY]
        marks = [([at], [])] if at else [marked(each) for each in functions]
        lines, calls = ([each for mark in marks for each in mark[part]] for part in (0, 1))
        if like == NOBODY or (isinstance(like, list) and NOBODY in like):
            lines.append(NOBODY)
        lines = lines or [("<native>", 0)]  # nothing of the program's is at work
        WAYS[function.__name__] = Way(
            function,
            kinds,
            _ADVISED[kinds[0]] if advised is None else advised,
            lines,
            calls,
            on if callable(on) or on is None else lambda: on,
            [each for function in functions for each in marked(function, "first")[0]],
        )
        return function

    return make


def marked(function: Callable[..., Any], mark: str = "here") -> tuple[list[tuple[str, int]], list[str]]:
    """The lines of a function that have this mark, and what is called there."""
    source, first = inspect.getsourcelines(function)
    file = inspect.getsourcefile(function) or ""
    found = [
        (number, found[1]) for number, line in enumerate(source, first) if (found := re.search(f"# {mark}(.*)", line))
    ]
    return [(file, number) for number, _ in found], [
        call for _, text in found for call in text.partition("#")[0].strip().split(" or ") if call
    ]


def later(action: Callable[..., object], *arguments: object, after: float | None = None) -> threading.Thread:
    """Does something when the time of the way is over."""
    timer = threading.Timer(TIME[0] if after is None else after, action, arguments)
    timer.daemon = True
    timer.start()
    return timer


def lasting() -> Callable[[], bool]:
    """True until the time of a way is over."""
    end = time.monotonic() + TIME[0]
    return lambda: time.monotonic() < end


def times(work: Callable[[int], object], size: int = 1) -> int:
    """The size for which some work takes this CPU time, where it takes twice the time for twice the size."""
    while True:
        begun = time.thread_time()
        work(size)
        took = time.thread_time() - begun
        if took > 0.04:
            return int(size * TIME[0] * 1.3 / took) + 1
        size *= 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def address(one: tuple[str, int]) -> str:
    """An address as a report names it."""
    return f"{one[0]}:{one[1]}"
