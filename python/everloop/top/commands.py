"""The commands: `everloop top` and `everloop dump`."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from .client import UnreachableError, ask, find
from .drawing import lines_of, table_of

__all__ = ["COMMANDS"]

State = dict[str, Any]


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"everloop {command}", description=description)
    parser.add_argument("target", metavar="PID|ADDRESS", help="a process's number, /path/of.sock, or 127.0.0.1:9123")
    return parser


def dump(arguments: Sequence[str]) -> int:
    """Prints whether the loops of a process go on, and where its threads are."""
    parser = _parser("dump", "Prints whether the loops of a process go on, and where each of its threads is.")
    options = parser.parse_args(arguments)
    try:
        address = find(options.target)
        for page in ("/live", "/stacks"):
            _, text = ask(address, page)
            print(text)
    except UnreachableError as error:
        print(f"everloop dump: {error}", file=sys.stderr)
        return 1
    return 0


def top(arguments: Sequence[str]) -> int:
    """Shows how a process does, again and again, until it ends or Ctrl-C is pressed."""
    parser = _parser("top", "Shows how the loops of a process do, until it ends or you press Ctrl-C.")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="the time between two looks")
    parser.add_argument("--count", type=int, default=-1, metavar="N", help="end after so many looks")
    parser.add_argument("--plain", action="store_true", help="print lines, also where a table could be drawn")
    options = parser.parse_args(arguments)
    if not 0 <= options.every <= 3600:
        parser.error(f"--every {options.every}: give a number of seconds, up to 3600")
    looked = False
    try:
        address = find(options.target)
        show = _lines if options.plain or not sys.stdout.isatty() else _screen
        for end in show(_states(address, options.every, options.count)):
            looked = True
            del end
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        sys.stdout = None  # the interpreter would complain once more
        return 0
    except UnreachableError as error:
        if looked:
            print(f"the process has ended, or listens no more: {error}")
            return 0
        print(f"everloop top: {error}", file=sys.stderr)
        return 1
    return 0


def _states(address: str, every: float, count: int) -> Iterator[State]:
    while count:
        status, text = ask(address, "/state")
        if status != 200:
            raise UnreachableError(f"{address} does not tell its state: {text.strip()}")
        yield json.loads(text)
        count -= 1
        if count:
            time.sleep(every)


def _lines(states: Iterator[State]) -> Iterator[None]:
    """Prints each state as lines."""
    before = None
    for now in states:
        print("\n".join(lines_of(before, now)), flush=True)
        before = now
        yield


def _screen(states: Iterator[State]) -> Iterator[None]:
    """Draws each state as tables, in the place of the last one, where rich is installed."""
    try:
        live = importlib.import_module("rich.live")
    except ImportError:
        print("(plain lines, as rich is not installed: pip install 'everloop[top]' brings it, and with it a table)")
        yield from _lines(states)
        return
    before = None
    with live.Live(screen=True, auto_refresh=False) as screen:
        for now in states:
            screen.update(table_of(before, now), refresh=True)
            before = now
            yield


COMMANDS: dict[Literal["dump", "top"], Callable[[Sequence[str]], int]] = {"dump": dump, "top": top}
