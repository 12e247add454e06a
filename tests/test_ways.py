"""Of each way to block a loop, the report tells the right line, the right cause, and a first word while it lasts."""

import contextlib
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


def wrong(seconds, names_by_rescue):
    """What was told wrongly, by the names of the ways, each of which blocks for so long: without rescue, and with it.

    Both at once, since they wait for the most part.
    """
    found = {}
    with contextlib.ExitStack() as stack:
        runs = {
            rescue: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, RUN, str(int(rescue)), str(seconds), *names],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    text=True,
                )
            )
            for rescue, names in names_by_rescue.items()
        }
        for run in runs.values():
            stack.callback(run.kill)
        for rescue, run in runs.items():
            out, _ = run.communicate(timeout=280)
            assert run.returncode == 0
            told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
            assert told
            left_out = NOT_UNDER_RESCUE if rescue else set()
            found[rescue] = {each["name"]: each for each in told if each["wrong"] and each["name"] not in left_out}
    return {rescue: each for rescue, each in found.items() if each}


@pytest.mark.patience(300)
@pytest.mark.parametrize("group", ["waits", "shapes", "libraries", "computes", "c_code"])
def test_of_each_way_to_block_the_report_is_right(group):
    if group == "c_code" and not IS_ALL_ASKED:
        pytest.skip("those of computes.py stand for them")
    names = COMPUTING if group == "computes" and not IS_ALL_ASKED else [group]
    found = {False: names, True: names}
    for _ in range(TRIES):
        found = wrong(0.25, found) if found else {}
    assert found == {}
