"""The environment variables of everloop, each of which switches something on or off."""

import os
from typing import Literal

__all__ = ["is_on", "rescue"]

ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")


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
