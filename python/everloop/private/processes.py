"""The data that a process of multiprocessing hands to those that it starts."""

import multiprocessing
from typing import Any

from .names import Name

__all__ = ["hand_to_children"]

CONFIG = Name(
    "multiprocessing.process.BaseProcess._config",
    "what a process hands to those it starts, and they to theirs",
    "processes that a program spawns run on asyncio's own loop",
)


def hand_to_children(name: str, value: Any) -> None:
    """Processes that are started from now on have it, by whatever method: unpickled before they begin."""
    config = CONFIG.of(multiprocessing.current_process())
    if config is not None:
        config[name] = value
