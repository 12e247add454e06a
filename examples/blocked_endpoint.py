"""One endpoint blocks in `time.sleep`: on everloop with rescue, `/health` is answered all the same.

Run it and it serves the application, and says what to try:

    python examples/blocked_endpoint.py

It can also visit itself, print which endpoint was answered first, and end. On everloop that is `/health`; on asyncio
and uvloop it is `/`, since the blocked endpoint has stopped the loop:

    python examples/blocked_endpoint.py --no-serve
    python examples/blocked_endpoint.py --no-serve --loop asyncio

Or serve it as you would serve your own:

    EVERLOOP_RESCUE=1 uvicorn --app-dir examples --loop everloop:new_event_loop blocked_endpoint:app
"""

import os
import time

from fastapi import FastAPI

SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))

app = FastAPI()


@app.get("/")
async def root():
    time.sleep(SECONDS)
    return {"message": "Hello World"}


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    from serving import main

    os.environ.setdefault("EVERLOOP_RESCUE", "1")  # rescue is by consent: this is the consent
    main(app, serve=True)
