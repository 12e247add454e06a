"""What two states of a process say of the time between them. The page that a process serves makes the same of them."""

from dataclasses import dataclass
from typing import Any

__all__ = ["LoopFigures", "WorstLine", "figures_of", "seconds", "worst_of"]


@dataclass(frozen=True)
class LoopFigures:
    """A loop, in the time between two states; since it was made, where there is only one."""

    name: str
    busy: float
    turns: float
    steps: float
    delay: float | None
    turn: float | None
    blocked: float
    why: str | None
    aside: int
    relief: int
    rescues: int


@dataclass(frozen=True)
class WorstLine:
    """A line that has blocked."""

    where: str
    function: str
    cause: str
    count: int
    seconds: float
    lately: float


def figures_of(before: dict[str, Any] | None, now: dict[str, Any]) -> list[LoopFigures]:
    """The figures of each loop that runs."""
    known = {} if before is None else {loop["name"]: loop for loop in before["loops"]}
    took = 0.0 if before is None else now["time"] - before["time"]
    return [_of_loop(known.get(loop["name"]), loop, took) for loop in now["loops"]]


def _of_loop(before: dict[str, Any] | None, now: dict[str, Any], took: float) -> LoopFigures:
    if before is not None and before["steps"] > now["steps"]:
        before = None  # another loop of this name

    def since(name: str) -> float:
        value: float = now[name] - (before[name] if before else 0)
        return value

    awake = since("busy_seconds") + since("gil_wait_seconds")
    idle = since("idle_seconds")
    time = took if before else awake + idle
    # What is not counted yet, as the loop is in the middle of it, belongs to what it does.
    if before and not now["asleep"]:
        awake += max(0.0, time - awake - idle)
    return LoopFigures(
        name=now["name"],
        busy=min(1.0, awake / time) if time > 0 else 0.0,
        turns=since("turns") / time if time > 0 else 0.0,
        steps=since("steps") / time if time > 0 else 0.0,
        delay=percentile(before and before["delay_seconds"], now["delay_seconds"], 0.99),
        turn=percentile(before and before["turn_seconds"], now["turn_seconds"], 0.99),
        blocked=now["blocked_seconds"] or 0.0,
        why=now["blocked_by"],
        aside=now["aside"],
        relief=now["relief_threads"],
        rescues=now["rescues"],
    )


def percentile(before: dict[str, Any] | None, now: dict[str, Any], share: float) -> float | None:
    """The duration that this share does not exceed, of those between two histograms; None: there were none."""
    count = now["count"] - (before["count"] if before else 0)
    if count <= 0:
        return None
    most: float = now["max"]
    for at, (end, below) in enumerate(now["buckets"]):
        if below - (before["buckets"][at][1] if before else 0) >= count * share:
            return min(float(end), most)
    return most


def worst_of(before: dict[str, Any] | None, now: dict[str, Any], most: int = 10) -> list[WorstLine]:
    """The lines that have blocked for the longest time."""
    old = {} if before is None else {_key(line): line["seconds"] for line in before["blocked_lines"]}
    return [
        WorstLine(
            where=f"{line['file']}:{line['line']}" if line["file"] else "all others",
            function=line["function"],
            cause=line["cause"],
            count=line["count"],
            seconds=line["seconds"],
            lately=line["seconds"] - old.get(_key(line), 0.0),
        )
        for line in now["blocked_lines"][:most]
    ]


def _key(line: dict[str, Any]) -> tuple[str, int, str]:
    return line["file"], line["line"], line["cause"]


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1e3:.1f} ms" if value >= 0.001 else f"{value * 1e6:.0f} us"
