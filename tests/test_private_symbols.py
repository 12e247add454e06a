"""What is not public of CPython's C interface: what is lost where it is missing."""

import importlib.machinery
import pathlib
import re
import struct
import sys

import pytest

from everloop import _native
from everloop.private import names
from private_scenes import absent
from support import run_script

# What is linked all the same. Documented, in spite of the name:
DOCUMENTED = {"_PyBytes_Resize"}
# What macros of the public headers stand for: the stable ABI, weak references, the counts of debug builds.
MACROS = {
    *(f"_PyWeakref_{name}Type" for name in ("Ref", "Proxy", "CallableProxy")),
    *(f"_Py_{name}Struct" for name in ("None", "True", "False", "NotImplemented")),
    *("_Py_EllipsisObject", "_Py_Dealloc", "_Py_IncRef", "_Py_DecRef", "_Py_NegativeRefcount"),
    *("_Py_INCREF_IncRefTotal", "_Py_DECREF_DecRefTotal", "_Py_RefTotal"),
}

# For threads that the interpreter ends, up to CPython 3.13.
ENDING = ["_Py_IsFinalizing", "_pthread_cleanup_push", "_pthread_cleanup_pop"]
# Without it rescue works all the same.
HELPFUL = "_PyRuntime"

# A step blocks while another one is ready, on a loop that rescues. What was rescued is printed, and what is lost.
SCRIPT = """
    import asyncio, logging, sys, threading, time
    import everloop
    from everloop import _native

    def hand_offs(loop):
        return loop.statistics()["rescues"] + loop.statistics()["learned"]

    logging.basicConfig(stream=sys.stdout, format="told: %(message)s")
    if len(sys.argv) > 1:
        _native.rename_private(sys.argv[1], "_renamed_by_a_later_version")

    async def main():
        loop, other = asyncio.get_running_loop(), threading.Event()
        loop.call_soon(other.set)
        waited = other.wait(float(sys.argv[2]) if len(sys.argv) > 2 else 10)
        # a print() is several writes, and another thread logs
        sys.stdout.write(f"rescued: {waited} {hand_offs(loop) > 0}\\n")

    for _ in range(2):
        with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=True, rescue_after=0.005)) as runner:
            runner.get_loop().slow_callback_duration = 60  # no reports
            runner.run(main())
"""


def run(*arguments):
    result = run_script(SCRIPT, *arguments)
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.splitlines()


def loss_of(place):
    return next(loss for each, _, loss, *_ in _native.private_names() if each == place)


def test_all_of_them_are_tested():
    symbols = {place for place, *_ in _native.private_names() if "." not in place}
    assert symbols == {HELPFUL, *ENDING}


def test_rescue_finds_what_helps_it():
    assert run() == ["rescued: True True"] * 2


def test_without_the_address_of_the_gil_rescue_comes_later():
    told, *lines = run(HELPFUL)
    assert told.startswith("told: _PyRuntime, which is private, is missing")
    assert loss_of(HELPFUL) in told
    assert lines == ["rescued: True True"] * 2


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the interpreter ends no threads any more")
@pytest.mark.parametrize("place", ENDING)
def test_that_threads_of_an_ending_interpreter_are_not_protected_is_told(place, caplog):
    (since, until) = next(entry[3:] for entry in _native.private_names() if entry[0] == place)
    is_expected = since <= sys.version_info[:2] <= until
    _native.set_teller(print)  # of no effect but to look again
    assert [message for message in caplog.messages if place in message] == []
    with absent(names.NAMES[place]):
        _native.set_teller(print)
    assert [loss_of(place) in message for message in caplog.messages if place in message] == [True] * is_expected


def test_where_the_attributes_of_a_function_are():
    """`PyFunctionObject.func_dict`, whose place in the struct is that of the headers of this version."""

    def plain():
        pass

    assert _native.is_plain_function(plain)
    plain.attribute = 1
    assert not _native.is_plain_function(plain)
    del plain.attribute
    assert _native.is_plain_function(plain)


def undefined_symbols(library):
    """What a shared library of ELF, with 64 bits, wants from others."""
    data = pathlib.Path(library).read_bytes()
    start, size, count = (*struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HH", data, 58))
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * number) for number in range(count)]
    for _, kind, _, _, offset, length, link, _, _, entry in headers:
        if kind == 11:  # SHT_DYNSYM
            strings = headers[link][4]
            for at in range(offset, offset + length, entry):
                name, _, _, section = struct.unpack_from("<IBBH", data, at)
                if section == 0:
                    yield data[strings + name : data.index(b"\0", strings + name)].decode()


def test_nothing_else_is_linked_that_is_not_public():
    """A symbol that is missing costs the import, whatever it is for."""
    assert _native.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    linked = {name for name in undefined_symbols(_native.__file__) if re.match("_?Py", name)}
    assert len(linked) > 50
    assert {name for name in linked if name.startswith("_")} - DOCUMENTED - MACROS == set()
