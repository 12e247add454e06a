"""The command: `python -m everloop` runs a program on everloop, and its `def` endpoints on everloop's threads."""

import difflib
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

from . import check, listening, program
from .bridge.threads.anyio_threads import switch_anyio_pool
from .environment import OPTIONS, Option
from .loop import switch_watchdog
from .takeover import take_over
from .top.commands import COMMANDS
from .watch.output import switch_form
from .watch.worst_lines import switch_at_exit

__all__ = ["main"]

USAGE = """usage: everloop [options] FILE [arguments]
       everloop [options] -m MODULE [arguments]
       everloop [options] -c CODE [arguments]
       everloop [options] - [arguments]
       everloop top|dump PID|ADDRESS
"""
HELP = f"""{USAGE}
Runs a Python program on everloop: asyncio.run, asyncio.Runner and the servers' commands take it, also in processes that
the program starts. One that runs on another loop after all is told so. `-` is the standard input.

options:
  -h, --help              show this
  -V, --version           show the version
  --check                 look whether everloop works here, and what its options are; with a program: run it, and say
                          on which loop it runs
  --                      what follows is a file, whatever its name
"""
EXAMPLES = """
Each of these is a variable of the environment, too: --rescue=all is EVERLOOP_RESCUE=all.

examples:
  python -m everloop program.py --its --options
  python -m everloop --rescue -m uvicorn app:app
  python -m everloop top 4711
  python -m everloop dump /run/app/4711.sock

`top` and `dump` look into a process that listens (--listen). A program of such a name is ./top, or -- top.
"""

# What servers read from their own variables, so that they leave the choice of a loop to asyncio, or take ours.
SERVERS = {
    "UVICORN_LOOP": "everloop:new_event_loop",
    "GRANIAN_LOOP": "asyncio",
    "SANIC_USE_UVLOOP": "false",
}


class Command(NamedTuple):
    """What the command was told to do."""

    variables: dict[str, str]
    checks: bool
    run: Callable[[], None] | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a Python program as `python` does, with everloop as the event loop that asyncio makes.

    Or looks into a process, if the first argument is `top` or `dump`.

    Args:
        arguments: The arguments of the command; None: those of this process.

    Raises:
        SystemExit: the program has ended so, or the arguments make no sense.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for word, look in COMMANDS.items():
        if arguments[:1] == [word]:
            raise SystemExit(look(arguments[1:]))

    command = _parsed(arguments)
    # for processes that this one starts, too
    os.environ.update(command.variables)
    if not os.environ.get("EVERLOOP_ANYIO_POOL", "").strip():
        os.environ["EVERLOOP_ANYIO_POOL"] = "1"
    for name, value in SERVERS.items():
        os.environ.setdefault(name, value)
    try:
        listening.check()
        for switch in (switch_watchdog, switch_form, switch_at_exit, switch_anyio_pool):
            switch()
    except ValueError as error:
        _refuse(str(error))

    take_over(tells=command.checks and command.run is not None)
    if command.run is None:
        raise SystemExit(check.run())
    command.run()


def _parsed(arguments: list[str]) -> Command:
    """What the arguments say, which come before the program's own."""
    variables: dict[str, str] = {}
    checks = False
    rest = arguments.copy()
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            file = partial(program.run_file, word) if word != "-" else program.run_standard_input
            return Command(variables, checks, partial(file, rest))
        if word == "--":
            if not rest:
                break
            return Command(variables, checks, partial(program.run_file, rest[0], rest[1:]))
        if word[:2] in ("-c", "-m"):
            # as with python, nothing need stand between
            if word[2:]:
                rest.insert(0, word[2:])
            if not rest:
                _refuse(f"argument expected for the {word} option")
            run = program.run_code if word[:2] == "-c" else program.run_module
            return Command(variables, checks, partial(run, rest[0], rest[1:]))
        if word == "--check":
            checks = True
        elif word in ("-h", "--help"):
            print(HELP + "".join(map(_help, OPTIONS.values())) + EXAMPLES, end="")
            raise SystemExit
        elif word in ("-V", "--version"):
            version = vars(sys.modules["everloop"])["__version__"]
            print(f"everloop {version} on {platform.python_implementation()} {platform.python_version()}")
            raise SystemExit
        else:
            option, text = _option(word, rest)
            variables[option.variable] = text
    if not checks:
        _refuse("nothing to run: give a file, -m and a module, -c and code, or - for the standard input")
    return Command(variables, checks, None)


def _option(word: str, rest: list[str]) -> tuple[Option, str]:
    """An option and its value: after `=`; after it, if it needs one; on, if it is a switch."""
    flag, equals, text = word.partition("=")
    flags = {option.flag: option for option in OPTIONS.values()}
    option = flags.get(flag)
    if option is None:
        near = difflib.get_close_matches(flag, [*flags, "--check", "--help", "--version"], 1)
        _refuse(f"there is no option {flag}" + (f": did you mean {near[0]}?" if near else ""))
    if not equals:
        if option.kind.is_switch:
            return option, "1"
        if not rest:
            _refuse(f"{flag} needs a value: give it {option.kind.allowed}")
        text = rest.pop(0)
    try:
        option.read(text, flag)
    except ValueError as error:
        _refuse(str(error))
    return option, text


def _help(option: Option) -> str:
    flag = option.flag + ("[=VALUE]" if option.kind.is_switch else "=VALUE")
    values = option.kind.values.replace("`", "")
    text = f"{option.meaning.replace('`', '')} ({values}; default: {option.default})"
    return f"  {flag}\n{textwrap.fill(text, 94, initial_indent=6 * ' ', subsequent_indent=6 * ' ')}\n"


def _refuse(text: str) -> NoReturn:
    print(f"{USAGE}everloop: error: {text}", file=sys.stderr)
    raise SystemExit(2)
