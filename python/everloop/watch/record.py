"""What is known of a block, and the record of it: one dictionary, which can be written as JSON."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import cause as causes
from .advice import advice
from .source import Frame, Span, call_at, is_own, is_written, short

__all__ = ["BlockedStep", "LineShare", "SourceLine", "blamed", "record_of"]

VERSION = 1

# File, line, function, seconds; the span of what was at work there last.
type LineShare = tuple[str, int, str, float, Span | None]


@dataclass
class SourceLine:
    """A line of code that has blocked before."""

    count: int = 0
    quiet_until: float = 0.0
    suppressed: int = 0  # blocks since the last one that was told
    rescues_told: int = 0
    seconds: list[float] = field(default_factory=list)  # of the last hundred
    # What `worst_lines()` tells.
    function: str | None = None
    span: Span | None = None
    ended: int = 0
    total: float = 0.0
    longest: float = 0.0
    rescued: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, cause: str, rescued: bool) -> None:
        """A block at this line has ended."""
        self.seconds.append(seconds)
        del self.seconds[:-100]
        self.ended += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self.rescued += rescued
        self.causes[cause] += 1

    def p95(self) -> float | None:
        """The duration that nineteen in twenty of the last hundred blocks stayed under."""
        if len(self.seconds) < 2:
            return None
        return sorted(self.seconds)[int(0.95 * (len(self.seconds) - 1) + 0.5)]


@dataclass
class BlockedStep:
    """A step that has been reported as blocked: from the first note about it to the last."""

    number: int | None
    file: str | None
    line: int | None
    function: str | None
    span: Span | None
    kind: str | None
    task: str | None
    thread: str | None
    source_line: SourceLine
    loop: str | None = None
    stack: tuple[Frame, ...] = ()  # innermost first
    waiting: int = 0
    due: int = 0
    ready: int = 0
    relief: str | None = None
    rescued_after: float | None = None
    cause: dict[str, Any] = field(default_factory=lambda: dict(causes.UNKNOWN))
    lines: tuple[LineShare, ...] = ()
    told: bool = False  # natively, while the GIL was held
    logged: bool = False
    is_start: bool = False  # an import before the loop has begun its work
    level: int = logging.WARNING


def blamed(frame: Frame, stack: tuple[Frame, ...], cause: dict[str, Any], lines: tuple[LineShare, ...]) -> Frame:
    """The line that is to blame: that of the thread which holds the GIL, or the program's own line that took most.

    `frame` is what the watchdog names where neither the stack nor the shares say more.
    """
    if cause.get("kind") == "thread" and cause.get("file"):
        return cause["file"], cause.get("line") or 0, cause.get("function") or "", cause.get("span")
    now = _own_frame(stack) or frame
    if lines and (is_own(lines[0][0]) or not is_own(now[0])):
        file, line, function, most, span = lines[0]
        if (file, line) != now[:2] and most > _share_of(now[0], now[1], lines):
            return next((each for each in stack if each[:2] == (file, line)), (file, line, function, span))
    return now


def record_of(step: BlockedStep, state: str, seconds: float, is_logged: bool) -> dict[str, Any]:
    """The record of a block as it is now."""
    call = ""
    if step.file is not None and step.line:
        call = call_at(step.file, step.line, step.span)
    elif step.function:
        call = step.function
    frames = [
        {"file": file, "line": line, "function": function, "span": None if span is None else list(span)}
        for file, line, function, span in step.stack
    ]
    kind = step.cause.get("kind", "unknown")
    total = sum(share[3] for share in step.lines) or 1.0
    return {
        "version": VERSION,
        "state": state,
        "level": logging.getLevelName(step.level).lower(),
        "number": step.number,
        "pid": os.getpid(),
        "loop": step.loop,
        "thread": step.thread,
        "task": step.task,
        "kind": step.kind,
        "file": step.file,
        "line": step.line,
        "function": step.function,
        "call": call if step.file is not None else None,
        "span": None if step.span is None else list(step.span),
        "cause": causes.with_text(step.cause),
        "stack": frames,
        "lines": [
            {"file": file, "line": line, "function": function, "seconds": share, "share": round(share / total, 3)}
            for file, line, function, share, _ in step.lines
        ],
        "seconds": seconds,
        "waiting": step.waiting,
        "due": step.due,
        "ready": step.ready,
        "rescued": step.rescued_after is not None,
        "rescued_after": step.rescued_after,
        "relief": step.relief,
        "count": step.source_line.count,
        "p95": step.source_line.p95(),
        "suppressed": step.source_line.suppressed,
        "advice": advice(call, _files_inside(step), kind),
        "told": step.told,
        "logged": is_logged,
    }


def _own_frame(stack: tuple[Frame, ...]) -> Frame | None:
    """The innermost frame of the program's own code; else of code without a file that no library made; else of any."""
    for frame in stack:
        if is_own(frame[0]):
            return frame
    for frame in stack:
        if not is_written(frame[0]) and not frame[0].startswith("<frozen "):
            return frame
    return stack[0] if stack else None


def _share_of(file: str, line: int, lines: Iterable[LineShare]) -> float:
    return sum(share[3] for share in lines if (share[0], share[1]) == (file, line))


def _files_inside(step: BlockedStep) -> list[str]:
    """The files of the frames inside the blamed line, nearest first."""
    files = []
    for file, line, _, _ in step.stack:
        if (file, line) == (step.file, step.line):
            break
        files.append(short(file))
    return files[::-1]
