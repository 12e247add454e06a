"""The environment variables of everloop: what each of them switches."""

import os
from typing import Literal

__all__ = ["REPORTS", "is_on", "report", "rescue"]

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
