"""The report: what blocked the loop, where, for how long, who waited, and what to do about it.

The native watchdog decides when (see `watchdog/report.rs`) and calls the `Reporter` on its own thread, with the GIL. A
block is told of once it has lasted `slow_callback_duration`, and again when it has ended. Blocks at one place are
counted, and told of at most once in `QUIET_SECONDS`.
"""

import asyncio
import linecache
import logging
import os
import sysconfig
import time
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from ..private.threads import forget_dummy_thread
from .advice import advice

logger = logging.getLogger("everloop")

# A place that has just been reported is only counted for so long.
QUIET_SECONDS = 10.0
# Places remembered, the oldest forgotten first.
MOST_PLACES = 1000

_LIBRARY = tuple(
    os.path.join(path, "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
)
_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


@dataclass
class Place:
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
class Block:
    """One block, from the first report to the last."""

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
    place: Place
    told: bool = False


class Reporter:
    """Makes the texts, and counts."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], Place] = {}

    def blocked(
        self,
        *,
        loop: Any,
        seconds: float,
        frame: FrameType | None,
        base_frame: int,
        task: Any,
        handle: Any,
        waiting: int,
        rescued_after: float | None,
        relief: str | None,
        thread: str,
    ) -> Block | None:
        """A step has blocked for `seconds`, and still does."""
        frames = _step_frames(frame, base_frame)
        outer = _own_frame(frames)
        if outer is None:
            file, line, function, columns = "<native>", 0, _callback_name(handle), None
            call = function
        else:
            file, line, function = outer.f_code.co_filename, outer.f_lineno or 0, outer.f_code.co_name
            columns = _columns(outer.f_code, outer.f_lasti, line)
            call = _call_name(file, line, columns)
        innermost = frames[0] if frames else None
        inner = ""
        if innermost is not None and innermost is not outer:
            inner = f"{_short(innermost.f_code.co_filename)}:{innermost.f_lineno} in {innermost.f_code.co_qualname}"
        place = self._place(file, line)
        place.count += 1
        kind = "task" if isinstance(task, asyncio.Task) else "callback"
        block = Block(
            file=file,
            line=line,
            function=function,
            call=call,
            columns=columns,
            kind=kind,
            task=_task_name(task, handle),
            waiting=waiting,
            inner=inner,
            thread=thread,
            relief=relief,
            rescued_after=rescued_after,
            place=place,
        )
        now = time.monotonic()
        if now >= place.quiet_until:
            place.quiet_until = now + QUIET_SECONDS
            block.told = True
            self._log(block, seconds, ended=False)
        return block

    def rescued(self, block: Block, seconds: float) -> None:
        """The step blocks on, but since `seconds` after it began it holds nobody up."""
        block.rescued_after = seconds

    def ended(self, block: Block, seconds: float) -> None:
        """The step goes on, after `seconds`."""
        block.place.seconds.append(seconds)
        del block.place.seconds[:-100]
        if block.told:
            self._log(block, seconds, ended=True)

    def unseen(self, loop: Any, seconds: float) -> None:
        """A step blocked for `seconds`, but the GIL came free only with its end."""
        place = self._place("<unseen>", 0)
        place.count += 1
        now = time.monotonic()
        if now < place.quiet_until:
            return
        place.quiet_until = now + QUIET_SECONDS
        self._emit(
            f"warning[blocked]: the event loop was blocked for {_milliseconds(seconds)} by code that held the GIL\n"
            "   = help: its line could not be seen; run long C calls that hold the GIL in a process pool",
            {"state": "ended", "seconds": seconds, "file": None, "line": None, "function": None, "call": None,
             "task": None, "waiting": 0, "rescued": False, "rescued_after": None, "count": place.count},
        )  # fmt: skip

    def _place(self, file: str, line: int) -> Place:
        place = self._places.get((file, line))
        if place is None:
            if len(self._places) >= MOST_PLACES:
                del self._places[next(iter(self._places))]
            place = self._places[file, line] = Place()
        return place

    def _log(self, block: Block, seconds: float, *, ended: bool) -> None:
        record = {
            "state": "ended" if ended else "blocked",
            "seconds": seconds,
            "file": block.file,
            "line": block.line,
            "function": block.function,
            "call": block.call,
            "task": block.task,
            "waiting": block.waiting,
            "rescued": block.rescued_after is not None,
            "rescued_after": block.rescued_after,
            "count": block.place.count,
        }
        self._emit(_text(block, seconds, ended), record)

    def _emit(self, text: str, details: dict[str, Any]) -> None:
        try:
            logger.warning("%s", text, extra={"everloop": details})
        finally:
            forget_dummy_thread()


def _text(block: Block, seconds: float, ended: bool) -> str:
    by = f" by {block.call}" if block.call else ""
    if ended:
        head = f"the event loop was blocked for {_milliseconds(seconds)}{by}"
        if block.rescued_after is not None:
            head = f"a step was blocked for {_milliseconds(seconds)}{by}; the loop {_rescued(block)}"
    else:
        head = f"the event loop has been blocked for {_milliseconds(seconds)} (still blocked){by}"
        if block.rescued_after is not None:
            head = (
                f"a step has been blocked for {_milliseconds(seconds)} (still blocked){by}; the loop {_rescued(block)}"
            )
    lines = [f"warning[blocked]: {head}"]
    lines += _snippet(block)
    if block.inner:
        lines.append(f"   = inside: {block.inner}")
    lines.append(f"   = impact: {_impact(block)}")
    if block.rescued_after is not None:
        if not ended:
            lines.append(f"   = rescue: other tasks run on {block.relief or 'another thread'}")
    else:
        lines.append(
            "   = rescue: off or not possible; everything else waited"
            if ended
            else "   = rescue: none, everything else waits"
        )
    lines.append(f"   = help: {advice(block.call, block.inner)}")
    return "\n".join(lines)


def _rescued(block: Block) -> str:
    assert block.rescued_after is not None
    if block.rescued_after == 0:
        return "was handed off at once"
    return f"was rescued after {_milliseconds(block.rescued_after)}"


def _impact(block: Block) -> str:
    waiting = block.waiting
    text = f"{waiting} callback{'s' if waiting != 1 else ''} waiting"
    if block.place.count > 1:
        text += f"; seen {block.place.count} times"
        if (p95 := block.place.p95()) is not None:
            text += f", p95 {_milliseconds(p95)}"
    return text


def _snippet(block: Block) -> list[str]:
    where = f"  --> {_short(block.file)}:{block.line} in {block.function}"
    head = f'{where:<50}  {block.kind} "{block.task}"'
    source = linecache.getline(block.file, block.line).rstrip()
    if not source.strip():
        return [head]
    number = str(block.line)
    blank = " " * (len(number) + 1)
    lines = [head, f"{blank}|", f"{number} | {source}"]
    if block.columns is not None:
        start, end = block.columns
        lines.append(f"{blank}| {' ' * start}{'^' * max(end - start, 1)}")
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _short(file: str) -> str:
    """The file as the reader knows it: relative to where the program runs, or from the library's folder on."""
    for folder in sorted((*_LIBRARY, os.path.join(os.getcwd(), "")), key=len, reverse=True):
        if file.startswith(folder):
            return file[len(folder) :]
    return file


def _step_frames(frame: FrameType | None, base: int) -> list[FrameType]:
    """The frames of the step, innermost first."""
    frames = []
    while frame is not None and id(frame) != base:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _own_frame(frames: list[FrameType]) -> FrameType | None:
    """The innermost frame of the user's own code; of any code where there is none."""
    for frame in frames:
        if not frame.f_code.co_filename.startswith((*_LIBRARY, _OWN, "<frozen ")):
            return frame
    return frames[0] if frames else None


def _columns(code: CodeType, instruction: int, line: int) -> tuple[int, int] | None:
    """Where on its line the instruction's source stands."""
    for index, position in enumerate(code.co_positions()):
        if index == instruction // 2:
            start_line, end_line, start, end = position
            if start_line != line or start is None or end is None:
                return None
            return (start, end) if end_line == line else None
    return None


def _call_name(file: str, line: int, columns: tuple[int, int] | None) -> str:
    """What is called there, as the source spells it."""
    source = linecache.getline(file, line).rstrip()
    if columns is not None:
        # Columns count bytes.
        source = source.encode()[columns[0] : columns[1]].decode(errors="replace")
    return source.strip().partition("(")[0].strip()


def _task_name(task: Any, handle: Any) -> str:
    if isinstance(task, asyncio.Task):
        return task.get_name()
    return _callback_name(handle)


def _callback_name(handle: Any) -> str:
    callback = getattr(handle, "_callback", None)
    name = getattr(callback, "__qualname__", None) or type(callback).__name__
    module = getattr(callback, "__module__", None)
    return f"{module}.{name}" if module not in (None, "builtins", "__main__") else name
