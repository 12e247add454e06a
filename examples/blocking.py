"""`everloop.blocking()`: say that a call will block, and the loop goes on elsewhere while it does.

The call stays where it is, on its own thread: no pool, nothing to pickle, the same thread-locals. Here each call waits
for something that only another task of the same loop will do, so on any other loop this program would never end.
Prints two lines, one for each way to say it.
"""

import asyncio
import threading

import everloop

door = threading.Event()
window = threading.Event()


async def open_both() -> None:
    door.set()
    window.set()


@everloop.blocking()
def wait_for_the_window() -> None:
    window.wait()


async def main() -> None:
    thread = threading.get_ident()
    opening = asyncio.create_task(open_both())

    # around a few lines of a coroutine
    with everloop.blocking():
        door.wait()
    print("the door is open; same thread as before?", threading.get_ident() == thread)

    # or on a function that always blocks
    wait_for_the_window()
    print("the window is open; same thread as before?", threading.get_ident() == thread)

    await opening


if __name__ == "__main__":
    everloop.run(main())
