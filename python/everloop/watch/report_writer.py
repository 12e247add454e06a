"""The report: tells what blocked the loop, where, why, for how long, who waited, and what to do about it.

The native watchdog leaves notes (`watchdog/notes.rs`, `outbox.rs`); which reports are open is decided in the core
(`watchdog/open_reports.rs`). The `ReportWriter` writes the notes, on a thread of its own, since a handler of the log
may take long. A step that blocks is told of once that has lasted for `slow_callback_duration`, again after 1, 10 and 60
seconds, and when it has ended.

Each of these is a record (`record.py`), which the functions of `on_block` are given. What of that is written to the log
is decided here: blocks at one line at most once in `QUIET_SECONDS`; those that were rescued before anybody noticed once
for each line; those that no code is to blame for, and imports before the loop has begun its work, only for who asks for
debug messages. What is not written is counted.
"""

import asyncio
import logging
import os
import threading
import time
import weakref
from typing import Any

from .. import _native, real_threads
from ..log import logger
from . import cause as causes
from . import hook, output
from .record import VERSION, BlockedStep, LineShare, SourceLine, blamed, record_of
from .source import Frame, Span, call_at
from .text import milliseconds, place, seen_at, text_of

# A line that has just been reported is only counted for so long.
QUIET_SECONDS = 10.0
# The most lines, and the most steps that block, that are remembered; the oldest is forgotten first.
MOST_REMEMBERED = 1000
# A block that was rescued sooner has cost nobody anything.
UNNOTICED_SECONDS = 0.1
# A line that took less of a block is not counted, in seconds.
LEAST_SHARE = 0.01
# Stands for the file of a line that could not be seen.
UNSEEN = "<unseen>"
# A loop that is in this step is still about to start.
STEP_OF_A_START = 1


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
        kind: str | None,
        task: str | None,
        waiting: int,
        rescued_after: float | None,
        relief: str | None,
        thread: str | int,
        span: Span | None = None,
        stack: tuple[Frame, ...] = (),
        cause: dict[str, Any] | None = None,
        lines: tuple[LineShare, ...] = (),
        due: int = 0,
        ready: int = 0,
        loop: "weakref.ref[Any] | None" = None,
        told: bool = False,
        title: str | None = None,
    ) -> None:
        """A step has blocked for `seconds`, and still does. `title`: the kernel's name of a thread."""
        frame = (file, line, function, span if span is not None else _on_line(line, columns))
        if not stack and line:
            stack = (frame,) if inside is None else ((*inside, None), frame)
        target = loop() if loop is not None else None
        step = BlockedStep(
            number=number,
            file=file,
            line=line,
            function=function,
            span=frame[3],
            kind=kind,
            task=task,
            thread=causes.thread_name(thread, title),
            source_line=SourceLine(),
            loop=None if target is None else asyncio.BaseEventLoop.__repr__(target),  # asks no subclass
            stack=tuple(stack),
            waiting=waiting,
            due=due,
            ready=ready,
            relief=relief,
            rescued_after=rescued_after,
            told=told,
        )
        step.is_start = target is not None and _is_start(step, cause, target)
        del target
        if cause is not None:
            cause = causes.with_name(cause, {}, title)
        self._judge(step, frame, cause, lines)
        if len(self._blocked) >= MOST_REMEMBERED:
            del self._blocked[next(iter(self._blocked))]
        self._blocked[number] = step
        step.logged = self._is_to_be_logged(step)
        self._tell(step, "blocked", seconds, step.logged)

    def named(self, *, number: int, kind: str, task: str, waiting: int, due: int, ready: int) -> None:
        """Whose step it is, and what waits, of one that was told of while nobody could say that."""
        if (step := self._blocked.get(number)) is not None:
            step.kind, step.task = kind, task
            step.waiting, step.due, step.ready = waiting, due, ready

    def lasts(
        self,
        *,
        number: int,
        seconds: float,
        cause: dict[str, Any] | None = None,
        lines: tuple[LineShare, ...] = (),
        waiting: int | None = None,
        due: int | None = None,
        ready: int | None = None,
        told: bool = False,
    ) -> None:
        """The step has blocked for `seconds` by now, and still does. What waits is unknown while the GIL is held."""
        if (step := self._blocked.get(number)) is None:
            return
        if waiting is not None:
            step.waiting, step.due, step.ready = waiting, due or 0, ready or 0
        step.told |= told
        self._judge(step, None, cause, lines)
        # Whatever has been told of that line; but what holds nobody up is told of once for it.
        step.logged |= seconds >= QUIET_SECONDS and not _is_free(step)
        self._tell(step, "lasts", seconds, step.logged)

    def rescued(self, *, number: int, seconds: float) -> None:
        """The step blocks on, but since `seconds` after it began it holds nobody up."""
        if (step := self._blocked.get(number)) is not None:
            step.rescued_after = seconds

    def ended(
        self,
        *,
        number: int,
        seconds: float,
        cause: dict[str, Any] | None = None,
        lines: tuple[LineShare, ...] = (),
        told: bool = False,
    ) -> None:
        """The step goes on, after `seconds`."""
        if (step := self._blocked.pop(number, None)) is None:
            return
        step.told |= told
        self._judge(step, None, cause, lines)
        self._count(step, seconds)
        self._tell(step, "ended", seconds, step.logged)

    def unseen(self, *, seconds: float, cause: dict[str, Any] | None = None, told: bool = False) -> None:
        """A step blocked for `seconds`, but the GIL came free only with its end."""
        cause = cause or {"kind": "gil"}
        step = BlockedStep(
            number=None,
            file=None,
            line=None,
            function=None,
            span=None,
            kind=None,
            task=None,
            thread=None,
            source_line=SourceLine(),
            told=told,
        )
        self._judge(step, None, cause, ())
        step.logged = self._is_to_be_logged(step)
        self._count(step, seconds)
        self._tell(step, "ended", seconds, step.logged)

    def _judge(
        self, step: BlockedStep, frame: Frame | None, cause: dict[str, Any] | None, lines: tuple[LineShare, ...]
    ) -> None:
        """Takes what is known of the cause and the lines of a block by now, and says which line is to blame."""
        if cause is not None:
            step.cause = causes.with_name(cause, step.cause)
        if lines:
            step.lines = tuple(lines)
        is_new = frame is not None or step.file is None
        if step.file is not None or step.cause.get("file"):
            at = frame or (step.file or "", step.line or 0, step.function or "", step.span)
            found = blamed(at, step.stack, step.cause, step.lines)
            is_new = is_new or found[:2] != (step.file, step.line)
            step.file, step.line, step.span = found[0], found[1], found[3]
            step.function = found[2].rpartition(".")[2]
        if step.cause.get("kind") == "thread" and not step.cause.get("file"):
            step.file = step.line = step.function = step.span = None  # no one line is to blame, nor is this step's
        is_innocent = step.is_start or step.cause.get("kind") in causes.BLAMES_NOBODY
        step.level = logging.DEBUG if is_innocent else logging.WARNING
        if is_new:
            step.source_line = self._line(step.file or UNSEEN, step.line or 0)
            step.source_line.count += 1

    def _count(self, step: BlockedStep, seconds: float) -> None:
        """Adds a block that has ended to the lines at which it was."""
        if step.level != logging.WARNING:
            return  # nobody is to blame
        kind, rescued = step.cause.get("kind", "unknown"), step.rescued_after is not None
        shares = {(file, line): (function, share) for file, line, function, share, _ in step.lines}
        _, own = shares.pop((step.file or "", step.line or 0), (None, seconds))
        step.source_line.function, step.source_line.span = step.function, step.span
        step.source_line.add(own, kind, rescued)
        # For who looks in from outside.
        _native.note_blocked_line(step.file or UNSEEN, step.line or 0, step.function or "", kind, own, True)
        for (file, line), (function, share) in shares.items():
            if share >= LEAST_SHARE:
                other = self._line(file, line)
                other.function = function
                other.add(share, kind, rescued)
                _native.note_blocked_line(file, line, function, kind, share, True)

    def lines(self) -> list[tuple[str | None, int, SourceLine]]:
        """The lines at which blocks have ended. May be called on any thread."""
        return [
            (None if file == UNSEEN else file, line, source_line)
            for (file, line), source_line in list(self._lines.items())
            if source_line.ended
        ]

    def _is_to_be_logged(self, step: BlockedStep) -> bool:
        """True if a block is to be told; otherwise it is counted."""
        source_line, now = step.source_line, time.monotonic()
        is_free = _is_free(step)
        if now < source_line.quiet_until or (is_free and source_line.rescues_told):
            source_line.suppressed += 1
            return False
        source_line.quiet_until = now + QUIET_SECONDS
        source_line.rescues_told += is_free
        return True

    def _tell(self, step: BlockedStep, state: str, seconds: float, is_logged: bool) -> None:
        """Gives the record to those who asked for it, and to the log."""
        is_logged = is_logged and output.is_wanted(step.level)
        if not (is_logged or hook.is_wanted()):
            return
        record = record_of(step, state, seconds, is_logged)
        record["text"] = text_of(record)
        if is_logged:
            step.source_line.suppressed = 0
            output.write(step.level, record["text"], record)
        hook.call_all(record)

    def holds_end(self, *, loop: "weakref.ref[Any]", seconds: float, inside: object, **details: Any) -> None:
        """The loop is to stop, and has waited for `seconds` for a step to come back."""
        if (target := loop()) is None:
            return
        file, line, function, columns = (details[name] for name in ("file", "line", "function", "columns"))
        span = details.get("span") or _on_line(line, columns)
        call = call_at(file, line, span) if line else function
        by = f" by {call}" if call else ""
        lines = [
            f"{target!r} is to stop, and has waited for {milliseconds(seconds)} for a step that is blocked{by}",
            *seen_at(file, line, function, span, details["kind"], details["task"]),
            "   = help: it stops once that call returns: give the call a time-out, or end what it waits for",
        ]
        output.write(logging.WARNING, "\n".join(lines))

    def deadlock(self, *, steps: list[dict[str, Any]], count: int, raised: bool) -> None:
        """So many steps are blocked for ever, as they wait for each other; those that are given, at least."""
        who = f"{count} steps are" if count > 1 else "a step is"
        lines = [f"error[deadlock]: {who} blocked for ever: no thread is left that could end that"]
        for step in steps:
            file, line, function, columns = (step[name] for name in ("file", "line", "function", "columns"))
            span = step.get("span") or _on_line(line, columns)
            lines += seen_at(file, line, function, span, step["kind"], step["task"])
            if step["inside"] is not None:
                lines.append(f"   = inside: {place(*step['inside'])}")
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
        text = "\n".join(lines)
        record = {"version": VERSION, "state": "deadlock", "level": "error", "pid": os.getpid(), "steps": told,
                  "count": count, "raised": raised, "logged": True, "text": text}  # fmt: skip
        output.write(logging.ERROR, text, record)
        hook.call_all(record)

    # ---- rescue, and the watchdog itself

    def no_relief(self, *, loop: "weakref.ref[Any]", limit: int) -> None:
        """Everybody is blocked who could go on with the loop: threads are started slowly from here on."""
        if (target := loop()) is not None:
            _warn(
                f"all {limit} relief threads of {target!r} are blocked: each further one is started only once nothing "
                "has run for a while. Raise max_relief_threads, or let fewer calls block at once. loop.statistics() "
                "tells how many threads are in use (relief_threads_in_use, most_relief_threads) and for how long the "
                "loop stood still for want of one (standstill_seconds, longest_standstill)"
            )

    def no_thread(self, *, loop: "weakref.ref[Any]", error: str) -> None:
        """The system refuses another thread."""
        if (target := loop()) is not None:
            _warn(
                f"no thread could be started to go on with {target!r} while a step is blocked ({error}): the loop "
                "waits until a call returns, or a thread is to be had. Let the process have more threads, or let fewer "
                "calls block at once"
            )

    def unwatched(self, *, loop: "weakref.ref[Any]", error: str) -> None:
        """The system refuses the watchdog's thread."""
        if (target := loop()) is not None:
            _warn(
                f"no thread could be started to watch {target!r} ({error}): steps that block are neither rescued nor "
                "reported. Let the process have more threads"
            )

    def blind(self, *, reason: str) -> None:
        """The interpreter's memory cannot be read."""
        _warn(
            f"stacks cannot be read without the GIL ({reason}): a step that blocks while C code holds the GIL is told "
            "of only when that is over, and without a line"
        )

    def no_tool(self, *, number: int) -> None:
        """Somebody has freed the tool id by which steps that were put aside are stopped."""
        _warn(
            f"rescue is off from here on: somebody has freed the tool id {number} of sys.monitoring, which was "
            "everloop's. Steps that were put aside by then ran on beside others. Have each tool free its own id only"
        )

    def failed(self, *, error: BaseException) -> None:
        """The watchdog could not do something."""
        logger.error("the watchdog of event loops failed, and goes on; please report this to everloop", exc_info=error)

    def lost(self, *, count: int) -> None:
        """Notes were left out."""
        _warn(f"{count} reports were left out: the handlers of the log are too slow, or stuck")

    def _line(self, file: str, line: int) -> SourceLine:
        source_line = self._lines.get((file, line))
        if source_line is None:
            if len(self._lines) >= MOST_REMEMBERED:
                del self._lines[next(iter(self._lines))]
            source_line = self._lines[file, line] = SourceLine()
        return source_line


def _warn(text: str) -> None:
    output.write(logging.WARNING, text)


def _on_line(line: int, columns: tuple[int, int] | None) -> Span | None:
    return None if columns is None else (line, line, *columns)


def _is_free(step: BlockedStep) -> bool:
    """True if the step was rescued before anybody noticed."""
    return step.rescued_after is not None and step.rescued_after < UNNOTICED_SECONDS


def _is_start(step: BlockedStep, cause: dict[str, Any] | None, loop: Any) -> bool:
    """True if a module is imported in a loop's first step, and nobody waits: a program sets itself up."""
    imports = (cause or {}).get("kind") == "import" or any(
        frame[0].startswith("<frozen importlib") for frame in step.stack
    )
    if not imports or step.waiting or step.due or step.ready:
        return False
    return bool(_native.LoopCore.statistics(loop)["steps"] <= STEP_OF_A_START)
