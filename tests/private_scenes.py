"""Scenes of private names: each uses some of them as the package does, and says whether that worked.

With the entries as they are, it does. Where one points at a name that nobody has, it does not, and nothing but that
goes wrong; or something of ours stands in, and it works all the same (`without=True`).
"""

import asyncio
import contextlib

from everloop import _native
from everloop.private import names

OTHER = "_renamed_by_a_later_version"

# By place: the scene, and what it says without the name.
SCENES = {}


def scene(*places, without=False):
    """The function shows what these entries are for."""

    def note(function):
        for place in places:
            assert place not in SCENES, place
            SCENES[place] = function, without
        return function

    return note


@contextlib.contextmanager
def absent(entry):
    """As if this interpreter had another name for it."""
    slots = [name for name in ("attribute", "code", "_is_told") if hasattr(entry, name)]
    before = {name: getattr(entry, name) for name in slots}
    entry.attribute, entry._is_told = OTHER, False
    if isinstance(entry, names.Inner):
        entry.code = None
    _native.rename_private(entry.place, OTHER)  # of no effect if the native half has it not
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(entry, name, value)
        _native.rename_private(entry.place, None)


async def step():
    """Everybody else has a turn."""
    for _ in range(3):
        await asyncio.sleep(0)
