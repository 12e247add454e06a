"""`run`: a synchronous program calls a coroutine by running a new loop for it. Inside a running loop it is an error.

Prints 1, then the error. `block_on.py` shows what to do instead.
"""

from loops import chosen_library

library = chosen_library()  # everloop.run, or asyncio.run with `--loop asyncio`


async def do_work() -> int:
    return 1


def run_once_more() -> None:
    """Synchronous code that believes no loop is running."""
    work = do_work()
    try:
        print(library.run(work))
    except RuntimeError as error:
        print("RuntimeError:", error)
    finally:
        work.close()


async def call_synchronous_code() -> None:
    run_once_more()


if __name__ == "__main__":
    print(library.run(do_work()))  # 1
    library.run(call_synchronous_code())
