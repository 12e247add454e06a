"""`run_coroutine_threadsafe`: one thread runs a loop, another gives it a coroutine, waits for the result, and stops it.

Prints 1, then that the loop has stopped.
"""

import asyncio
import threading

from loops import chosen_library


def thread_with_loop(loop: asyncio.AbstractEventLoop) -> None:
    # runs until somebody calls loop.stop()
    loop.run_forever()
    loop.close()
    print("the loop has stopped")


def another_thread(loop: asyncio.AbstractEventLoop) -> None:
    async def do_work() -> int:
        return 1

    # the coroutine may be submitted before the loop runs: it is kept until then
    future = asyncio.run_coroutine_threadsafe(do_work(), loop)
    print(future.result())  # 1

    # stop() is to be called on the loop's own thread
    loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    loop = chosen_library().new_event_loop()
    threads = [threading.Thread(target=target, args=(loop,)) for target in (thread_with_loop, another_thread)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
