"""to_interpreter: a coroutine has a subinterpreter call a function."""

import asyncio
import concurrent.futures
import os
import pickle
import sys
import threading

import pytest

import everloop
from support import gates, wait_until

needs_interpreters = pytest.mark.skipif(sys.version_info < (3, 14), reason="subinterpreters came with CPython 3.14")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there are subinterpreters")
def test_an_older_cpython_has_none_and_says_what_to_use(run):
    async def main():
        await everloop.to_interpreter(int)

    with pytest.raises(RuntimeError, match=r"needs CPython 3\.14 or newer, and this is 3\.1\d.*to_process"):
        run(main())


MODULE = """
import os
import threading

OFFSET = 40


class Unloadable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def add(number, more=0):
    return OFFSET + number + more


def where():
    from concurrent import interpreters

    return os.getpid(), interpreters.get_current().id


def fail():
    raise KeyError(OFFSET)


def raise_unloadable():
    raise Unloadable(OFFSET, 2)


def return_lock():
    return threading.Lock()


def import_everloop():
    import everloop


def leave():
    raise SystemExit(OFFSET)
"""


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A module that a subinterpreter can import, and beside it one that it cannot."""
    (tmp_path / "far_module.py").write_text(MODULE)
    (tmp_path / "near_module.py").write_text("import everloop\nOFFSET = 1\ndef add(): return OFFSET\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("far_module")
    for name in ("far_module", "near_module"):
        sys.modules.pop(name, None)


@needs_interpreters
def test_a_subinterpreter_calls_the_function(run, far):
    async def main():
        assert await everloop.to_interpreter(far.add, 1, more=1) == 42
        return await everloop.to_interpreter(far.where)

    process, interpreter = run(main())
    assert process == os.getpid()
    assert interpreter != 0


@needs_interpreters
def test_a_function_that_uses_nothing_from_outside_may_stand_anywhere(run):
    async def main():
        return await everloop.to_interpreter(lambda numbers: sum(numbers), [1, 2])

    assert run(main()) == 3


@needs_interpreters
def test_an_exception_comes_back_with_the_traceback_from_there(run, far):
    async def main():
        await everloop.to_interpreter(far.fail)

    with pytest.raises(KeyError) as caught:
        run(main())
    assert caught.value.args == (40,)
    assert "raise KeyError(OFFSET)" in str(caught.value.__cause__)


@needs_interpreters
def test_what_does_not_pickle_fails_that_call_only(run, far):
    captured = 1

    async def main():
        with pytest.raises(TypeError, match=r"cannot pickle the arguments of add"):
            await everloop.to_interpreter(far.add, threading.Lock())
        with pytest.raises(TypeError, match=r"cannot pickle what return_lock returned"):
            await everloop.to_interpreter(far.return_lock)
        with pytest.raises(
            RuntimeError, match=r"raised an exception that cannot be pickled: far_module\.Unloadable: 40"
        ):
            await everloop.to_interpreter(far.raise_unloadable)
        with pytest.raises(TypeError, match=r"cannot send .*<lambda> to the subinterpreter.*does not import everloop"):
            await everloop.to_interpreter(lambda: captured)
        return await everloop.to_interpreter(far.add, 2)

    assert run(main()) == 42


@needs_interpreters
def test_a_module_that_imports_everloop_cannot_come_along(run, far):
    near = __import__("near_module")

    async def main():
        with pytest.raises(ImportError, match=r"cannot import add in the subinterpreter.*cannot load everloop"):
            await everloop.to_interpreter(near.add)
        with pytest.raises(ImportError) as caught:
            await everloop.to_interpreter(far.import_everloop)
        return caught.value.__notes__

    assert "cannot load everloop" in run(main())[0]


@needs_interpreters
def test_a_module_that_is_not_found_over_there_is_named(run, far, tmp_path, monkeypatch):
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "later_module.py").write_text("ONE = 1\ndef one(): return ONE\n")

    async def main():
        assert await everloop.to_interpreter(far.add, 2) == 42
        # sys.path is what it was when the pool was made
        monkeypatch.syspath_prepend(tmp_path / "later")
        later = __import__("later_module")
        with pytest.raises(ImportError, match=r"cannot import one in the sub.*: .*No module named 'later_module'"):
            await everloop.to_interpreter(later.one)

    try:
        run(main())
    finally:
        sys.modules.pop("later_module", None)


@needs_interpreters
def test_system_exit_ends_the_call_not_the_interpreter(run, far):
    async def main():
        try:
            await everloop.to_interpreter(far.leave)
        except SystemExit as error:
            return error.code, await everloop.to_interpreter(far.add, 2)

    assert run(main()) == (40, 42)


@needs_interpreters
def test_each_loop_has_its_own_pool_which_ends_with_it(far):
    def pools():
        return [thread for thread in threading.enumerate() if thread.name.startswith("everloop-interpreter")]

    for _ in range(2):
        everloop.run(everloop.to_interpreter(far.add, 1))
        wait_until(lambda: not pools(), "the end of the pool")


@needs_interpreters
def test_the_standard_librarys_pool_of_subinterpreters_is_an_executor_too(run):
    """It is a ThreadPoolExecutor, but a context cannot go along."""

    def interpreter():
        from concurrent import interpreters

        return interpreters.get_current().id

    async def main():
        with concurrent.futures.InterpreterPoolExecutor(1) as executor:
            return await everloop.to_executor(executor, interpreter)

    assert run(main()) != interpreter()


def test_arguments_are_pickled_before_anything_is_started(run):
    class Unpicklable:
        def __reduce__(self):
            raise pickle.PicklingError("on purpose")

    async def main():
        await everloop.to_interpreter(int, Unpicklable())

    with pytest.raises((TypeError, RuntimeError), match=r"on purpose|needs CPython 3\.14"):
        run(main())


@pytest.mark.parametrize("f", [42, asyncio.sleep])
def test_what_it_cannot_call_is_refused_by_its_name(run, f):
    async def main():
        await everloop.to_interpreter(f)

    with pytest.raises(TypeError, match=r"everloop\.to_interpreter\(\) (needs a function|calls functions)"):
        run(main())


@needs_interpreters
def test_queued_work_that_is_cancelled_never_starts(far, tmp_path):
    """Every processor has its interpreter, so more calls than that must wait."""
    path = tmp_path / "touched"

    async def main():
        with gates(1) as [gate]:
            readers = [
                asyncio.create_task(everloop.to_interpreter(os.read, gate.reader, 1))
                for _ in range(os.process_cpu_count())
            ]
            queued = asyncio.create_task(everloop.to_interpreter(os.mkdir, str(path)))
            await asyncio.sleep(0)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            for _ in readers:
                gate.open()
            await asyncio.gather(*readers)

    everloop.run(main())
    assert not path.exists()
