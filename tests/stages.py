"""The loops that a test is played on: asyncio's own, which says what is right, and everloop in three states.

`run` (a fixture of conftest.py) is one of these after the other; a test hands its main coroutine to it, and asserts
what asyncio does as much as what everloop does.
"""

import asyncio
import threading

import everloop
from support import gates, rescuing_loop

STAGES = ["asyncio", "everloop", "rescue", "aside"]


class Stage:
    def __init__(self, name):
        self.name = name

    def __call__(self, main, **options):
        """Run a coroutine to its end on a loop of its own."""
        if self.name == "aside":
            main = while_home_is_aside(main)
        with asyncio.Runner(loop_factory=self.new_loop, **options) as runner:
            return runner.run(main)

    def new_loop(self):
        match self.name:
            case "asyncio":
                return asyncio.SelectorEventLoop()
            case "rescue":
                return rescuing_loop()
            case _:
                return everloop.EventLoop(rescue=False)

    @property
    def is_asyncio(self):
        return self.name == "asyncio"


async def while_home_is_aside(main):
    """Run it on a relief thread, from beginning to end, while the home thread blocks in a call."""
    with gates(1) as [gate]:

        async def block():
            with everloop.blocking():
                gate.wait()

        home = asyncio.create_task(block())
        await asyncio.sleep(0)
        assert threading.current_thread() is not threading.main_thread()
        try:
            return await main
        finally:
            gate.open()
            await home
