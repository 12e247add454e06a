"""`worst_lines()`: the lines that blocked longest, in a list or as a table."""

import atexit
import os
import sys
from typing import Any, TextIO

from .. import _native, environment
from .record import VERSION
from .report_writer import ReportWriter
from .source import call_at
from .text import place

__all__ = ["print_worst_lines", "read_from", "switch_at_exit", "worst_lines"]

_HEADS = ("seconds", "times", "p95 ms", "cause", "line")

_writer: ReportWriter | None = None


def read_from(writer: ReportWriter) -> None:
    """Says who counts the lines."""
    global _writer
    _writer = writer


def worst_lines(count: int = 10) -> list[dict[str, Any]]:
    """The lines of this process at which steps have blocked longest in all, the worst first.

    Args:
        count: How many, at most.

    Returns:
        For each line its `file`, `line`, `function` and `call`, the kind of its most frequent `cause`, the `seconds` in
        all, how many `times` it blocked, how many of these were `rescued`, and `p95` and `longest`, in seconds. It can
        be written as JSON.

    The trap: what blocks at this moment is added once it has ended. Blocks that are too short to be reported are not
    counted, nor is what nobody is to blame for.

    Example:
        >>> import time, everloop
        >>> async def main():
        ...     time.sleep(0.2)
        >>> everloop.run(main())
        >>> "time.sleep" in [line["call"] for line in everloop.worst_lines(1000)]
        True
    """
    if _writer is None:
        return []
    found = sorted(_writer.lines(), key=lambda entry: entry[2].total, reverse=True)[:count]
    return [
        {
            "file": file,
            "line": line,
            "function": source.function,
            "call": call_at(file, line, source.span) if file is not None else None,
            "cause": max(source.causes, key=lambda kind: source.causes[kind], default="unknown"),
            "seconds": source.total,
            "times": source.ended,
            "rescued": source.rescued,
            "p95": source.p95() or source.longest,
            "longest": source.longest,
        }
        for file, line, source in found
    ]


def print_worst_lines(count: int = 10, file: TextIO | None = None) -> None:
    """Prints `everloop.worst_lines()` as a table; as one line of JSON if that is the form of reports.

    Args:
        count: How many lines, at most.
        file: Where to; None: the standard error.

    The environment variable `EVERLOOP_REPORT_AT_EXIT=1` has it done when the program ends.

    Example:
        >>> import io, everloop
        >>> table = io.StringIO()
        >>> everloop.print_worst_lines(file=table)
        >>> table.getvalue().startswith("everloop: ")
        True
    """
    lines = worst_lines(count)
    if environment.REPORTS[_native.report_mode()] == "json":
        import json  # not with everloop itself: that starts sooner

        text = json.dumps({"version": VERSION, "state": "worst", "pid": os.getpid(), "lines": lines}, default=repr)
    else:
        text = "\n".join(_table(lines))
    print(text, file=sys.stderr if file is None else file)


def _table(lines: list[dict[str, Any]]) -> list[str]:
    if not lines:
        return [f"everloop: no step has blocked (pid {os.getpid()})"]
    many = f"{len(lines)} lines that blocked" if len(lines) > 1 else "line that blocked"
    rows = [
        (
            f"{line['seconds']:.2f}",
            str(line["times"]),
            f"{line['p95'] * 1000:.0f}",
            line["cause"],
            _where(line),
        )
        for line in lines
    ]
    widths = [max(len(row[column]) for row in (_HEADS, *rows)) for column in range(len(_HEADS) - 1)]
    table = []
    for row in (_HEADS, *rows):
        numbers = [text.rjust(width) for text, width in zip(row[:3], widths[:3], strict=True)]
        table.append("  ".join(("", *numbers, row[3].ljust(widths[3]), row[4])))
    return [f"everloop: the {many} longest (pid {os.getpid()})", *table]


def _where(line: dict[str, Any]) -> str:
    if line["file"] is None:
        return "(code that held the GIL, and could not be seen)"
    return place(line["file"], line["line"], line["function"]) + (f": {line['call']}" if line["call"] else "")


def _at_exit() -> None:
    _native.write_notes()  # of loops that were not closed
    print_worst_lines()


def switch_at_exit() -> None:
    """Has them printed when the program ends, if the option `report_at_exit` says so."""
    atexit.unregister(_at_exit)
    if environment.value_of("report_at_exit"):
        atexit.register(_at_exit)


switch_at_exit()
