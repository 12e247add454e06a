"""nest_asyncio and its kind: a nested run does what block_on does, and what cannot be turned from outside says so."""

import asyncio
import collections
import heapq

import pytest

import everloop
from support import run_script

PRELUDE = """
import asyncio, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import everloop
import nest_asyncio

async def inner(value=5):
    await asyncio.sleep(0.001)
    return value
"""

# What is run, and what it prints. Each is a process of its own: nest_asyncio patches for good.
SCENES = {
    "applied inside, then run_until_complete": """
async def main():
    nest_asyncio.apply()
    loop = asyncio.get_running_loop()
    return loop.run_until_complete(inner()), asyncio.get_running_loop() is loop
print(everloop.run(main()))
""",
    "applied inside, then asyncio.run": """
async def main():
    nest_asyncio.apply()
    return asyncio.run(inner()), asyncio.run(inner(6))
print(everloop.run(main()))
""",
    "applied before": """
nest_asyncio.apply()
async def main():
    return asyncio.run(inner()), asyncio.get_running_loop().run_until_complete(inner(6))
print(everloop.run(main()))
""",
    "applied before everloop is imported": """
async def main():
    return everloop.run(inner()), asyncio.run(inner(6))
with asyncio.Runner(loop_factory=everloop.new_event_loop) as runner:
    print(runner.run(main()))
""",
    "with the policy": """
asyncio.set_event_loop_policy(everloop.EventLoopPolicy())
nest_asyncio.apply()
async def main():
    assert isinstance(asyncio.get_running_loop(), everloop.EventLoop)
    return asyncio.run(inner()), asyncio.run(inner(6))
print(asyncio.run(main()))
""",
    "three deep, others go on": """
nest_asyncio.apply()
seen = []
async def deep(depth):
    if depth:
        asyncio.run(deep(depth - 1))
    else:
        event.set()
        await other
async def beside():
    await event.wait()
    seen.append("beside")
async def main():
    global event, other
    event, other = asyncio.Event(), asyncio.create_task(beside())
    asyncio.run(deep(3))
    return seen, isinstance(asyncio.get_running_loop(), everloop.EventLoop)
print(everloop.run(main()))
""",
    "another loop inside a step": """
nest_asyncio.apply()
async def main():
    loop = everloop.new_event_loop()
    try:
        return loop.run_until_complete(inner()), asyncio.get_running_loop() is not loop
    finally:
        loop.close()
print(everloop.run(main()))
""",
    "run_forever inside a step": """
nest_asyncio.apply()
async def main():
    try:
        asyncio.get_running_loop().run_forever()
    except RuntimeError as error:
        return str(error), isinstance(asyncio.get_running_loop(), everloop.EventLoop)
print(everloop.run(main()))
""",
}
OUTPUT = {
    "applied inside, then run_until_complete": "(5, True)",
    "applied inside, then asyncio.run": "(5, 6)",
    "applied before": "(5, 6)",
    "applied before everloop is imported": "(5, 6)",
    "with the policy": "(5, 6)",
    "three deep, others go on": "(['beside'], True)",
    "another loop inside a step": "(5, True)",
    "run_forever inside a step": "('This event loop is already running', True)",
}


@pytest.mark.parametrize("rescue", ["0", "1"], ids=["plain", "rescue"])
@pytest.mark.parametrize("scene", SCENES)
def test_nest_asyncio(scene, rescue):
    prelude = PRELUDE
    if scene == "applied before everloop is imported":
        prelude = PRELUDE.replace(
            "import everloop\nimport nest", "import nest_asyncio; nest_asyncio.apply(); import everloop\nimport nest"
        )
    ran = run_script(prelude + SCENES[scene], EVERLOOP_RESCUE=rescue)
    assert (ran.returncode, ran.stdout.strip()) == (0, OUTPUT[scene]), ran.stderr


def test_without_it_a_nested_run_is_refused_as_on_asyncio(loop):
    async def main():
        coroutine = asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="already running"):
                loop.run_until_complete(coroutine)
        finally:
            coroutine.close()
        assert asyncio.get_running_loop() is loop
        assert not hasattr(loop, "_nest_patched")

    loop.run_until_complete(main())


# ---- what loops of asyncio's are turned with


@pytest.mark.parametrize(
    "turn",
    [
        lambda loop: loop._run_once(),
        lambda loop: loop._selector.select(0),
        lambda loop: loop._process_events([]),
        lambda loop: loop._ready.popleft(),
        lambda loop: loop._ready.clear(),
        lambda loop: loop._scheduled.clear(),
        lambda loop: heapq.heappush(loop._scheduled, None),
        lambda loop: setattr(loop, "_ready", collections.deque([None])),
    ],
)
def test_what_would_turn_it_from_outside_says_that_it_cannot(loop, turn):
    with pytest.raises((NotImplementedError, AttributeError, TypeError), match=r"everloop|heap"):
        turn(loop)


@pytest.mark.parametrize("place", ["instance", "class"])
def test_what_replaces_its_turn_is_refused(place):
    class Loop(everloop.EventLoop):
        pass

    loop = Loop()
    try:
        (loop if place == "instance" else Loop)._run_once = lambda *args: None
        with pytest.raises(RuntimeError, match="_run_once"):
            loop.run_forever()
    finally:
        loop.close()


def test_its_queues_can_be_looked_at(loop):
    soon, later = loop.call_soon(int), loop.call_later(60, int)
    assert (len(loop._ready), list(loop._ready)) == (1, [soon])
    assert (len(loop._scheduled), list(loop._scheduled)) == (1, [later])


def test_a_handle_that_is_queued_by_others_runs(loop):
    seen = []
    loop._ready.append(asyncio.Handle(seen.append, ["ran"], loop))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["ran"]
