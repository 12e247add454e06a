"""Of each way to block a loop, the report tells the right line, the right cause, and a first word while it lasts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

RUN = pathlib.Path(__file__).parent / "ways" / "run.py"
# It sleeps in pieces of 50 ms, each of which is rescued, and is none too long.
NOT_TOLD_UNDER_RESCUE = {"popen_wait_with_a_time"}
TRIES = 3  # a machine that is short of processors may be what is told of


def wrong(rescue, *names):
    """What was told wrongly, by the names of the ways."""
    done = subprocess.run(
        [sys.executable, RUN, str(int(rescue)), "0.25", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        timeout=110,
    )
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert told
    left_out = NOT_TOLD_UNDER_RESCUE if rescue else set()
    return {each["name"]: each for each in told if each["wrong"] and each["name"] not in left_out}


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the ways were tried on CPython 3.13 only, so far")
@pytest.mark.patience(120)
@pytest.mark.parametrize("rescue", [False, True])
@pytest.mark.parametrize("group", ["waits", "shapes"])
def test_of_each_way_to_block_the_report_is_right(rescue, group):
    found = wrong(rescue, group)
    for _ in range(TRIES - 1):
        found = wrong(rescue, *found) if found else {}
    assert found == {}
