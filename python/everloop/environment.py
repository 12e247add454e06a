"""The options of everloop, in one table: what each may be set to, by a variable of the environment or by the command.

An option `rescue_after` is the variable `EVERLOOP_RESCUE_AFTER`, and `python -m everloop --rescue-after`. Those of a
loop are arguments and attributes of `EventLoop` by the same name. docs/options.md shows this table.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

from .log import logger

__all__ = [
    "OPTIONS",
    "REPORTS",
    "Option",
    "default_socket",
    "listen",
    "live_limit",
    "of_loop",
    "report",
    "tell_misspelt",
    "unknown",
    "value_of",
]

ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")
REPORTS = ("off", "text", "json")  # as `_native.set_report_mode` counts them


class Kind:
    """What an option may be set to.

    Args:
        allowed: The values, after "give it".
        values: The same, as short as it fits into a table.
        read: What a word means; ValueError: nothing.
        is_switch: True if the option's name alone means on.
    """

    def __init__(self, allowed: str, values: str, read: Callable[[str], Any], is_switch: bool = False) -> None:
        self.allowed, self.values, self.read, self.is_switch = allowed, values, read, is_switch


class Option:
    """An option.

    Args:
        name: Its name.
        kind: What it may be set to.
        unset: Its value where nobody sets it; None: something that `default` tells.
        default: That, for people.
        meaning: What it is for.
        is_of_loop: True if it is an argument and an attribute of a loop.

    `variable` is that of the environment, `flag` the option of the command.
    """

    def __init__(self, name: str, kind: Kind, unset: Any, default: str, meaning: str, is_of_loop: bool = False) -> None:
        self.name, self.kind, self.unset, self.default = name, kind, unset, default
        self.meaning, self.is_of_loop = meaning, is_of_loop
        self.variable, self.flag = f"EVERLOOP_{name.upper()}", f"--{name.replace('_', '-')}"

    def read(self, text: str, where: str) -> Any:
        """What a text means that stands `where`.

        Raises:
            ValueError: nothing; it says what would.
        """
        try:
            return self.kind.read(text.strip().lower())
        except ValueError:
            raise ValueError(f"{where} is {text!r}: give it {self.kind.allowed}") from None

    def value(self) -> Any:
        """What the environment says, `unset` where it says nothing.

        Raises:
            ValueError: the variable makes no sense.
        """
        text = os.environ.get(self.variable)
        if not text or text.isspace():
            return self.unset
        return self.read(text, f"the environment variable {self.variable}")


def _on_or_off(word: str) -> bool:
    if word not in ON and word not in OFF:
        raise ValueError
    return word in ON


def _rescue(word: str) -> "bool | Literal['all']":
    return "all" if word == "all" else _on_or_off(word)


def _number(least: float, most: float = math.inf) -> Callable[[str], float]:
    def read(word: str) -> float:
        number = float(word)
        if not least <= number <= most:  # NaN is refused, too
            raise ValueError
        return number

    return read


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        count = int(word)
        if not least <= count <= most:
            raise ValueError
        return count

    return read


def _finite(word: str) -> float:
    if (number := _number(0)(word)) == math.inf:
        raise ValueError
    return number


def _form(word: str) -> str:
    if word not in REPORTS:
        raise ValueError
    return word


_ALLOWED = f"one of {', '.join(ON)} to switch that on, or one of {', '.join(OFF)} to switch it off"
SWITCH = Kind(_ALLOWED, "`on`, `off`", _on_or_off, is_switch=True)
RESCUE = Kind(f"{_ALLOWED}, or all to divide steps that compute as well", "`on`, `off`, `all`", _rescue, is_switch=True)
FORM = Kind(f"one of {', '.join(REPORTS)}, the form in which blocks are reported", "`text`, `json`, `off`", _form)
ADDRESSES = Kind("addresses", "`on`, `off`, addresses", str, is_switch=True)  # `_native` looks at them
MOST_THREADS = 2**63  # of relief: as many as there will ever be

_TABLE = (
    Option(
        "rescue",
        RESCUE,
        False,
        "off",
        "whether unmarked calls that block are rescued; `all`: Python that computes as well",
        True,
    ),
    Option(
        "rescue_after",
        Kind("a number of seconds from 0.0001 to 3600, such as 0.02", "seconds, 0.0001 to 3600", _number(0.0001, 3600)),
        None,
        "0.02",
        "how long a call must have blocked before it is rescued",
        True,
    ),
    Option(
        "max_relief_threads",
        Kind("a whole number, 0 or more, such as 128", "a whole number", _count(0, MOST_THREADS)),
        None,
        "128",
        "how many threads stand in at once; past this each further one comes only when nothing else moves",
        True,
    ),
    Option(
        "slow_callback_duration",
        Kind("a number of seconds, 0 or more, such as 0.1", "seconds, 0 or more", _number(0)),
        None,
        "0.1",
        "how long the loop must have been blocked before that is reported",
        True,
    ),
    Option(
        "max_processes",
        Kind("a whole number, 1 or more", "a whole number, 1 or more", _count(1, MOST_THREADS)),
        None,
        "as many as there are processors",
        "how many processes `everloop.to_process` keeps",
        True,
    ),
    Option("report", FORM, "text", "text", "the form of reports in the log"),
    Option("report_at_exit", SWITCH, False, "off", "whether the lines that blocked longest are printed at the end"),
    Option(
        "listen",
        ADDRESSES,
        None,
        "off",
        "where the process can be looked into; `on`: at a Unix socket of its own",
    ),
    Option(
        "live_limit",
        Kind("a number of seconds, such as 10", "seconds, 0 or more", _finite),
        10.0,
        "10",
        "how long a loop may be blocked before `/live` says so",
    ),
    Option(
        "anyio_pool",
        SWITCH,
        False,
        "off; on with the command and with the worker classes for gunicorn",
        "whether anyio's calls on threads (FastAPI's and Starlette's `def`) run on everloop's",
    ),
    Option("watchdog", SWITCH, True, "on", "whether loops are watched: without, nothing is rescued or reported"),
)
OPTIONS = {option.name: option for option in _TABLE}


def of_loop() -> Iterator[Option]:
    """The options that are arguments and attributes of a loop."""
    return (option for option in _TABLE if option.is_of_loop)


def value_of(name: str) -> Any:
    """What the environment says of an option; None where it says nothing, and the option itself knows.

    Raises:
        ValueError: the variable makes no sense; it is named, with what it says and what it may say.
    """
    return OPTIONS[name].value()


def report() -> str:
    """The form of reports."""
    form: str = value_of("report")
    return form


def listen() -> str | None:
    """The addresses at which this process listens; None: it does not.

    What only says on is a socket of the default name.
    """
    text = os.environ.get(OPTIONS["listen"].variable, "").strip()
    if not text or text.lower() in OFF:
        return None
    if text.lower() not in ON:
        return text
    path = default_socket(os.getpid(), os.geteuid(), os.environ.get("XDG_RUNTIME_DIR"))
    if not os.environ.get("XDG_RUNTIME_DIR"):
        # Whose directory that is, and who may write to it, is looked at before a socket is made there.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    return path


def default_socket(process: int, user: int, runtime_directory: str | None) -> str:
    """The socket at which a process listens whose `EVERLOOP_LISTEN` only says on."""
    if runtime_directory:
        return os.path.join(runtime_directory, f"everloop-{process}.sock")
    return f"/tmp/everloop-{user}/{process}.sock"


def live_limit() -> float:
    """For how many seconds a loop may be blocked before `/live` says so."""
    seconds: float = value_of("live_limit")
    return seconds


def unknown() -> list[tuple[str, str | None]]:
    """The variables that begin as ours do and are none of ours, each with the one that was probably meant."""
    ours = {option.variable for option in _TABLE}
    names = [name for name in os.environ if name.startswith("EVERLOOP_") and name not in ours]
    if not names:
        return []
    import difflib

    return [(name, next(iter(difflib.get_close_matches(name, ours, 1, 0.85)), None)) for name in names]


def tell_misspelt() -> None:
    """Tells of variables that are none of ours, but look as if one of ours was meant. Others may be the program's."""
    for name, meant in unknown():
        if meant is not None:
            logger.warning("the environment variable %s has no effect: did you mean %s?", name, meant)
