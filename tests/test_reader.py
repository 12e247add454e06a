"""Stacks are read without the GIL, also while C code holds it; where they cannot be read, that is said once."""

import asyncio
import ctypes
import gc
import itertools
import os
import platform
import sys
import threading
import warnings

import pytest

import everloop
from everloop import _native
from support import PATIENCE, Gate, run_script, wait_until


def told(frame):
    """A stack as the interpreter tells it: file, line, qualified name, and the place of the instruction."""
    found = []
    while frame is not None:
        code = frame.f_code
        line, end_line, column, end_column = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
        span = (line, end_line, column, end_column)
        found.append((code.co_filename, frame.f_lineno, code.co_qualname, None if None in span else span))
        frame = frame.f_back
    return found


def names(stack):
    """The functions of a stack, without what they are defined in."""
    return [name.rpartition(".")[2] for _, _, name, _ in stack or []]


class Blocked:
    """A thread that blocks at a gate, in a function that was made for it to do so."""

    def __init__(self, gate, function=None):
        self.gate = gate
        self.thread = threading.Thread(target=function or gate.wait)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: names(self.read())[:1] == ["wait"], "the thread at its gate")
        return self

    def read(self):
        return _native.read_stack(self.thread.native_id)

    def told(self):
        return told(sys._current_frames()[self.thread.ident])

    def __exit__(self, *_):
        self.gate.open()
        self.thread.join()


# ---- a thread that stands still


def test_the_thread_that_asks_finds_itself():
    stack, expected = _native.read_stack(threading.get_native_id()), told(sys._getframe())
    assert names(stack)[0] == "test_the_thread_that_asks_finds_itself"
    assert stack[0][1] == expected[0][1]
    assert stack[1:] == expected[1:]


def test_a_thread_in_a_call_of_c_is_read_as_the_interpreter_tells_it(gate):
    with Blocked(gate) as blocked:
        stack = blocked.read()
        assert stack == blocked.told()
    file, _, name, span = stack[0]
    assert (os.path.basename(file), name) == ("support.py", "Gate.wait")
    # The columns are those of the call.
    assert span[3] - span[2] == len("os.read(self.reader, 1)")


def test_calls_through_c_code_do_not_end_a_stack(gate):
    def outer():
        sorted([1], key=lambda _: next(map(inner, [1])))

    def inner(_):
        gate.wait()

    with Blocked(gate, outer) as blocked:
        assert names(blocked.read())[:4] == ["wait", "inner", "<lambda>", "outer"]
        assert blocked.read() == blocked.told()


def test_generators_and_coroutines_are_frames_of_the_stack(gate):
    class Box:
        def __await__(self):
            yield from generator()

    def generator():
        gate.wait()
        yield

    async def inner():
        async for _ in stream():
            await Box()

    async def stream():
        yield 1

    def outer():
        inner().send(None)

    with warnings.catch_warnings(), Blocked(gate, outer) as blocked:
        warnings.simplefilter("ignore")  # nobody awaits the rest
        assert names(blocked.read())[:5] == ["wait", "generator", "__await__", "inner", "outer"]
        assert blocked.read() == blocked.told()


def test_what_the_interpreter_puts_below_an_init_is_not_shown(gate):
    class Waits:
        def __init__(self, waits):
            if waits:
                gate.wait()

    def outer():
        # The interpreter has its quick way after some calls.
        for waits in [False] * 1000 + [True]:
            Waits(waits)

    with Blocked(gate, outer) as blocked:
        assert names(blocked.read())[:3] == ["wait", "__init__", "outer"]
        assert blocked.read() == blocked.told()


@pytest.mark.parametrize("file", ["größe.py", "Ω/名前.py", "🐍/größe.py", "x" * 900 + "ß.py"])
def test_names_that_are_not_ascii_are_read(gate, file):
    scope = {"gate": gate}
    exec(compile("def ñandú():\n    gate.wait()\n", file, "exec"), scope)
    with Blocked(gate, scope["ñandú"]) as blocked:
        assert blocked.read()[1] == (file, 2, "ñandú", (2, 2, 4, 15))
        assert blocked.read() == blocked.told()


def test_a_file_name_that_is_no_text_is_told_all_the_same(gate):
    class Subclass(str):
        pass

    for file, shown in [("a\udcff.py", "a\ufffd.py"), (Subclass("of a subclass.py"), "of a subclass.py")]:
        scope = {"gate": gate}
        exec(compile("def wait_here():\n    gate.wait()\n", file, "exec"), scope)
        with Blocked(gate, scope["wait_here"]) as blocked:
            assert blocked.read()[1][0] == shown


def test_columns_are_bytes_and_may_reach_over_lines(gate):
    source = "def f():\n    é = '名前', [\n        gate.wait(\n        ),\n    ]\n"
    scope = {"gate": gate}
    exec(compile(source, "columns.py", "exec"), scope)
    with Blocked(gate, scope["f"]) as blocked:
        assert blocked.read()[1] == ("columns.py", 3, "f", (3, 4, 8, 9))


def test_a_deep_stack_is_cut(gate):
    def down(depth):
        if depth:
            down(depth - 1)
        else:
            gate.wait()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        with Blocked(gate, lambda: down(3000)) as blocked:
            assert names(blocked.read()) == ["wait", *["down"] * 999]
    finally:
        sys.setrecursionlimit(limit)


# ---- the GIL and the collector


def test_the_thread_that_holds_the_gil_in_c_code_is_read_and_named(gate):
    go, held = threading.Event(), Gate()
    read = ctypes.PyDLL(None).read

    def holds():
        go.wait()
        read(held.reader, ctypes.create_string_buffer(1), 1)

    holder = threading.Thread(target=holds)
    holder.start()
    interval = sys.getswitchinterval()
    # From here on the GIL is given away by none but this thread, as it begins to look.
    sys.setswitchinterval(100)
    try:
        with Blocked(gate):
            go.set()
            stack = _native.read_holder(holder.native_id, PATIENCE / 2, held.writer)
    finally:
        sys.setswitchinterval(interval)
        holder.join()
        held.close()
    assert names(stack)[0] == "holds"
    assert stack[0][1] == holds.__code__.co_firstlineno + 2


def test_while_nobody_else_runs_the_gil_is_free_as_it_is_read(gate):
    with Blocked(gate) as blocked:
        process = _native.read_process()
        assert {threading.get_native_id(), blocked.thread.native_id} <= set(process["threads"])
        assert process["gil_holder"] is None
        assert not process["gil_locked"]
    assert blocked.thread.native_id not in _native.read_process()["threads"]


def test_a_collection_is_seen():
    seen = []

    def look(phase, _):
        seen.append((phase, _native.read_process()["collecting"]))

    assert not _native.read_process()["collecting"]
    gc.callbacks.append(look)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(look)
    assert seen[0] == ("start", True)
    assert not _native.read_process()["collecting"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no module for it")
def test_of_several_interpreters_the_main_one_is_read(gate):
    from concurrent import interpreters

    others = [interpreters.create() for _ in range(3)]
    try:
        with Blocked(gate) as blocked:
            process = _native.read_process()
            assert {threading.get_native_id(), blocked.thread.native_id} <= set(process["threads"])
            assert blocked.read() == blocked.told()
    finally:
        for other in others:
            other.close()


# ---- what moves


def test_what_is_read_of_threads_that_come_and_go_fits_together():
    """They run code that is gone soon, too, and whose names must not be mixed with another's."""
    source = """def work_{0}(n):
        return work_{0}(n - 1) if n else [str(i) for i in range(20)]
for _ in range(60): work_{0}(8)
"""
    stop, counter = threading.Event(), itertools.count()

    def work():
        for number in itertools.islice(counter, 50):
            exec(compile(source.format(number), f"file_{number}.py", "exec"), {})

    def come_and_go():
        while not stop.is_set():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    makers = [threading.Thread(target=come_and_go) for _ in range(3)]
    for maker in makers:
        maker.start()
    seen = set()
    try:
        for _ in range(300):
            for thread in (_native.read_process() or {"threads": []})["threads"]:
                stack = [frame for frame in _native.read_stack(thread) or [] if frame[0].startswith("file_")]
                if stack:
                    number = stack[0][0].removeprefix("file_").removesuffix(".py")
                    assert names(stack) == [*[f"work_{number}"] * (len(stack) - 1), names(stack)[-1]]
                    assert names(stack)[-1] == "<module>"
                    assert {frame[0] for frame in stack} == {f"file_{number}.py"}
                    assert {frame[1] for frame in stack} <= {0, 1, 2, 3}
                    seen.add(number)
    finally:
        stop.set()
        for maker in makers:
            maker.join()
    assert len(seen) > 1


def test_a_thread_that_has_ended_has_no_stack():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    number = thread.native_id
    thread.join()
    assert _native.read_stack(number) is None
    assert _native.read_stack(0) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_reads_itself():
    assert _native.read_process() is not None  # the parent's reader goes on
    pid = os.fork()
    if pid == 0:
        try:
            own = threading.get_native_id()
            found = names(_native.read_stack(own))[:1] == ["test_a_forked_child_reads_itself"]
            os._exit(0 if found and _native.read_process()["threads"] == [own] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- where it cannot be read

# The kernel refuses process_vm_readv(2) from here on.
FORBID = f"""
    import ctypes, struct, sys

    def forbid():
        number = {310 if platform.machine() == "x86_64" else 270}
        steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        return prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, ctypes.addressof(program), 0, 0) == 0

    if not forbid():
        print("not possible")
        sys.exit()
"""

LOOK = """
    import asyncio, logging, sys, threading
    logging.basicConfig(stream=sys.stdout, format="told: %(message)s")
    from everloop import _native
    import everloop

    for _ in range(2):
        everloop.run(asyncio.sleep(0))
    print("reads:", bool(_native.read_stack(threading.get_native_id())), bool(_native.read_process()))
"""


def run(*parts):
    result = run_script("".join(parts))
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.splitlines()


def test_where_a_loop_runs_it_can_be_read():
    assert run(LOOK) == ["reads: True True"]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of the call is not known")
def test_where_the_system_call_is_forbidden_the_file_is_read():
    lines = run(FORBID, LOOK)
    if lines == ["not possible"]:
        pytest.skip("no filter can be set")
    assert lines == ["reads: True True"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12 publishes nothing")
def test_an_interpreter_that_publishes_nothing_is_not_read_which_is_told_once():
    hide = """
    import ctypes
    ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime").value = b"?"
    """
    told, *others = run(hide, LOOK)
    assert told.startswith("told: stacks cannot be read without the GIL (the interpreter does not publish its layout)")
    assert others == ["reads: False False"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12 publishes nothing")
@pytest.mark.parametrize("word", range(5, 45, 3))
def test_offsets_that_are_wrong_are_found_out(word):
    """Each is made a little larger: what is read then is wrong, or was not needed, but nobody crashes."""
    wrong = f"""
    import ctypes
    at = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime")) + {word} * 8
    ctypes.c_uint64.from_address(at).value += 8
    """
    lines = run(wrong, LOOK)
    assert lines in (["reads: True True"], [lines[0], "reads: False False"])


def test_a_name_that_is_missing_is_told_once():
    rename = """
    from everloop import _native
    _native.rename_private("_PyRuntime", "_renamed_by_a_later_version")
    """
    told, *others = run(rename, LOOK)
    assert told.startswith("told: _PyRuntime, which is private, is missing")
    assert others == ["reads: False False"]


def test_the_step_of_a_loop_is_read():
    async def main():
        return names(_native.read_stack(threading.get_native_id()))

    loop = everloop.EventLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        stack = runner.run(main())
    assert stack[0] == "main"
    assert "run_forever" in stack
