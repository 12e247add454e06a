"""Gates: what stops a step that is aside, and what others notice of it, which should be nothing.

A C function that blocks may call Python before it returns: then all calls of Python functions pass a gate. Most
blocking functions never do so, and for those no such gate is open: known by what they are, at the first rescue.
"""

import asyncio
import contextlib
import ctypes
import functools
import importlib.util
import os
import pathlib
import queue
import re
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from support import run_against, run_script, wait_aside, wait_until


def events_everywhere():
    """Our events that all code has now, but for RAISE."""
    monitoring = sys.monitoring
    (tool,) = (tool for tool in range(6) if monitoring.get_tool(tool) == "everloop")
    return monitoring.get_events(tool) & ~monitoring.events.RAISE


STARTS = sys.monitoring.events.PY_START | sys.monitoring.events.PY_RESUME | sys.monitoring.events.PY_THROW


class Slots:
    __slots__ = ("lock",)

    def __init__(self, lock):
        self.lock = lock


class Holder:
    def __init__(self, lock):
        self.slots = Slots(lock)


class Computed:
    """Its lock is the value of a property: only its own code knows which one that is."""

    def __init__(self, lock):
        self._lock, self.asked = lock, []

    @property
    def lock(self):
        self.asked.append(threading.current_thread().name)
        return self._lock


class Generic:
    def __init__(self, lock):
        self._lock, self.asked = lock, []

    def __getattr__(self, name):
        self.asked.append(threading.current_thread().name)
        return getattr(self._lock, name)


class Scene:
    """A lock that is taken, a pipe, a pair of sockets and a queue: one of them is waited for."""

    def __init__(self):
        self.lock = threading.Lock()
        self.lock.acquire()
        self.holder = Holder(self.lock)
        self.reader, self.writer = os.pipe()
        self.files = [self.reader]
        self.near, self.far = socket.socketpair()
        self.queue = queue.SimpleQueue()

    def open(self):
        os.write(self.writer, b"x")
        self.far.send(b"x")
        self.queue.put(None)
        self.lock.release()

    def close(self):
        os.close(self.reader)
        os.close(self.writer)
        self.near.close()
        self.far.close()


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.close()


# ---- what never calls Python


def sleep(scene):
    time.sleep(0.05)


def read(scene):
    os.read(scene.reader, 1)


def read_with_arguments_that_are_calls(scene):
    os.read(int(str(scene.files[0])), max(1, len(scene.files)))


def read_an_unbuffered_file(scene):
    with open(scene.reader, "rb", 0, closefd=False) as file:
        file.read(1)


def receive(scene):
    scene.near.recv(1)


def receive_in_a_chain_over_lines(scene):
    (
        scene
        .near
        .recv(
            1,
        )
    )  # fmt: skip


def poll(scene):
    select.select([scene.reader], [], [])


def get_of_a_queue(scene):
    scene.queue.get()


def wait_for_a_child(scene):
    subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(0.05)"], check=True)


def wait_for_an_event(scene):
    threading.Event().wait(0.05)


def acquire(scene):
    scene.lock.acquire()


def acquire_with_a_time_out(scene):
    scene.lock.acquire(timeout=20)


def acquire_with_arguments_of_any_number(scene):
    arguments = (True, 20)
    scene.lock.acquire(*arguments)


def acquire_what_lies_deep(scene):
    scene.holder.slots.lock.acquire()


def acquire_what_is_closed_over(scene):
    lock = scene.lock

    def inner():
        lock.acquire()

    inner()
    lock.release()


def acquire_what_is_shared_with_an_inner_function(scene):
    lock = scene.lock
    lock.acquire()
    return lambda: lock


def acquire_a_stored_method(scene):
    acquire = scene.lock.acquire
    acquire()


def enter(scene):
    with scene.lock:
        pass
    scene.lock.acquire()


def enter_as(scene):
    with scene.holder.slots.lock as entered:
        assert entered
    scene.lock.acquire()


# More names than an instruction can number without a prefix.
MANY = "\n".join(f"    name_{number} = other_{number}" for number in range(300) for _ in "a")
NAMESPACE = {f"other_{number}": number for number in range(300)}
exec(f"def acquire_behind_many_names(scene):\n{MANY}\n    scene.unusual_name.acquire()", NAMESPACE)


def acquire_behind_many_names(scene):
    scene.unusual_name = scene.lock
    NAMESPACE["acquire_behind_many_names"](scene)


LEAVES = [
    sleep, read, read_with_arguments_that_are_calls, read_an_unbuffered_file, receive, receive_in_a_chain_over_lines,
    poll, get_of_a_queue, wait_for_a_child, wait_for_an_event, acquire, acquire_with_a_time_out,
    acquire_with_arguments_of_any_number, acquire_what_lies_deep, acquire_what_is_closed_over,
    acquire_what_is_shared_with_an_inner_function, acquire_a_stored_method, acquire_behind_many_names, enter, enter_as,
]  # fmt: skip


def look_while_aside(loop, block, scene, look):
    """What `look` returns before, and while the step is aside that `block` blocks."""
    seen = []

    async def main():
        async def step():
            block(scene)

        seen.append(look())
        blocked = asyncio.create_task(step())
        await asyncio.sleep(0)
        await wait_aside(loop)
        seen.append(look())
        scene.open()
        await blocked

    loop.run_until_complete(main())
    assert loop.statistics()["rescues"] + loop.statistics()["learned"] >= 1
    assert events_everywhere() == 0
    return seen


def events_while_aside(loop, block, scene):
    """What all code tells of while the step is aside that `block` blocks."""
    before, aside = look_while_aside(loop, block, scene, events_everywhere)
    assert before == 0
    return aside


@pytest.mark.parametrize("block", LEAVES)
def test_while_a_function_blocks_that_never_calls_python_nothing_is_set_for_all_code(rescuing_loop, scene, block):
    assert events_while_aside(rescuing_loop, block, scene) == 0


def test_the_modules_that_are_known_are_those_of_this_version():
    source = (pathlib.Path(__file__).parent.parent / "crates/native/src/private.rs").read_text()
    names = re.findall(r'"(\w+)"', source.partition("LEAF_MODULES: ")[2].partition("];")[0])
    assert len(names) > 10
    later = {"_zstd"} if sys.version_info < (3, 14) else set()
    assert {name for name in names if importlib.util.find_spec(name) is None} == later


# ---- what may call Python, or cannot be told


def in_map(scene):
    list(map(os.read, [scene.reader], [1]))


def acquire_by_property(scene):
    computed = Computed(scene.lock)
    computed.lock.acquire()
    assert computed.asked == [threading.current_thread().name], "asked by an onlooker"


def acquire_by_getattr(scene):
    generic = Generic(scene.lock)
    generic.acquire()
    assert generic.asked == [threading.current_thread().name], "asked by an onlooker"


def acquire_what_a_call_returns(scene):
    (lambda: scene.lock)().acquire()


def acquire_an_item(scene):
    [scene.lock][0].acquire()


def buffered(scene):
    with open(scene.reader, "rb", closefd=False) as file:
        file.read(1)


@pytest.mark.parametrize(
    "block",
    [in_map, acquire_by_property, acquire_by_getattr, acquire_what_a_call_returns, acquire_an_item, buffered],
)
def test_while_it_cannot_be_told_what_blocks_all_calls_pass_a_gate(rescuing_loop, scene, block):
    assert events_while_aside(rescuing_loop, block, scene) == STARTS


def test_the_gate_of_all_calls_stays_open_between_two_that_need_it_and_closes_when_none_does(rescuing_loop):
    """To open and to close it costs much: every function is instrumented anew."""

    def block():
        list(map(time.sleep, [0.01]))

    async def main():
        left = 0
        while not left:  # the watchdog may have been quicker
            block()
            left = events_everywhere()
            await asyncio.sleep(0)
        while events_everywhere():
            await asyncio.sleep(0.001)
        return left

    assert rescuing_loop.run_until_complete(main()) == STARTS
    assert events_everywhere() == 0


def test_the_gate_of_all_calls_is_closed_while_the_loop_sleeps(rescuing_loop):
    closed = []

    async def main():
        while rescuing_loop.statistics()["rescues"] == 0:
            list(map(time.sleep, [0.01]))
        await rescuing_loop.run_in_executor(None, lambda: closed.append(wait_until(lambda: not events_everywhere())))

    rescuing_loop.run_until_complete(main())
    assert closed


def test_a_blocked_c_function_that_goes_on_in_a_generator_waits_for_the_baton(rescuing_loop, gate, witness):
    """No function begins there: one that was suspended goes on."""

    def numbers():
        yield 1
        with witness:
            yield 2

    def read_all():
        return [b"", *map(lambda_free_read, numbers())]

    lambda_free_read = functools.partial(os.read, gate.reader)
    assert run_against(rescuing_loop, witness, read_all, lambda: os.write(gate.writer, b"xyz"))[0] == b""


# ---- what others notice


def depth():
    """How deep this thread may go."""

    def go(level):
        try:
            return go(level + 1)
        except RecursionError:
            return level

    return go(0)


@pytest.mark.parametrize("block", [read, in_map])
def test_recursion_is_as_deep_as_ever_while_a_step_is_aside(rescuing_loop, scene, block):
    def measured():
        found = []
        thread = threading.Thread(target=lambda: found.append(depth()))
        thread.start()
        thread.join()
        return found[0]

    before, aside = look_while_aside(rescuing_loop, block, scene, measured)
    assert aside == before


@pytest.mark.parametrize("block", [read, in_map])
def test_who_evaluates_frames_is_nobody_s_business(rescuing_loop, scene, block):
    """Debuggers and compilers put their own evaluator there (PEP 523), and take it away whenever they like."""
    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = api._PyInterpreterState_GetEvalFrameFunc.restype = ctypes.c_void_p
    api._PyInterpreterState_GetEvalFrameFunc.argtypes = [ctypes.c_void_p]

    def evaluator():
        return api._PyInterpreterState_GetEvalFrameFunc(api.PyInterpreterState_Get())

    before, aside = look_while_aside(rescuing_loop, block, scene, evaluator)
    assert aside == before


# ---- beside other tools


@contextlib.contextmanager
def another_tool(number=3):
    """A tool of somebody else, which is told of what it asks for."""
    monitoring, events = sys.monitoring, sys.monitoring.events
    monitoring.use_tool_id(number, "another tool")
    for event in (events.INSTRUCTION, events.CALL, events.PY_START):
        monitoring.register_callback(number, event, "".format)  # which takes any arguments
    try:
        yield number
    finally:
        monitoring.set_events(number, 0)
        for event in (events.INSTRUCTION, events.CALL, events.PY_START):
            monitoring.register_callback(number, event, None)
        monitoring.free_tool_id(number)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("scope", ["this code", "all code"])
@pytest.mark.parametrize("learned", [False, True])
def test_a_tool_that_comes_while_a_step_is_aside_takes_no_gate_away(
    rescuing_loop, gate, witness, learned, scope, stays
):
    monitoring, code = sys.monitoring, gate.wait.__func__.__code__
    events = monitoring.events.INSTRUCTION | monitoring.events.CALL | monitoring.events.PY_START
    if learned:
        run_against(rescuing_loop, witness, gate.wait, gate.open)

    def listen(number, events):
        if scope == "this code":
            monitoring.set_local_events(number, code, events)
        else:
            monitoring.set_events(number, events)

    def listen_and_open():
        number = stack.enter_context(another_tool())
        stack.callback(listen, number, 0)
        listen(number, events)
        if not stays:
            listen(number, 0)
        gate.open()

    with contextlib.ExitStack() as stack:
        run_against(rescuing_loop, witness, gate.wait, listen_and_open)
    statistics = rescuing_loop.statistics()
    assert (statistics["rescues"], statistics["learned"]) == (1, int(learned))


def test_whoever_restarts_the_events_of_all_tools_changes_nothing(rescuing_loop, gate, witness):
    def restart_and_open():
        sys.monitoring.restart_events()
        gate.open()

    for _ in range(3):
        run_against(rescuing_loop, witness, gate.wait, restart_and_open)
    statistics = rescuing_loop.statistics()
    assert (statistics["rescues"], statistics["learned"], statistics["aside"]) == (1, 2, 0)


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_whoever_frees_our_tool_id_ends_rescue_with_a_word_and_loses_no_step(taken, learned):
    script = """
        import asyncio, logging, os, sys, time
        import everloop

        told = []  # by another thread: its lines would come between those of this one
        handler = logging.Handler()
        handler.emit = lambda record: told.append(record.getMessage())
        logging.getLogger("everloop").addHandler(handler)
        taken, learned = (argument == "True" for argument in sys.argv[1:])
        reader, writer = os.pipe()

        async def block():
            return os.read(reader, 1)

        async def block_and_open(meanwhile):
            task = asyncio.create_task(block())
            await asyncio.sleep(0)
            while not loop.statistics()["aside"]:
                await asyncio.sleep(0)
            meanwhile()
            os.write(writer, b"o")
            return await task

        def free():
            [number] = [tool for tool in range(6) if sys.monitoring.get_tool(tool) == "everloop"]
            sys.monitoring.free_tool_id(number)
            if taken:
                sys.monitoring.use_tool_id(number, "somebody else")

        async def main():
            if learned:
                await block_and_open(int)
            print(await block_and_open(free))
            before = loop.statistics()
            for _ in range(3):
                time.sleep(0.05)
                os.write(writer, b"o")
                await block()
                await asyncio.sleep(0)
            after = loop.statistics()
            print([after[name] - before[name] for name in ("rescues", "learned")], after["aside"])

        with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=True, rescue_after=0.005)) as runner:
            loop = runner.get_loop()
            loop.slow_callback_duration = 60  # no reports
            runner.run(main())
            while not told:
                time.sleep(0.001)
        print([text[:26] for text in told])
    """
    ran = run_script(script, str(taken), str(learned))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["b'o'", "[0, 0] 0", "['rescue is off from here on']"]
