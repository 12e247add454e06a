"""What must be equal on two loops, and is not."""

from .running import Outcome


def compare(expected: Outcome, got: Outcome) -> list[str]:
    """The faults of an outcome: what is wrong on any loop, and where a task's results differ from what is right."""
    return [*got.faults, *_differences(expected.record, got.record)]


def _differences(expected, got):
    for path in sorted({*expected, *got}, key=str):
        if path not in got:
            yield f"task {path} did not run"
        elif path not in expected:
            yield f"task {path} should not have run"
        elif expected[path] != got[path]:
            yield _first_difference(path, expected[path], got[path])


def _first_difference(path, expected, got):
    for index, (right, wrong) in enumerate(zip(expected, got, strict=False)):
        if right != wrong:
            return f"operation {index} of task {path}:\n  right: {right}\n  got:   {wrong}"
    return f"task {path} did {len(got)} operations in place of {len(expected)}"
