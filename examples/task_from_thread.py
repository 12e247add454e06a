"""`loop.create_task` from a thread that is not the loop's, while the loop sleeps: everloop runs the task at once.

On asyncio nothing wakes the loop, so the task waits for the next thing that does; on an idle loop for ever. Prints
`answered at once: 222` on everloop; with `--loop asyncio`, that there was no answer until the loop was woken up.
"""

import asyncio
import concurrent.futures
import threading
import time

from loops import chosen_library

PATIENCE = 2


async def do_work() -> int:
    return 222


def ask_from_here(loop: asyncio.AbstractEventLoop) -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    task = loop.create_task(do_work())
    task.add_done_callback(lambda task: future.set_result(task.result()))

    try:
        print("answered at once:", future.result(timeout=PATIENCE))
    except TimeoutError:
        print(f"no answer within {PATIENCE} s: the loop sleeps on")
        loop.call_soon_threadsafe(lambda: None)
        print("answered once woken up:", future.result())


if __name__ == "__main__":
    loop = chosen_library().new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    time.sleep(0.2)  # by now the loop sleeps

    ask_from_here(loop)

    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
