"""A loop of your own: `everloop.EventLoop` with its options, `everloop.new_event_loop` for whoever makes it for you.

Prints what the loop that runs the code was set to.
"""

import asyncio

import everloop


async def main() -> None:
    loop = everloop.running_loop()  # raises, and says why, where another kind of loop runs
    print("rescue:", loop.rescue, "after:", loop.rescue_after)


with asyncio.Runner(loop_factory=lambda: everloop.EventLoop(rescue=True, rescue_after=0.05)) as runner:
    runner.run(main())

with asyncio.Runner(loop_factory=everloop.new_event_loop) as runner:
    runner.run(main())
