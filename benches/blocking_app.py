"""The application of benches/rescue.py: each path calls what blocks, on the loop, as nobody should write it.

What waits is told to take `BENCH_SECONDS`; what computes in pieces begins another one until they are over.
"""

import asyncio
import functools
import hashlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
SLOW = os.environ.get("BENCH_SLOW", "")  # the address of a server that takes so long to answer
POSTGRES = os.environ.get("BENCH_POSTGRES", "")  # postgresql+psycopg://...
SHORT = 0.05
FILE_SIZE = 1 << 28


def for_a_while(call: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        call()


# -- what waits -----------------------------------------------------------------------------------------------------


def sleep() -> None:
    time.sleep(SECONDS)


def use_requests() -> None:
    import requests

    requests.get(SLOW)


def use_httpx() -> None:
    import httpx

    httpx.get(SLOW)


def use_subprocess() -> None:
    subprocess.run(["sleep", str(SECONDS)], check=True)


@functools.cache
def engine() -> Any:
    import sqlalchemy

    return sqlalchemy.create_engine(POSTGRES)


def use_sqlalchemy() -> None:
    import sqlalchemy

    with engine().connect() as connection:
        connection.execute(sqlalchemy.text(f"select pg_sleep({SECONDS})"))


def read_files() -> None:
    with open(big_file(), "rb", closefd=False) as file:

        def read() -> None:
            file.seek(0)
            file.read()

        for_a_while(read)


@functools.cache
def big_file() -> int:
    """A descriptor of a file of zeros that no folder names, and that takes no place on the disk."""
    descriptor = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR)
    os.truncate(descriptor, FILE_SIZE)
    return descriptor


# -- what computes --------------------------------------------------------------------------------------------------


@functools.cache
def matrix() -> Any:
    import numpy

    return numpy.ones((8192, 8192), numpy.float32)


def multiply() -> None:
    vector = matrix()[0]
    for_a_while(lambda: matrix() @ vector)


@functools.cache
def numbers() -> Any:
    import numpy

    return numpy.random.default_rng(1).random(10_000_000)


def sort() -> None:
    import numpy

    for_a_while(lambda: numpy.sort(numbers()))


def hash_bcrypt() -> None:
    import bcrypt

    for_a_while(lambda: bcrypt.hashpw(b"password", bcrypt.gensalt(12)))


def hash_pbkdf2() -> None:
    for_a_while(lambda: hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_000_000))


def loop_in_python() -> None:
    end = time.monotonic() + 2 * SECONDS
    while time.monotonic() < end:
        pass


# -- the paths ------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """One way to block."""

    call: Callable[[], None]
    at_once: int
    """Requests at the same time."""
    packages: tuple[str, ...] = ()
    prepare: Callable[[], object] = lambda: None

    def missing(self) -> str:
        """What it cannot do without, "" for nothing."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed"
        return "BENCH_POSTGRES names no server" if self.call is use_sqlalchemy and not POSTGRES else ""


KINDS = {
    "time.sleep": Kind(sleep, 4),
    "requests": Kind(use_requests, 4, ("requests",)),
    "httpx": Kind(use_httpx, 4, ("httpx",)),
    "subprocess": Kind(use_subprocess, 4),
    "sqlalchemy, psycopg": Kind(use_sqlalchemy, 4, ("sqlalchemy", "psycopg")),
    "read a big file": Kind(read_files, 4, prepare=big_file),
    "numpy: A @ x": Kind(multiply, 2, ("numpy",), matrix),
    "numpy: sort": Kind(sort, 2, ("numpy",), numbers),
    "bcrypt": Kind(hash_bcrypt, 2, ("bcrypt",)),
    "pbkdf2": Kind(hash_pbkdf2, 2),
    "Python, twice as long": Kind(loop_in_python, 1),
}
BLOCK, TO_THREAD = "/block", "/to-thread"


async def answer(path: str) -> bytes:
    if path.startswith("/kind/"):
        kind = list(KINDS.values())[int(path.removeprefix("/kind/"))]
        kind.call()
    elif path.startswith("/prepare/"):
        list(KINDS.values())[int(path.removeprefix("/prepare/"))].prepare()
    elif path == BLOCK:
        time.sleep(SHORT)
    elif path == TO_THREAD:
        await to_thread(time.sleep, SHORT)
    elif path == "/cpu":
        return repr(time.process_time()).encode()
    return b"ok"


async def to_thread(call: Callable[..., object], *args: object) -> None:
    import everloop

    ours = isinstance(asyncio.get_running_loop(), everloop.EventLoop)
    await (everloop.to_thread if ours else asyncio.to_thread)(call, *args)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application."""
    assert scope["type"] == "http"
    body = await answer(scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
