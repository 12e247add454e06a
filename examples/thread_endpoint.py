"""A blocking call in an endpoint, called on a thread with `everloop.to_thread`.

Prints `Done blocking work!!`, and that `/health` was answered before `/`. On another loop it is `asyncio.to_thread`.
"""

import os
import time

from fastapi import FastAPI

import everloop

SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))

app = FastAPI()


@app.get("/")
async def root():
    def do_blocking_work():
        time.sleep(SECONDS)
        print("Done blocking work!!")

    await everloop.to_thread(do_blocking_work)
    return {"message": "Hello World"}


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    from serving import main

    main(app)
