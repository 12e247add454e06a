"""A blocking endpoint written as plain `def`: FastAPI runs it on a thread of its own pool.

Prints that `/health` was answered before `/`: on any loop.
"""

import os
import time

from fastapi import FastAPI

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

    main(app)
