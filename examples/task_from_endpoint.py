"""A `def` endpoint, which FastAPI runs on a thread, gives the loop a task and waits for its result.

The task ends in a callback, the callback fills a `concurrent.futures.Future`, and the endpoint waits for that. Prints
the answer, 222. `task_from_thread.py` shows why everloop answers at once and asyncio when something else wakes it (with
uvicorn, its tick ten times a second).
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def remember_the_loop(app: FastAPI) -> AsyncIterator[None]:
    app.state.loop = asyncio.get_running_loop()
    yield


app = FastAPI(lifespan=remember_the_loop)


async def do_work() -> int:
    return 222


@app.get("/")
def root() -> int:
    # a future that a thread can wait for
    future: Future[int] = Future()

    # hand the task to the loop
    task = app.state.loop.create_task(do_work())

    # when it is done, pass its result on
    def done_callback(task: asyncio.Task[int]) -> None:
        future.set_result(task.result())

    task.add_done_callback(done_callback)

    # blocks this thread, not the loop
    return future.result()


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    from serving import main

    main(app)
