"""Steps that wait for each other's locks, which tell nobody who holds them. The watchdog finds out that nobody is left.

crates/core/src/watchdog/deadlock.rs says when that is proved.
"""

from typing import Any

from .waiting import DeadlockError

__all__ = ["deadlock_of_steps"]


def deadlock_of_steps(*, steps: list[dict[str, Any]], count: int) -> DeadlockError:
    """The error for one of so many steps that are blocked for ever, with the lines of those that are given.

    It is called in the middle of a step: so it only puts text together, and asks nobody.
    """
    who = f"{count} steps are blocked" if count > 1 else "a step is blocked"
    lines = [f"a wait that would never end: {who}, and no thread is left that could end that"]
    for step in steps:
        lines.append(f"  {step['kind']} {step['task']!r} is blocked")
        if step["inside"] is not None:
            lines.append("    at {}:{} in {}".format(*step["inside"]))
        lines.append(f"    at {step['file']}:{step['line']} in {step['function']}")
    if count > len(steps):
        lines.append(f"  and {count - len(steps)} more")
    return DeadlockError("\n".join(lines))
