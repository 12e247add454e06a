"""The report: tells what blocked the loop, where, for how long, who waited, and what to do about it.

The native watchdog leaves notes (`watchdog/notes.rs`, `outbox.rs`); which reports are open is decided in the core
(`watchdog/open_reports.rs`). The `ReportWriter` writes the notes, on a thread of its own, since a handler of the log
may take long. A step that blocks is told of once that has lasted for `slow_callback_duration`, and again when it has
ended. Blocks at one line are counted, and told of at most once in `QUIET_SECONDS`.
"""

import linecache
import logging
import os
import sysconfig
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Any

from .. import _native, real_threads
from ..log import logger
from .advice import advice

# A line that has just been reported is only counted for so long.
QUIET_SECONDS = 10.0
# The most lines, and the most steps that block, that are remembered; the oldest is forgotten first.
MOST_REMEMBERED = 1000

_LIBRARY = tuple(
    os.path.join(path, "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
)
# The beginnings of the names of files that are not the program's own: a report names the line that called into them.
FOREIGN = [*_LIBRARY, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ""), "<frozen "]


@dataclass
class SourceLine:
    """A line of code that has blocked before."""

    count: int = 0
    quiet_until: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def p95(self) -> float | None:
        """The duration that nineteen in twenty of the last hundred blocks stayed under."""
        if len(self.seconds) < 2:
            return None
        return sorted(self.seconds)[int(0.95 * (len(self.seconds) - 1) + 0.5)]


@dataclass
class BlockedStep:
    """A step that has been reported as blocked: from the first note about it to the last."""

    file: str
    line: int
    function: str
    call: str
    columns: tuple[int, int] | None
    kind: str
    task: str
    waiting: int
    inner: str
    thread: str
    relief: str | None
    rescued_after: float | None
    source_line: SourceLine
    told: bool = False


class ReportWriter:
    """Makes the texts, and counts. Each public method writes one kind of note, on the thread that writes."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], SourceLine] = {}
        self._blocked: dict[int, BlockedStep] = {}

    # ---- the thread that writes

    def start_thread(self) -> None:
        """Starts the thread that writes the notes."""
        real_threads.new_thread(self.write_all, name="everloop-report").start()

    def write_all(self, wait: bool = True) -> None:
        """Writes the notes that are there, and with `wait` those that come, until none have come for a moment."""
        while True:
            note = None
            try:
                if (note := _native.next_note(wait)) is None:
                    return
                write, details = note
                write(**details)
            except BaseException as error:  # of a filter or a handler: the next note may fare better
                raised = type(error), error, error.__traceback__, threading.current_thread()
                threading.excepthook(threading.ExceptHookArgs(raised))
                del error, raised

    # ---- blocks

    def blocked(
        self,
        *,
        number: int,
        seconds: float,
        file: str,
        line: int,
        function: str,
        columns: tuple[int, int] | None,
        inside: tuple[str, int, str] | None,
        kind: str,
        task: str,
        waiting: int,
        rescued_after: float | None,
        relief: str | None,
        thread: str,
    ) -> None:
        """A step has blocked for `seconds`, and still does."""
        source_line = self._line(file, line)
        source_line.count += 1
        step = BlockedStep(
            file=file,
            line=line,
            function=function,
            call=_call_name(file, line, columns) if line else function,
            columns=columns,
            kind=kind,
            task=task,
            waiting=waiting,
            inner=_inside(inside) if inside is not None else "",
            thread=thread,
            relief=relief,
            rescued_after=rescued_after,
            source_line=source_line,
        )
        if len(self._blocked) >= MOST_REMEMBERED:
            del self._blocked[next(iter(self._blocked))]
        self._blocked[number] = step
        now = time.monotonic()
        if now >= source_line.quiet_until:
            source_line.quiet_until = now + QUIET_SECONDS
            step.told = True
            self._log(step, seconds, ended=False)

    def rescued(self, *, number: int, seconds: float) -> None:
        """The step blocks on, but since `seconds` after it began it holds nobody up."""
        if (step := self._blocked.get(number)) is not None:
            step.rescued_after = seconds

    def ended(self, *, number: int, seconds: float) -> None:
        """The step goes on, after `seconds`."""
        if (step := self._blocked.pop(number, None)) is None:
            return
        step.source_line.seconds.append(seconds)
        del step.source_line.seconds[:-100]
        if step.told:
            self._log(step, seconds, ended=True)

    def unseen(self, *, seconds: float) -> None:
        """A step blocked for `seconds`, but the GIL came free only with its end."""
        source_line = self._line("<unseen>", 0)
        source_line.count += 1
        now = time.monotonic()
        if now < source_line.quiet_until:
            return
        source_line.quiet_until = now + QUIET_SECONDS
        self._emit(
            f"warning[blocked]: the event loop was blocked for {_milliseconds(seconds)} by code that held the GIL\n"
            "   = help: its line could not be seen; run long C calls that hold the GIL in a process pool",
            {"state": "ended", "seconds": seconds, "file": None, "line": None, "function": None, "call": None,
             "task": None, "waiting": 0, "rescued": False, "rescued_after": None, "count": source_line.count},
        )  # fmt: skip

    def holds_end(self, *, loop: "weakref.ref[Any]", seconds: float, inside: object, **details: Any) -> None:
        """The loop is to stop, and has waited for `seconds` for a step to come back."""
        if (target := loop()) is None:
            return
        file, line, function, columns = (details[name] for name in ("file", "line", "function", "columns"))
        call = _call_name(file, line, columns) if line else function
        step = BlockedStep(**details, call=call, inner="", rescued_after=None, source_line=SourceLine())
        lines = [
            f"{target!r} is to stop, and has waited for {_milliseconds(seconds)} for a step that is blocked by {call}"
        ]
        lines += _snippet(**vars(step))
        lines.append("   = help: it stops once that call returns: give the call a time-out, or end what it waits for")
        logger.warning("%s", "\n".join(lines))

    def deadlock(self, *, steps: list[dict[str, Any]], count: int, raised: bool) -> None:
        """So many steps are blocked for ever, as they wait for each other; those that are given, at least."""
        who = f"{count} steps are" if count > 1 else "a step is"
        lines = [f"error[deadlock]: {who} blocked for ever: no thread is left that could end that"]
        for step in steps:
            lines += _snippet(**step)
            if step["inside"] is not None:
                lines.append(f"   = inside: {_inside(step['inside'])}")
        if count > len(steps):
            lines.append(f"   = and {count - len(steps)} more")
        lines.append(
            "   = rescue: the first one gets everloop.DeadlockError"
            if raised
            else "   = rescue: none: only a step that blocks the main thread could get everloop.DeadlockError"
        )
        lines.append(
            "   = help: hold no `threading.Lock` over an `await` that needs another one: use `asyncio.Lock`, or take "
            "them in one order"
        )
        keys = ("file", "line", "function", "task")
        told = [{key: step[key] for key in keys} for step in steps]
        record = {"state": "deadlock", "steps": told, "count": count, "raised": raised}
        self._emit("\n".join(lines), record, logging.ERROR)

    # ---- rescue, and the watchdog itself

    def no_relief(self, *, loop: "weakref.ref[Any]", limit: int) -> None:
        """Everybody is blocked who could go on with the loop: threads are started slowly from here on."""
        if (target := loop()) is not None:
            logger.warning(
                "all %d relief threads of %r are blocked: each further one is started only once nothing has run for a "
                "while. Raise max_relief_threads, or let fewer calls block at once. loop.statistics() tells how many "
                "threads are in use (relief_threads_in_use, most_relief_threads) and for how long the loop stood still "
                "for want of one (standstill_seconds, longest_standstill)",
                limit,
                target,
            )

    def no_thread(self, *, loop: "weakref.ref[Any]", error: str) -> None:
        """The system refuses another thread."""
        if (target := loop()) is not None:
            logger.warning(
                "no thread could be started to go on with %r while a step is blocked (%s): the loop waits until a "
                "call returns, or a thread is to be had. Let the process have more threads, or let fewer calls block "
                "at once",
                target,
                error,
            )

    def unwatched(self, *, loop: "weakref.ref[Any]", error: str) -> None:
        """The system refuses the watchdog's thread."""
        if (target := loop()) is not None:
            logger.warning(
                "no thread could be started to watch %r (%s): steps that block are neither rescued nor reported. Let "
                "the process have more threads",
                target,
                error,
            )

    def no_tool(self, *, number: int) -> None:
        """Somebody has freed the tool id by which steps that were put aside are stopped."""
        logger.warning(
            "rescue is off from here on: somebody has freed the tool id %d of sys.monitoring, which was everloop's. "
            "Steps that were put aside by then ran on beside others. Have each tool free its own id only",
            number,
        )

    def failed(self, *, error: BaseException) -> None:
        """The watchdog could not do something."""
        logger.error("the watchdog of event loops failed, and goes on; please report this to everloop", exc_info=error)

    def lost(self, *, count: int) -> None:
        """Notes were left out."""
        logger.warning("%d reports were left out: the handlers of the log are too slow, or stuck", count)

    def _line(self, file: str, line: int) -> SourceLine:
        source_line = self._lines.get((file, line))
        if source_line is None:
            if len(self._lines) >= MOST_REMEMBERED:
                del self._lines[next(iter(self._lines))]
            source_line = self._lines[file, line] = SourceLine()
        return source_line

    def _log(self, step: BlockedStep, seconds: float, *, ended: bool) -> None:
        record = {
            "state": "ended" if ended else "blocked",
            "seconds": seconds,
            "file": step.file,
            "line": step.line,
            "function": step.function,
            "call": step.call,
            "task": step.task,
            "waiting": step.waiting,
            "rescued": step.rescued_after is not None,
            "rescued_after": step.rescued_after,
            "count": step.source_line.count,
        }
        self._emit(_text(step, seconds, ended), record)

    def _emit(self, text: str, details: dict[str, Any], level: int = logging.WARNING) -> None:
        logger.log(level, "%s", text, extra={"everloop": details})


def _text(step: BlockedStep, seconds: float, ended: bool) -> str:
    by = f" by {step.call}" if step.call else ""
    if ended:
        head = f"the event loop was blocked for {_milliseconds(seconds)}{by}"
        if step.rescued_after is not None:
            head = f"a step was blocked for {_milliseconds(seconds)}{by}; the loop {_rescued(step)}"
    else:
        head = f"the event loop has been blocked for {_milliseconds(seconds)} (still blocked){by}"
        if step.rescued_after is not None:
            head = (
                f"a step has been blocked for {_milliseconds(seconds)} (still blocked){by}; the loop {_rescued(step)}"
            )
    lines = [f"warning[blocked]: {head}"]
    lines += _snippet(**vars(step))
    if step.inner:
        lines.append(f"   = inside: {step.inner}")
    lines.append(f"   = impact: {_impact(step)}")
    if step.rescued_after is not None:
        if not ended:
            lines.append(f"   = rescue: other tasks run on {step.relief or 'another thread'}")
    else:
        lines.append(
            "   = rescue: off or not possible; everything else waited"
            if ended
            else "   = rescue: none, everything else waits"
        )
    lines.append(f"   = help: {advice(step.call, step.inner)}")
    return "\n".join(lines)


def _rescued(step: BlockedStep) -> str:
    assert step.rescued_after is not None
    if step.rescued_after == 0:
        return "was handed off at once"
    return f"was rescued after {_milliseconds(step.rescued_after)}"


def _impact(step: BlockedStep) -> str:
    waiting = step.waiting
    text = f"{waiting} callback{'s' if waiting != 1 else ''} waiting"
    if step.source_line.count > 1:
        text += f"; seen {step.source_line.count} times"
        if (p95 := step.source_line.p95()) is not None:
            text += f", p95 {_milliseconds(p95)}"
    return text


def _snippet(
    file: str, line: int, function: str, columns: tuple[int, int] | None, kind: str, task: str, **_: Any
) -> list[str]:
    where = f"  --> {_short(file)}:{line} in {function}"
    head = f'{where:<50}  {kind} "{task}"'
    source = linecache.getline(file, line).rstrip()
    if not source.strip():
        return [head]
    number = str(line)
    blank = " " * (len(number) + 1)
    lines = [head, f"{blank}|", f"{number} | {source}"]
    if columns is not None:
        start, end = columns
        lines.append(f"{blank}| {' ' * start}{'^' * max(end - start, 1)}")
    return lines


def _inside(place: tuple[str, int, str]) -> str:
    file, line, function = place
    return f"{_short(file)}:{line} in {function}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _short(file: str) -> str:
    """The file as the reader knows it: relative to where the program runs, or from the library's folder on."""
    for folder in sorted((*_LIBRARY, os.path.join(os.getcwd(), "")), key=len, reverse=True):
        if file.startswith(folder):
            return file[len(folder) :]
    return file


def _call_name(file: str, line: int, columns: tuple[int, int] | None) -> str:
    """The call that is made there, as the source spells it."""
    source = linecache.getline(file, line).rstrip()
    if columns is not None:
        # Columns count bytes.
        source = source.encode()[columns[0] : columns[1]].decode(errors="replace")
    return source.strip().partition("(")[0].strip()
