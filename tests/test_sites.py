"""Learned sites: where a step was rescued once, it is put aside at the call from then on."""

import asyncio
import functools
import os

from support import (
    gates,
    hand_offs,
    run_against,
    spin,
)


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
    before = hand_offs(rescuing_loop)
    gate.open()
    assert wait() == b"o"

    async def on_a_thread():
        gate.open()
        assert await asyncio.to_thread(wait) == b"o"
        await rescuing_loop.shutdown_default_executor()

    rescuing_loop.run_until_complete(on_a_thread())
    assert hand_offs(rescuing_loop) == before


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
