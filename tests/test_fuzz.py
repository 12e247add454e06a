"""The fuzzer (`python tests/fuzz`): a seed is a program, asyncio runs them all, and faults are found and shrunk."""

import asyncio
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import threading
import warnings

import pytest

from fuzz import leftovers, surroundings
from fuzz.comparing import compare
from fuzz.listing import listing
from fuzz.operations import OPERATIONS
from fuzz.programs import Operation, Program, body_size, from_data, generate, to_data
from fuzz.running import run_program
from fuzz.shrinking import shrink
from fuzz.ways import WAYS
from fuzz.witness import Witness
from support import Gate, frequent_switches, wait_until

FUZZ = pathlib.Path(__file__).with_name("fuzz")
SECONDS = 240  # for a campaign that finds, and shrinks, a fault, on a busy machine


def fuzz(*arguments):
    """Run the command; returns its exit status and what it printed."""
    process = subprocess.run(
        [sys.executable, FUZZ, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return process.returncode, process.stdout


def operations_of(program):
    """All operations of a program, also those in bodies."""
    bodies = list(program.tasks)
    while bodies:
        for operation in bodies.pop():
            yield operation
            bodies += operation.bodies


# ---- programs


def test_a_seed_always_makes_the_same_program():
    status, listed = fuzz("--seed", 7, "--count", 3, "--list")
    assert status == 0
    for seed in (7, 8, 9):
        assert generate(seed) == generate(seed)
        assert listing(generate(seed), source=False) in listed  # another process, another hash of strings
    assert generate(7) != generate(8)


def test_a_program_can_be_written_down_and_read_again():
    program = generate(7)
    assert from_data(json.loads(json.dumps(to_data(program)))) == program


def test_all_operations_and_all_ways_to_block_are_generated():
    assert len(OPERATIONS) >= 35
    assert len(WAYS) >= 48
    found = [operation for seed in range(500) for operation in operations_of(generate(seed))]
    assert {operation.name for operation in found} == set(OPERATIONS)
    assert {operation.way for operation in found} == set(WAYS)


def test_every_operation_works_on_asyncio_and_gives_the_same_twice():
    inside = (Operation("block"),)
    program = Program(
        tuple(
            (Operation(name, delay=0.001, count=2, bodies=(inside,) * min(kind.most_bodies, 2)),)
            for name, kind in OPERATIONS.items()
        )
    )
    first, second = (run_program(program, "asyncio") for _ in range(2))
    assert compare(first, second) == []
    assert len(first.record) > len(OPERATIONS)
    assert all(results for results in first.record.values())


def test_every_way_to_block_works_on_asyncio_and_gives_the_same_twice():
    program = Program((tuple(Operation("block", way, delay=0.001) for way in WAYS),))
    first, second = (run_program(program, "asyncio") for _ in range(2))
    assert compare(first, second) == []
    assert len(first.record[(0,)]) == len(WAYS)


# ---- shrinking


def test_a_program_is_shrunk_to_what_fails():
    def fails(program):
        return any(operation.way == "poll" and operation.name == "lock" for operation in operations_of(program))

    program = next(program for program in map(generate, range(10_000)) if fails(program))
    assert program.size > 1
    assert shrink(program, fails, seconds=60).tasks == ((Operation("lock", "poll"),),)


def test_two_operations_that_fail_together_are_kept():
    def fails(program):
        names = {operation.name for operation in operations_of(program)}
        return {"lock", "queue"} <= names and program.surroundings.eager

    program = next(program for program in map(generate, range(10_000)) if fails(program))
    smallest = shrink(program, fails, seconds=60)
    assert fails(smallest)
    assert sum(map(body_size, smallest.tasks)) == 2


# ---- what is looked at


def test_two_steps_at_once_are_seen():
    witness = Witness(loop=None)
    enough = threading.Event()

    def step(name):
        while not enough.is_set():
            witness.alone(name)

    threads = [threading.Thread(target=step, args=(name,)) for name in ("first", "second")]
    with frequent_switches():
        for thread in threads:
            thread.start()
        wait_until(lambda: any("two steps at once" in fault for fault in witness.faults), "a fault")
    enough.set()
    for thread in threads:
        thread.join()


def test_what_a_program_leaves_behind_is_seen(monkeypatch):
    monkeypatch.setattr(leftovers, "PATIENCE", 0)
    faults, gate, loop = [], Gate(), asyncio.new_event_loop()
    with leftovers.noticed(faults):
        pass
    assert faults == []

    with leftovers.noticed(faults):
        thread = threading.Thread(target=gate.wait, name="one that waits")
        thread.start()
        reader, writer = os.pipe()
        leftovers.remember(loop)
    gate.open()
    thread.join()
    for close in (gate.close, loop.close, lambda: os.close(reader), lambda: os.close(writer)):
        close()
    assert [fault for fault in faults if "thread one that waits" in fault]
    assert [fault for fault in faults if "descriptor" in fault and "pipe" in fault]
    assert [fault for fault in faults if "loop" in fault]


def test_what_is_logged_or_warned_of_is_a_fault():
    faults = []
    with surroundings.listening(faults):
        logging.getLogger("asyncio").error("something happened")
        warnings.warn("be warned", ResourceWarning, stacklevel=1)
    assert faults == ["logged by asyncio: something happened", "ResourceWarning: be warned"]


# ---- faults that were planted


@pytest.mark.patience(SECONDS + 10)
@pytest.mark.parametrize(
    ("loop", "told"),
    [
        ("MixesContexts", "the context is that of"),
        ("MixesOrder", "right: .*\n.* got: "),
        ("LeavesTasks", "tasks that have not ended"),
    ],
)
def test_a_fault_that_was_planted_is_found_and_shrunk(loop, told, tmp_path):
    check_campaign(loop, told, tmp_path, "--seed", 0, "--count", 100, "--patience", 20)


# a program for each of these, since one that stands still costs its patience, again and again
@pytest.mark.patience(SECONDS + 10)
@pytest.mark.parametrize(
    ("loop", "told", "needed"),
    [
        ("LosesWakeUps", "stood still for", Operation("coroutine_from_a_thread", bodies=((),))),
        ("DiesOfSignals", "crashed: exit status -10", Operation("signal")),
    ],
)
def test_a_program_that_never_ends_or_crashes_is_shrunk(loop, told, needed, tmp_path):
    program = Program(((needed, Operation("event")),))
    file = tmp_path / "program.json"
    file.write_text(json.dumps(to_data(program)))
    smallest = check_campaign(loop, told, tmp_path, "--program", file, "--count", 1, "--patience", 2)
    assert [operation.name for body in smallest.tasks for operation in body] == [needed.name]


def check_campaign(loop, told, directory, *arguments):
    """A fault is found on this loop, told so, and shrunk to one operation; returns the program that is left."""
    status, printed = fuzz(
        *arguments,
        *("--loop", f"fuzz.planted:{loop}", "--save", directory),
        *("--most-failures", 1, "--shrink-seconds", 50),
    )
    assert status == 1, printed
    assert re.search(told, printed), printed
    [file] = directory.glob("*.json")
    smallest = from_data(json.loads(file.read_text()))
    assert smallest.size <= 3, printed
    assert f"--program {file}" in printed
    assert listing(smallest) in printed
    return smallest
