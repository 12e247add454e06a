"""Learned sites: where a step was rescued once, it is put aside from then on before it blocks."""

import asyncio
import contextlib
import functools
import gc
import operator
import os
import queue
import signal
import sys
import threading
import types
import weakref

import pytest

import everloop
from everloop import _native
from support import gates, hand_offs, local_events, run_against, spin, wait_aside


def test_a_rescued_site_hands_off_at_the_call_from_then_on(rescuing_loop, gate, witness):
    def wait():
        return os.read(gate.reader, 1)

    for _ in range(5):
        assert run_against(rescuing_loop, witness, wait, gate.open) == b"o"
    statistics = rescuing_loop.statistics()
    assert statistics["rescues"] >= 1
    assert statistics["learned"] >= 4
    assert statistics["learned_sites"] >= 1


def test_an_exception_at_a_learned_site_resumes(rescuing_loop, gate, peer, witness):
    def call(function):
        return function(1)

    def call_and_catch(function):
        try:
            return call(function)
        except ConnectionResetError:
            with witness:
                return "caught"

    read = functools.partial(os.read, gate.reader)
    assert run_against(rescuing_loop, witness, lambda: call_and_catch(read), gate.open) == b"o"
    assert run_against(rescuing_loop, witness, lambda: call_and_catch(peer.connection.recv), peer.reset) == "caught"
    assert hand_offs(rescuing_loop) >= 2


def test_python_called_at_a_learned_site_runs_alone(rescuing_loop, gate, witness):
    """The same place of the code calls something else next time: only what blocks may be put aside."""

    def call(function):
        return function()

    def python():
        with witness:
            spin(0.03)

    async def other():
        with witness:
            spin(0.001)

    for _ in range(2):
        run_against(rescuing_loop, witness, lambda: call(functools.partial(os.read, gate.reader, 1)), gate.open)

    async def main():
        for function in (python, functools.partial(python), lambda: list(map(spin, [0.01] * 3))):
            others = [asyncio.create_task(other()) for _ in range(3)]
            with witness:
                pass
            call(function)
            await asyncio.gather(*others)

    rescuing_loop.run_until_complete(main())


def test_a_learned_site_is_nothing_special_outside_the_loop(rescuing_loop, gate, witness):
    def wait():
        return os.read(gate.reader, 1)

    for _ in range(2):
        run_against(rescuing_loop, witness, wait, gate.open)

    async def on_a_thread():
        await asyncio.to_thread(int)  # it is started: that takes as long as the system likes, and is a wait too
        before = hand_offs(rescuing_loop)
        gate.open()
        assert await asyncio.to_thread(wait) == b"o"
        assert hand_offs(rescuing_loop) == before
        await rescuing_loop.shutdown_default_executor()

    before = hand_offs(rescuing_loop)
    gate.open()
    assert wait() == b"o"
    assert hand_offs(rescuing_loop) == before
    rescuing_loop.run_until_complete(on_a_thread())


def test_a_site_whose_calls_turn_short_is_forgotten(rescuing_loop, gate, witness):
    def wait():
        return os.read(gate.reader, 1)

    run_against(rescuing_loop, witness, wait, gate.open)
    assert rescuing_loop.statistics()["learned_sites"] >= 1

    async def main():
        for _ in range(10_000):
            gate.open()
            wait()
            if not rescuing_loop.statistics()["learned_sites"]:
                return "forgotten"
            await asyncio.sleep(0)

    assert rescuing_loop.run_until_complete(main()) == "forgotten"
    before = hand_offs(rescuing_loop)
    gate.open()
    rescuing_loop.run_until_complete(asyncio.sleep(0, wait()))
    assert hand_offs(rescuing_loop) == before


def test_a_site_is_learned_while_its_first_caller_still_blocks(rescuing_loop):
    """The second caller is handed off at its call; only the first one had to be rescued."""
    with gates(4) as all_gates:

        def wait(gate):
            return os.read(gate.reader, 1)

        async def block(gate):
            wait(gate)

        async def main():
            blocked = [asyncio.create_task(block(gate)) for gate in all_gates]
            while rescuing_loop.statistics()["aside"] < len(all_gates):
                await asyncio.sleep(0.001)
            for gate in all_gates:
                gate.open()
            await asyncio.gather(*blocked)

        rescuing_loop.run_until_complete(main())
    statistics = rescuing_loop.statistics()
    assert (statistics["rescues"], statistics["learned"]) == (1, 3)


def learn_generated(loop, witness, count, kept):
    """Have so many generated functions block, each once, and keep them or not; what refers weakly to their codes."""
    codes = []
    for number in range(count):
        with gates(1) as [gate]:
            names = {"os": os, "reader": gate.reader}
            exec(compile("def wait():\n    return os.read(reader, 1)", f"<template {number}>", "exec"), names)
            codes.append(weakref.ref(names["wait"].__code__))
            kept.append(names["wait"])
            assert run_against(loop, witness, names["wait"], gate.open) == b"o"
    return codes


def test_what_is_learned_keeps_no_code_alive(rescuing_loop, witness):
    """Templates and expressions are compiled anew for each use; what they were learned for goes with them."""
    kept = []
    codes = learn_generated(rescuing_loop, witness, 3, kept)
    learned = rescuing_loop.statistics()["learned_sites"]
    assert learned >= 3
    del kept[:2]
    gc.collect()
    assert [code() is None for code in codes] == [True, True, False]
    assert rescuing_loop.statistics()["learned_sites"] == learned - 2


def test_so_many_sites_are_learned_and_no_more(rescuing_loop):
    """The one that has not been used for longest is forgotten first."""
    rescuing_loop.rescue_after = 0.0005
    most, blocks = 1024, 1030
    names = {}
    exec("\n".join(["def block(read, reader):", *["    read(reader, 1)"] * blocks]), names)
    with gates(1) as [gate]:

        async def block():
            names["block"](os.read, gate.reader)

        async def main():
            blocking = asyncio.create_task(block())
            opened = 0
            while not blocking.done():
                await asyncio.sleep(0)
                if hand_offs(rescuing_loop) > opened:
                    opened += 1
                    gate.open()
            await blocking

        rescuing_loop.run_until_complete(main())
        statistics = rescuing_loop.statistics()
        assert statistics["rescues"] >= most
        assert statistics["learned_sites"] == most


def test_a_signal_handler_at_a_learned_site_leaves_nothing_behind(rescuing_loop, witness):
    """Home waits for its step to come back, and handles the signal; before it looks, it has been granted that."""
    with gates(3) as [gate, blocked, ready]:

        def wait(reader):
            return os.read(reader, 1)

        def handle(signum, frame):
            handling.set()
            for _ in range(1_000_000):
                if _native.is_in_step():
                    wait(ready.reader)
                    granted.set()
                    break

        def block():
            with everloop.blocking():
                blocked.wait()
                back.set()

        def interrupt():
            blocked.open()
            while not back.is_set():
                pass
            while not handling.is_set():
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
                spin(0.001)
            rescuing_loop.stop()

        run_against(rescuing_loop, witness, lambda: wait(gate.reader), gate.open)
        assert any(local_events(wait))
        handling, granted, back = threading.Event(), threading.Event(), threading.Event()
        before = signal.signal(signal.SIGUSR1, handle)
        try:
            ready.open()
            while not granted.is_set():  # not where the signal came a moment too early
                handling.clear()
                back.clear()
                rescuing_loop.call_soon(block)
                rescuing_loop.call_soon(interrupt)
                rescuing_loop.run_forever()
        finally:
            signal.signal(signal.SIGUSR1, before)
        _native.forget_sites()
        assert not any(local_events(wait))


def test_a_relief_thread_that_is_started_at_a_learned_site_takes_over(witness):
    """Its start calls C functions of the standard library too, which may be learned: none of them is the step's own."""

    class Loop(everloop.EventLoop):
        def _start_relief(self):
            if ready is not None:
                ready.open()
                wait(ready.reader)
            super()._start_relief()

    def wait(reader):
        return os.read(reader, 1)

    with contextlib.closing(Loop(rescue=True, rescue_after=0.005)) as loop, gates(2) as [gate, other]:
        ready = None
        run_against(loop, witness, lambda: wait(gate.reader), gate.open)
        before = loop.statistics()
        ready = other
        loop.rescue_after = 60.0  # nobody else would help
        run_against(loop, witness, lambda: wait(gate.reader), gate.open)
        after = loop.statistics()
    assert after["learned"] - before["learned"] == 1
    assert after["rescues"] == before["rescues"]
    assert witness.overlaps == []


# ---- what may block


class Slots:
    """Whatever the interpreter asks of it, C code waits for an item of its queue."""

    def __init_subclass__(cls, queue):
        for name in ["matmul", "rmul", "iadd", "getitem", "contains", "lt", "getattr", "invert", "bool", "enter"]:
            setattr(cls, f"__{name}__", queue.get)

    def __exit__(self, *exc_info):
        pass


def operator_of_two(slots, queue):
    return slots @ 1


def reflected_operator(slots, queue):
    return 2 * slots


def operator_in_place(slots, queue):
    slots += 1
    return slots


def item(slots, queue):
    return slots[1]


def containment(slots, queue):
    return 1 in slots


def comparison(slots, queue):
    return slots < 1


def attribute(slots, queue):
    return slots.anything


def operator_of_one(slots, queue):
    return ~slots


def truth(slots, queue):
    return not slots


def next_item_of_a_loop(slots, queue):
    for found in iter(queue.get, None):
        return found


def unpacked(slots, queue):
    (found,) = map(operator.call, [queue.get])
    return found


def c_function(slots, queue):
    return queue.get()


def c_function_with_unpacked_arguments(slots, queue):
    return queue.get(*(True,))


def c_function_by_keyword(slots, queue):
    return queue.get(block=True)


def object_that_can_be_called(slots, queue):
    return functools.partial(queue.get)()


def class_that_is_called(slots, queue):
    return list(map(operator.call, [queue.get]))


def method_of_what_is_no_python_function(slots, queue):
    return types.MethodType(queue.get, True)()


def entered(slots, queue):
    with slots:
        return True


@pytest.mark.parametrize(
    "block",
    [
        operator_of_two, reflected_operator, operator_in_place, item, containment, comparison, attribute,
        operator_of_one, truth, next_item_of_a_loop, unpacked,
        c_function, c_function_with_unpacked_arguments, c_function_by_keyword,
        object_that_can_be_called, class_that_is_called, method_of_what_is_no_python_function, entered,
    ],
)  # fmt: skip
def test_whatever_blocks_is_learned(rescuing_loop, witness, block):
    statistics = block_four_times(rescuing_loop, witness, block)
    assert (statistics["rescues"], statistics["learned"]) == (1, 3)


def test_a_call_is_rescued_each_time_if_no_event_tells_of_its_end(rescuing_loop, witness):
    def method_with_unpacked_arguments(slots, queue):
        return types.MethodType(queue.get, True)(*())

    statistics = block_four_times(rescuing_loop, witness, method_with_unpacked_arguments)
    assert (statistics["rescues"], statistics["learned"]) == (4, 0)


def block_four_times(loop, witness, block):
    items = queue.SimpleQueue()

    class OfQueue(Slots, queue=items):
        pass

    slots = OfQueue()
    for _ in range(4):
        run_against(loop, witness, lambda: block(slots, items), lambda: items.put(True))
    return loop.statistics()


def test_an_instruction_that_turns_short_is_forgotten_with_its_events(rescuing_loop, witness):
    items = queue.SimpleQueue()

    def wait():
        for found in iter(items.get, None):
            return found

    for _ in range(2):
        run_against(rescuing_loop, witness, wait, lambda: items.put(True))
    assert local_events(wait) == [sys.monitoring.events.INSTRUCTION]

    async def main():
        for _ in range(10_000):
            items.put(True)
            wait()
            if not rescuing_loop.statistics()["learned_sites"]:
                return
            await asyncio.sleep(0)

    rescuing_loop.run_until_complete(main())
    assert local_events(wait) == [0]


def test_an_instruction_that_raises_at_a_learned_site_resumes(rescuing_loop, gate, witness, peer):
    received = iter(functools.partial(peer.connection.recv, 1), b"")

    def receive():
        try:
            for found in received:
                return found
        except ConnectionResetError:
            with witness:
                return "caught"

    assert run_against(rescuing_loop, witness, receive, peer.send) == b"o"
    assert run_against(rescuing_loop, witness, receive, peer.reset) == "caught"
    assert rescuing_loop.statistics()["learned"] >= 1


def test_python_called_by_an_instruction_at_a_learned_site_runs_alone(rescuing_loop, witness):
    items, seen = queue.SimpleQueue(), []

    class Own:
        def __add__(self, other):
            with witness:
                spin(0.03)
            return "own"

    class Blocks:
        __add__ = items.get

    def add(left):
        return left + 1

    for _ in range(2):
        run_against(rescuing_loop, witness, lambda: add(Blocks()), lambda: items.put(True))

    async def other():
        with witness:
            spin(0.001)

    async def main():
        others = [asyncio.create_task(other()) for _ in range(3)]
        seen.append(add(Own()))
        await asyncio.gather(*others)

    rescuing_loop.run_until_complete(main())
    assert seen == ["own"]


def test_c_code_that_calls_python_and_blocks_again_is_put_aside_each_time(rescuing_loop, witness):
    """A database driver does so: it turns a generator, and waits for its server each time that this yields."""
    items, seen = queue.SimpleQueue(), []

    def note(number):
        with witness:
            seen.append(number)

    def numbers():
        for _ in range(3):
            with witness:
                seen.append(None)
            yield True

    async def block(drive):
        drive()

    def call_functions():
        list(map(operator.call, [note, items.get, note, items.get, note], range(1, 6)))

    def turn_a_generator():
        list(map(items.get, numbers()))

    async def play(drive, blocks):
        before = len(seen)
        task = asyncio.create_task(block(drive))
        for number in range(1, blocks + 1):
            while len(seen) < before + number:
                await asyncio.sleep(0)
            await wait_aside(rescuing_loop)
            witness.open_and_linger(lambda: items.put(True))
        await task

    for drive, blocks in ((call_functions, 2), (turn_a_generator, 3)):
        for _ in range(3):
            rescuing_loop.run_until_complete(play(drive, blocks))
        rescues = rescuing_loop.statistics()["rescues"]
        for _ in range(3):
            rescuing_loop.run_until_complete(play(drive, blocks))
        assert rescuing_loop.statistics()["rescues"] == rescues
    assert witness.overlaps == []


def test_python_that_c_code_at_a_learned_site_has_called_is_nothing_special_elsewhere(rescuing_loop, witness):
    items = queue.SimpleQueue()

    def note(_):
        with witness:
            pass

    def drive():
        list(map(operator.call, [note, items.get, note], range(1, 4)))

    for _ in range(3):
        run_against(rescuing_loop, witness, drive, lambda: items.put(True))
    assert local_events(note) == [sys.monitoring.events.PY_RETURN | sys.monitoring.events.PY_YIELD]

    async def main():
        note(0)
        return hand_offs(rescuing_loop)

    before = hand_offs(rescuing_loop)
    assert rescuing_loop.run_until_complete(main()) == before
    assert local_events(note) == [0]
