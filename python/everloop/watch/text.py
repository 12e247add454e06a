"""The text of a record, laid out as rustc lays out its errors."""

from typing import Any

from . import cause as causes
from .source import is_own, short, snippet

__all__ = ["milliseconds", "place", "seen_at", "text_of"]

_MOST_CALLERS = 6
_MOST_LINES = 4


def text_of(record: dict[str, Any]) -> str:
    """The text of a block's record."""
    ended, rescued = record["state"] == "ended", record["rescued_after"] is not None
    kind = record["cause"]["kind"]
    blames = kind not in causes.BLAMES_NOBODY
    label = "note[starved]" if not blames else f"{'note' if record['level'] == 'debug' else 'warning'}[blocked]"
    lines = [f"{label}: {_head(record, ended, rescued)}"]
    if record["file"] is not None:
        who = record["kind"], record["task"]
        if kind == "thread":  # its line, not the step's
            who = "thread", record["cause"].get("thread")
        lines += seen_at(record["file"], record["line"] or 0, record["function"], record["span"], *who)
    lines += _stack(record)
    if record["cause"]["text"]:
        lines.append(f"   = cause: {record['cause']['text']}")
    lines.append(f"   = impact: {_impact(record)}")
    if shares := _time(record):
        lines.append(f"   = time: {shares}")
    if rescued:
        if not ended:
            lines.append(f"   = rescue: other tasks run on {record['relief'] or 'another thread'}")
    elif blames and record["file"] is not None:
        lines.append(
            "   = rescue: off or not possible; everything else waited"
            if ended
            else "   = rescue: none, everything else waits"
        )
    if record["told"]:
        lines.append("   = told: on the standard error, while the GIL was held and no log could be written")
    if record["file"] is None and blames and kind != "thread":
        lines.append("   = line: it could not be seen, as nothing else ran until that was over")
    if record["advice"]:
        lines.append(f"   = help: {record['advice']}")
    return "\n".join(lines)


def seen_at(file: str, line: int, function: str | None, span: Any, kind: str | None, task: str | None) -> list[str]:
    """The lines of a text that show a place in the source."""
    where = f"  --> {place(file, line, function)}"
    head = f'{where:<50}  {kind} "{task}"' if task is not None else where
    return [head, *snippet(file, line, span)]


def place(file: str, line: int, function: str | None) -> str:
    """A place in one line."""
    return f"{short(file)}:{line}" + (f" in {function}" if function else "")


def milliseconds(seconds: float) -> str:
    """A duration for a reader."""
    return f"{seconds * 1000:.0f} ms"


def _head(record: dict[str, Any], ended: bool, rescued: bool) -> str:
    what = causes.subject(record["cause"]) or record["call"]
    if record["file"] is None:
        what = what or "code that held the GIL"
    by = f" by {what}" if what else ""
    blocked = "blocked" if record["cause"]["kind"] != "steps" else "kept busy"
    lasted = f"{milliseconds(record['seconds'])}{'' if ended else f' (still {blocked})'}{by}"
    who = "a step" if rescued else "the event loop"
    head = f"{who} {'was' if ended else 'has been'} {blocked} for {lasted}"
    if rescued:
        after = record["rescued_after"]
        head += "; the loop was " + ("handed off at once" if after == 0 else f"rescued after {milliseconds(after)}")
    return head


def _stack(record: dict[str, Any]) -> list[str]:
    """The innermost frame, and the program's own frames outside the line that is shown."""
    stack = record["stack"]
    at = next(
        (
            index
            for index, frame in enumerate(stack)
            if (frame["file"], frame["line"]) == (record["file"], record["line"])
        ),
        None,
    )
    lines = []
    if stack and at is None:
        # The blamed line is another thread's, or one that the step has left.
        own = next((frame for frame in stack if is_own(frame["file"])), stack[0])
        here = place(own["file"], own["line"], own["function"])
        is_innocent = record["cause"]["kind"] == "thread"
        return [f"   = step: at {here}, which is not to blame" if is_innocent else f"   = now: at {here}"]
    if at:
        inside = place(stack[0]["file"], stack[0]["line"], stack[0]["function"])
        lines.append(f"   = inside: {inside}" + (f", {at} calls further in" if at > 1 else ""))
    if at is None:
        return lines
    callers: list[str] = []
    hidden = 0
    for frame in stack[at + 1 :]:
        if not is_own(frame["file"]) or len(callers) >= _MOST_CALLERS:
            hidden += 1
            continue
        if hidden:
            callers.append(_frames(hidden))
            hidden = 0
        callers.append(place(frame["file"], frame["line"], frame["function"]))
    if callers:
        if hidden:
            callers.append(_frames(hidden))
        lines.append(f"   = from: {' < '.join(callers)}")
    return lines


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _impact(record: dict[str, Any]) -> str:
    waiting, due, ready = record["waiting"], record["due"], record["ready"]
    parts = []
    if waiting or not (due or ready):
        parts.append(f"{waiting} callback{'s' if waiting != 1 else ''} waiting")
    if due:
        parts.append(f"{due} timer{'s' if due != 1 else ''} due")
    if ready:
        parts.append(f"{ready} file{'s' if ready != 1 else ''} ready")
    text = ", ".join(parts)
    if record["count"] > 1:
        text += f"; seen {record['count']} times"
        if record["p95"] is not None:
            text += f", p95 {milliseconds(record['p95'])}"
    if record["suppressed"]:
        text += f"; {record['suppressed']} of them not told"
    return text


def _time(record: dict[str, Any]) -> str:
    """The lines that a block was at, where there were several."""
    if len(record["lines"]) < 2 or record["cause"]["kind"] in ("thread", "collector"):
        return ""
    shown = [
        f"{milliseconds(line['seconds'])} at {place(line['file'], line['line'], line['function'])}"
        for line in record["lines"][:_MOST_LINES]
    ]
    if more := len(record["lines"]) - len(shown):
        shown.append(f"the rest at {more} more")
    return ", ".join(shown)
