"""Each cell of the table in docs/choosing.md is so, for each call; and the Chinese page says the same.

The page's words are looked up here, what they promise is played, and the two are compared.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import choosing_calls
import choosing_work
from choosing_calls import COROUTINES, FUNCTIONS, begun, call_of
from support import rescuing_loop

ROOT = pathlib.Path(__file__).parent.parent
COLUMNS = ("cancel", "timeout", "exception", "context", "end")
TURNS = 200  # of the loop, in which whatever was to happen at once would have

# what each column's words promise
CANCEL = {
    "waits for the function, then raises": {"ends at once": False, "raises in": "the call", "left": {"done"}},
    "raises at once, and the function goes on": {"ends at once": True, "raises in": "the call", "left": {"done"}},
    "kills the process, then raises": {"ends at once": True, "raises in": "the call", "left": set()},
    "lets the function end, and the next `await` raises": {
        "ends at once": False,
        "raises in": "the next await",
        "left": {"done"},
    },
    "cancels the coroutine, waits for its clean-up, then raises": {
        "ends at once": True,
        "raises in": "the call",
        "left": {"cleaned"},
    },
}
TIMEOUT = {"`asyncio.timeout`": ["around"], "`timeout=`, `asyncio.timeout`": ["argument", "around"]}
EXCEPTION = {"the same object": (True, False), "a copy, caused by a traceback": (False, True)}
CONTEXT = {
    "go along, and come back": ("set here", "set there"),
    "go along": ("set here", "set here"),
    "stay here": ("nobody", "set here"),
}
END = {  # what is there when run() has ended with the gate closed, and when the process has, with the gate open
    "waits for the function": ({"done"}, {"done"}),
    "waits for the function when the interpreter ends": (set(), {"done"}),
    "kills the process": (set(), set()),
    "cancels the coroutine, waits for its clean-up": ({"cleaned"}, {"cleaned"}),
}
MEANINGS = dict(zip(COLUMNS, (CANCEL, TIMEOUT, EXCEPTION, CONTEXT, END), strict=True))


def table_of(page):
    """The cells of the last table of a page: the call, then the columns."""
    rows = re.findall(r"^\| (.*) \|$", (ROOT / page).read_text(), re.MULTILINE)
    return {cells[0]: cells[1:] for cells in (row.split(" | ") for row in rows) if len(cells) == 6}


TABLE = dict(list(table_of("docs/choosing.md").items())[1:])
CELLS = {way: dict(zip(COLUMNS, cells, strict=True)) for way, cells in TABLE.items()}
ways = pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="no subinterpreters"))
        if way == "`to_interpreter`"
        else way
        for way in TABLE
    ],
)


@pytest.fixture
def place(tmp_path):
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def run(coroutine):
    with asyncio.Runner(loop_factory=rescuing_loop) as runner:
        return runner.run(coroutine)


def left(place):
    return {path.name for path in place.iterdir()} & {"done", "cleaned"}


# ---- the page


def test_the_table_has_each_call_and_only_words_with_a_meaning():
    assert list(TABLE) == [*FUNCTIONS, *COROUTINES]
    for column, meanings in MEANINGS.items():
        assert {cells[column] for cells in CELLS.values()} == set(meanings), column


def test_the_chinese_page_says_the_same():
    translations = {}
    chinese = list(table_of("docs/zh-CN/choosing.md").values())[1:]
    assert len(chinese) == len(TABLE)
    for english, translated in zip(TABLE.values(), chinese, strict=True):
        for pair in zip(COLUMNS, english, translated, strict=True):
            translations.setdefault(pair[:2], set()).add(pair[2])
    assert all(len(found) == 1 for found in translations.values()), translations
    for column, meanings in MEANINGS.items():
        found = [translations[column, words].copy().pop() for words in meanings]
        assert len(found) == len(set(found)), column


# ---- the cells


async def ended_by(way, place, end, options=None):
    """What becomes of a call that is ended in the middle by `end(task, limit)`."""
    seen = {"raises in": "nothing"}

    async def caller():
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            try:
                await call_of(way, place, **options or {})
            except (asyncio.CancelledError, TimeoutError):
                seen["raises in"] = "the call"
                raise
            seen["raises in"] = "the next await"
            await asyncio.sleep(0)

    limits = []
    task = asyncio.create_task(caller())
    await begun(place)
    end(task, limits[0])
    promise = CANCEL[CELLS[way]["cancel"]]
    if promise["ends at once"]:
        await asyncio.wait({task})  # or hangs here
    else:
        for _ in range(TURNS):
            await asyncio.sleep(0)
    seen["ends at once"] = task.done()
    with lasting_gate(place):
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await task
        while "done" in promise["left"] - left(place):
            await asyncio.sleep(0)
    seen["left"] = left(place)
    return seen, type(task.exception()) if not task.cancelled() else asyncio.CancelledError


@contextlib.contextmanager
def lasting_gate(place):
    gate = choosing_work.open_gate(place)
    try:
        yield
    finally:
        os.close(gate)


@ways
@pytest.mark.usefixtures("fork_server")
def test_a_cancel(way, place):
    seen, error = run(ended_by(way, place, lambda task, limit: task.cancel()))
    assert seen == CANCEL[CELLS[way]["cancel"]]
    assert error is asyncio.CancelledError


@ways
@pytest.mark.usefixtures("fork_server")
def test_a_time_out_is_a_cancel_with_another_name(way, place):
    for number, given in enumerate(TIMEOUT[CELLS[way]["timeout"]]):
        here = place / str(number)
        here.mkdir()
        os.mkfifo(here / "gate")
        if given == "argument":
            seen, error = run(ended_by(way, here, lambda task, limit: None, {"timeout": 0.01}))
        else:
            seen, error = run(ended_by(way, here, lambda task, limit: limit.reschedule(0)))
        assert seen == CANCEL[CELLS[way]["cancel"]]
        assert error is TimeoutError


@ways
@pytest.mark.usefixtures("fork_server")
def test_an_exception(way):
    async def main():
        if way not in FUNCTIONS:
            return await COROUTINES[way](fail_later)
        if EXCEPTION[CELLS[way]["exception"]][0]:
            return await FUNCTIONS[way](fail)
        return await FUNCTIONS[way](choosing_work.fail)

    def fail():
        raise raised

    async def fail_later():
        raise raised

    raised = choosing_work.OwnError("told over there")
    with pytest.raises(choosing_work.OwnError, match="told over there") as caught:
        run(main())
    is_copied = caught.value is not raised
    assert (not is_copied, "in fail" in str(caught.value.__cause__)) == EXCEPTION[CELLS[way]["exception"]]


@ways
@pytest.mark.usefixtures("fork_server")
def test_context_variables(way):
    async def main():
        choosing_work.name.set("set here")
        if way in FUNCTIONS:
            there = await FUNCTIONS[way](choosing_work.read_and_set)
        else:
            there = await COROUTINES[way](read_and_set_later)
        return there, choosing_work.name.get()

    async def read_and_set_later():
        return choosing_work.read_and_set()

    assert run(main()) == CONTEXT[CELLS[way]["context"]]


@ways
def test_the_end_of_the_program(way, place):
    program = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(choosing_calls.__file__).parent)!r})
if __name__ == "__main__":
    import choosing_calls
    choosing_calls.run_to_the_end({way!r}, {str(place)!r})
"""
    (place / "program.py").write_text(program)
    at_end_of_run, at_end = END[CELLS[way]["end"]]
    command = [sys.executable, str(place / "program.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout.readline() == "main ends\n"
        gate = choosing_work.open_gate(place) if at_end_of_run == {"done"} else None
        assert child.stdout.readline() == " ".join(["run has ended", *at_end_of_run]) + "\n"
        if gate is None:
            gate = choosing_work.open_gate(place)
        assert child.wait() == 0
    os.close(gate)
    assert left(place) == at_end
