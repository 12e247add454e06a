"""Private names of others: each is there on this interpreter and means what we believe, and each loss is told."""

import asyncio
import logging
import re
import sys

import pytest

import private_futures  # noqa: F401 - its scenes
import private_loops  # noqa: F401 - its scenes
import private_natives  # noqa: F401 - its scenes
import private_others  # noqa: F401 - its scenes
import private_threads  # noqa: F401 - its scenes
import private_waits  # noqa: F401 - its scenes
from everloop.private import names
from everloop.private.anyio_backend import Required
from private_scenes import SCENES, absent
from support import run_script

# ---- all of them


def play(place):
    """Whether the scene of an entry works."""
    found = SCENES[place][0]()
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


def is_expected(entry):
    return entry.since <= sys.version_info[:2] <= entry.until


EXPECTED = [place for place in SCENES if is_expected(names.NAMES[place])]


def test_each_entry_has_a_scene():
    symbols = {place for place in names.NAMES if "." not in place}  # see test_private_symbols.py
    assert set(names.NAMES) - symbols == set(SCENES)


def test_this_interpreter_was_looked_at():
    """A new version of CPython: look at each entry there, then let `KNOWN` end with it."""
    first, last = names.KNOWN
    assert first <= sys.version_info[:2] <= last


def told(caplog):
    """The losses that were told."""
    warnings = [record for record in caplog.records if (record.name, record.levelno) == ("everloop", logging.WARNING)]
    return [record.getMessage() for record in warnings if "which is private" in record.getMessage()]


@pytest.mark.parametrize("place", EXPECTED)
def test_a_name_is_there_and_means_what_we_believe(place, caplog):
    assert play(place)
    assert told(caplog) == []


@pytest.mark.parametrize("place", EXPECTED)
def test_without_a_name_its_loss_is_told_once_and_the_rest_works(place, caplog):
    entry = names.NAMES[place]
    if isinstance(entry, Required):
        with absent(entry), pytest.raises(ImportError, match=re.escape(f"{entry.place} is not there")):
            play(place)
        return
    with absent(entry):
        assert [play(place), play(place)] == [SCENES[place][1]] * 2
    (message,) = told(caplog)
    assert message.startswith(f"{entry.place}, which is private, is missing")
    assert entry.loss in message


def test_a_program_that_gives_asyncio_s_loop_class_another_meaning_is_told_of_no_loss():
    process = run_script(
        """
import asyncio, everloop

class Factory:
    def __new__(cls, *args):
        return everloop.EventLoop()

asyncio.SelectorEventLoop = Factory
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    print(runner.run(asyncio.sleep(0, "done")))
"""
    )
    assert (process.stdout, process.stderr) == ("done\n", "")
