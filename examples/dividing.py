"""`rescue="all"`: Python that computes is divided, so that others go on; `everloop.whole()` keeps a piece in one.

Prints that a task was served while another one computed, and that nobody saw the accounts in between.
"""

import asyncio

import everloop

accounts = {"ada": 100, "bob": 0}
served = asyncio.Event()


async def compute() -> None:
    with everloop.whole():  # never divided here
        for _ in range(100):
            accounts["ada"] -= 1
            accounts["bob"] += 1
    while not served.is_set():  # would last for ever on any other loop
        pass
    print("computed until somebody else was served")


async def serve() -> None:
    print("served; the accounts are right?", sum(accounts.values()) == 100)
    served.set()


async def main() -> None:
    await asyncio.gather(compute(), serve())


everloop.run(main(), rescue="all")
