"""The environment variables of everloop: what each of them switches."""

import contextlib
import math
import os
from typing import Literal

__all__ = ["REPORTS", "default_socket", "is_on", "listen", "live_limit", "report", "rescue"]

ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")
REPORTS = ("off", "text", "json")  # as `_native.set_report_mode` counts them


def is_on(name: str, unset: bool) -> bool:
    """The value of an environment variable that is on or off; `unset` if it is not set, or empty.

    Raises:
        ValueError: it says something else than on or off.
    """
    return _is_on(name, unset, "")


def rescue() -> "bool | Literal['all']":
    """The value of `EVERLOOP_RESCUE`, off if it is not set.

    Raises:
        ValueError: it says something else than on, off or `all`.
    """
    if os.environ.get("EVERLOOP_RESCUE", "").strip().lower() == "all":
        return "all"
    return _is_on("EVERLOOP_RESCUE", False, ", or all to divide steps that compute as well")


def report() -> str:
    """The value of `EVERLOOP_REPORT`, the form of reports; text if it is not set.

    Raises:
        ValueError: it is no such form.
    """
    value = os.environ.get("EVERLOOP_REPORT", "")
    word = value.strip().lower() or "text"
    if word not in REPORTS:
        raise ValueError(
            f"the environment variable EVERLOOP_REPORT is {value!r}: give it one of {', '.join(REPORTS)}, the form in "
            "which blocks are reported"
        )
    return word


def listen() -> str | None:
    """The value of `EVERLOOP_LISTEN`: the addresses at which this process listens; None: it does not.

    What only says on is a socket of the default name.
    """
    text = os.environ.get("EVERLOOP_LISTEN", "").strip()
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
    """The value of `EVERLOOP_LIVE_LIMIT`: for how many seconds a loop may be blocked before `/live` says so; 10.

    Raises:
        ValueError: it is no such number.
    """
    text = os.environ.get("EVERLOOP_LIVE_LIMIT", "").strip()
    try:
        seconds = float(text or 10.0)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise ValueError(
            f"the environment variable EVERLOOP_LIVE_LIMIT is {text!r}: give it a number of seconds, such as 10"
        )
    return seconds


def _is_on(name: str, unset: bool, more: str) -> bool:
    value = os.environ.get(name, "")
    word = value.strip().lower()
    if word in ON or word in OFF:
        return word in ON
    if word:
        raise ValueError(
            f"the environment variable {name} is {value!r}: give it one of {', '.join(ON)} to switch that on, "
            f"or one of {', '.join(OFF)} to switch it off{more}"
        )
    return unset
