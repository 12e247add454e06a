"""Of each way to block a loop, the report tells the right line, the right cause, and a first word while it lasts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

RUN = pathlib.Path(__file__).parent / "ways" / "run.py"
# Two blocks in one step: where the first is rescued, each is told of by itself.
NOT_UNDER_RESCUE = {"short_and_long", "long_and_short"}
# It takes minutes to ask for all that compute: elsewhere than on 3.13 these stand for them, one or two of each kind.
COMPUTING = [
    "while_loop", "recursion", "generator", "regular_expression", "json_loads", "sort", "pbkdf2", "compress",
    "collect", "import_that_computes", "thief", "thief_of_an_idle_loop", "burst", "tasks",
]  # fmt: skip
IS_ALL_ASKED = sys.version_info[:2] == (3, 13)
TRIES = 3  # a machine that is short of processors may be what is told of


def wrong(rescue, seconds, *names):
    """What was told wrongly, by the names of the ways, each of which blocks for so long."""
    done = subprocess.run(
        [sys.executable, RUN, str(int(rescue)), str(seconds), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        timeout=280,
    )
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert told
    left_out = NOT_UNDER_RESCUE if rescue else set()
    return {each["name"]: each for each in told if each["wrong"] and each["name"] not in left_out}


@pytest.mark.patience(300)
@pytest.mark.parametrize("rescue", [False, True])
@pytest.mark.parametrize("group", ["waits", "shapes", "libraries", "computes", "c_code"])
def test_of_each_way_to_block_the_report_is_right(rescue, group):
    computes = group in ("computes", "c_code")
    if group == "c_code" and not IS_ALL_ASKED:
        pytest.skip("those of computes.py stand for them")
    names = COMPUTING if computes and not IS_ALL_ASKED else [group]
    seconds = 0.25 if computes or IS_ALL_ASKED else 0.2
    found = wrong(rescue, seconds, *names)
    for _ in range(TRIES - 1):
        found = wrong(rescue, seconds, *found) if found else {}
    assert found == {}
