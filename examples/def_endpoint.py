"""A blocking endpoint written as plain `def`: FastAPI runs it on a thread, which is everloop's once that is said.

Prints that `/health` was answered before `/`: on any loop.
"""

import os
import time

from fastapi import FastAPI

import everloop

SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))

app = FastAPI()


@app.get("/")
def root():
    time.sleep(SECONDS)
    return {"message": "Hello World"}


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    from serving import main

    everloop.replace_anyio_pool()  # where an everloop runs; any other loop keeps anyio's own threads
    try:
        main(app)
    finally:
        everloop.restore_anyio_pool()
