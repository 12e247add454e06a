"""Draws a process's figures: with rich, where it is installed, and as plain lines elsewhere."""

import importlib
import time
from typing import Any

from .figures import LoopFigures, WorstLine, figures_of, seconds, worst_of

__all__ = ["lines_of", "table_of"]


def _head(state: dict[str, Any]) -> str:
    starved, pool = state["starved_seconds"], state["pool"]
    calls = f"{pool['running']} calls run on executors and {pool['queued']} wait"
    return f"process {state['pid']}, {state['threads']} threads, {calls}, everloop {state['version']}" + (
        f", without a processor for {seconds(starved)}" if starved else ""
    )


def lines_of(before: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    """Plain lines: one for each loop, and one for each line that has blocked since the last time."""
    at = time.strftime("%H:%M:%S")
    told = [] if before else [_head(now)]
    told += [f"{at} {_of_loop(loop)}" for loop in figures_of(before, now)] or [f"{at} no loop runs"]
    told += [f"{at} {_of_line(line)}" for line in worst_of(before, now) if line.lately > 0 or before is None]
    return told


def _of_loop(loop: LoopFigures) -> str:
    text = (
        f"{loop.name}: busy {loop.busy:.0%}, {loop.turns:.0f} turns/s, {loop.steps:.0f} steps/s, "
        f"delay p99 {seconds(loop.delay)}, turn p99 {seconds(loop.turn)}, {loop.aside} aside, "
        f"{loop.relief} relief threads, {loop.rescues} rescues"
    )
    return text + (f", BLOCKED for {seconds(loop.blocked)}: {loop.why}" if is_blocked(loop) else "")


def _of_line(line: WorstLine) -> str:
    lately = f", {seconds(line.lately)} of it lately" if 0 < line.lately < line.seconds else ""
    what = f" in {line.function} ({line.cause})" if line.function else ""
    return f"blocked {line.count} times for {seconds(line.seconds)}{lately} at {line.where}{what}"


def is_blocked(loop: LoopFigures) -> bool:
    """True if the loop has stood still for long enough that a person would care."""
    return loop.blocked >= 0.1


def table_of(before: dict[str, Any] | None, now: dict[str, Any]) -> Any:
    """The same as tables of rich's.

    Raises:
        ImportError: rich is not there.
    """
    console, table, text = (importlib.import_module(f"rich.{name}") for name in ("console", "table", "text"))
    loops = table.Table(title=_head(now), title_justify="left", expand=True)
    columns = "loop", "busy", "turns/s", "steps/s", "delay p99", "turn p99", "aside", "relief", "rescues", "blocked"
    for name in columns:
        loops.add_column(name, justify="left" if name in ("loop", "blocked") else "right")
    for loop in figures_of(before, now):
        blocked = f"{seconds(loop.blocked)}: {loop.why}" if is_blocked(loop) else ""
        rate = [f"{number:.0f}" for number in (loop.turns, loop.steps)]
        counts = [str(number) for number in (loop.aside, loop.relief, loop.rescues)]
        # Text: what the program has named is no markup.
        cells = [text.Text(loop.name), f"{loop.busy:.0%}", *rate, seconds(loop.delay), seconds(loop.turn), *counts]
        loops.add_row(*cells, text.Text(blocked, style="bold red"))
    worst = table.Table(title="lines that have blocked", title_justify="left", expand=True)
    for name in ("line", "function", "cause", "how often", "seconds"):
        worst.add_column(name, justify="right" if name in ("how often", "seconds") else "left")
    for line in worst_of(before, now):
        cells = [text.Text(cell) for cell in (line.where, line.function, line.cause)]
        style = "yellow" if before and line.lately > 0 else ""
        worst.add_row(*cells, str(line.count), f"{line.seconds:.2f}", style=style)
    return console.Group(loops, worst)
