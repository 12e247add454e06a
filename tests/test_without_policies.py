"""asyncio loses its event loop policies with CPython 3.16; here they are taken away from this one.

Each script runs in a process of its own, which begins as one of 3.16 would.
"""

import textwrap

from support import run_script

WITHOUT_POLICIES = """
import asyncio, sys, threading
from asyncio import events, runners, unix_events

for module in (asyncio, events, unix_events):
    for name in [name for name in vars(module) if "policy" in name.lower()]:
        delattr(module, name)
    module.__dict__.pop("__getattr__", None)  # which gives deprecated names

class Threads(threading.local):
    loop = None

threads = Threads()

def new_event_loop():
    return asyncio.SelectorEventLoop()

def set_event_loop(loop):
    threads.loop = loop

def get_event_loop():
    loop = events._get_running_loop() or threads.loop
    if loop is None:
        raise RuntimeError("There is no current event loop")
    return loop

for function in (new_event_loop, set_event_loop, get_event_loop):
    setattr(events, function.__name__, function)
    setattr(asyncio, function.__name__, function)
"""


def run_without_policies(script):
    ran = run_script(WITHOUT_POLICIES + textwrap.dedent(script))
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_loops_run_and_the_policy_says_what_to_use_instead():
    assert run_without_policies("""
        import everloop

        async def main():
            await asyncio.sleep(0)
            await asyncio.to_thread(int)
            everloop.block_on(asyncio.sleep(0))
            return type(asyncio.get_running_loop()).__module__

        print(everloop.run(main()))
        with asyncio.Runner(loop_factory=everloop.new_event_loop) as runner:
            print(runner.run(main()))
        with everloop.LoopThread() as portal:
            print(portal.run(main()))
        print(everloop.syncify(main)())

        try:
            everloop.EventLoopPolicy
        except AttributeError as error:
            print(error)
    """) == "everloop.loop\n" * 4 + (
        "this Python has no event loop policies: use everloop.run or everloop.new_event_loop\n"
    )


def test_the_command_makes_everloops(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import asyncio

async def main():
    print(type(asyncio.get_running_loop()).__module__)

asyncio.run(main())
with asyncio.Runner() as runner:
    runner.run(main())
""")
    assert (
        run_without_policies(f"""
        from everloop.cli import main

        main([{str(program)!r}])
    """)
        == "everloop.loop\n" * 2
    )
