"""A blocking call in an endpoint, moved to the loop's default thread pool with `run_in_executor`.

Prints `Done blocking work!!`, and that `/health` was answered before `/`: on any loop.
"""

import asyncio
import os
import time

from fastapi import FastAPI

SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))

app = FastAPI()


@app.get("/")
async def root():
    loop = asyncio.get_running_loop()

    def do_blocking_work():
        time.sleep(SECONDS)
        print("Done blocking work!!")

    await loop.run_in_executor(None, do_blocking_work)
    return {"message": "Hello World"}


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    from serving import main

    main(app)
