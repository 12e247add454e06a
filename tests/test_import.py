"""Importing everloop: what it needs of the interpreter, and says so where that is missing."""

import pytest

from support import run_script

# A free-threaded CPython says whether it has a GIL. It gets one when an extension is imported that needs it, unless it
# was told to run without (PYTHON_GIL=0, -X gil=0).
FREE_THREADED = """
import sys
from importlib import machinery

gil = False
sys._is_gil_enabled = lambda: gil

before = machinery.ExtensionFileLoader.create_module

def create_module(loader, spec):
    global gil
    gil = gil or ({may_be_enabled} and spec.name == "everloop._native")
    return before(loader, spec)

machinery.ExtensionFileLoader.create_module = create_module
"""


def test_a_python_that_was_told_to_run_without_a_gil_is_refused():
    process = run_script(
        FREE_THREADED.format(may_be_enabled=False)
        + """
try:
    import everloop
except ImportError as error:
    print(error)
assert "everloop" not in sys.modules and "everloop._native" not in sys.modules
"""
    )
    assert process.stdout.startswith("everloop needs the GIL"), process.stderr
    assert "PYTHON_GIL=0" in process.stdout
    assert "-X gil=0" in process.stdout
    assert process.returncode == 0, process.stderr


def test_a_free_threaded_python_that_switches_it_on_runs_everloop():
    process = run_script(
        FREE_THREADED.format(may_be_enabled=True)
        + """
import asyncio, everloop
print(everloop.run(asyncio.sleep(0, "done")), gil)
"""
    )
    assert process.stdout == "done True\n", process.stderr


@pytest.mark.parametrize("answer", ["del sys._is_gil_enabled", "sys._is_gil_enabled = lambda: True"])
def test_one_that_has_the_gil_is_asked_no_more(answer):
    process = run_script(
        f"""
import sys, contextlib
with contextlib.suppress(AttributeError):  # up to CPython 3.12
    {answer}
import everloop
"""
    )
    assert process.returncode == 0, process.stderr
