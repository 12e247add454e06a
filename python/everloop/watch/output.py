"""Where reports are written to: the logger `everloop`, as text or as JSON, or not at all.

Handlers and formatters are the program's own, so the message of a log record has neither colours nor links. Only where
a program has set up no logging at all, and `logging` itself would write the bare message to the standard error, is that
done here, painted if it is a terminal.
"""

import logging
import os
from typing import Any, Literal

from .. import _native, environment
from ..log import logger
from .painting import painted, paints
from .record import VERSION

__all__ = ["is_wanted", "set_report", "switch_form", "tell", "write"]


def switch_form() -> None:
    """Has the log get reports in the form that the option `report` says."""
    _native.set_report_mode(environment.REPORTS.index(environment.report()))


switch_form()


def set_report(form: Literal["off", "text", "json"]) -> None:
    """Says in which form blocks are reported from here on, as `EVERLOOP_REPORT` does.

    Args:
        form: "text", for people; "json", one line for each; "off": the log gets no blocks. What was registered with
            `everloop.on_block`, and `everloop.no_blocking`, learn of them all the same.

    Raises:
        ValueError: it is none of these.

    The trap: "off" leaves what everloop has to say of itself, and errors such as a deadlock; for silence set the level
    of the logger `everloop`.

    Example:
        >>> import everloop
        >>> everloop.set_report("json")
        >>> everloop.set_report("text")
    """
    if form not in environment.REPORTS:
        raise ValueError(f"set_report takes one of {', '.join(environment.REPORTS)}, not {form!r}")
    _native.set_report_mode(environment.REPORTS.index(form))


def is_wanted(level: int) -> bool:
    """True if the log takes blocks of this level."""
    return _form() != "off" and logger.isEnabledFor(level)


def write(level: int, text: str, record: dict[str, Any] | None = None) -> None:
    """Writes a message, with its record if it has one."""
    if not logger.isEnabledFor(level):
        return
    message = text
    if _form() == "json":
        told = record or {"version": VERSION, "state": "message", "level": logging.getLevelName(level).lower(),
                          "pid": os.getpid(), "text": text}  # fmt: skip
        import json  # not with everloop itself: that starts sooner

        message = json.dumps(told, default=repr)
    extra = None if record is None else {"everloop": record}
    last = logging.lastResort
    if logger.hasHandlers() or last is None or level < last.level or _form() == "json" or not paints():
        logger.log(level, "%s", message, extra=extra)
    elif logger.filter(log_record := logger.makeRecord(logger.name, level, __file__, 0, "%s", (painted(text),), None)):
        last.handle(log_record)


def tell(level: int, text: str) -> None:
    """Writes a message that is part of the report: not where none is wanted."""
    if is_wanted(level):
        write(level, text)


def _form() -> str:
    return environment.REPORTS[_native.report_mode()]
