"""Worker classes for gunicorn that run ASGI applications on everloop: `gunicorn -k everloop.gunicorn.Worker app:app`.

`Worker` is uvicorn's (of the package uvicorn-worker), `AsgiWorker` the one that gunicorn has itself. Both run `def`
endpoints of FastAPI and Starlette on everloop's threads, unless `EVERLOOP_ANYIO_POOL=0`.
"""

import functools
import importlib
import os
from typing import Any

from .bridge.threads.anyio_threads import switch_anyio_pool
from .takeover import make_everloops

__all__ = ["AsgiWorker", "Worker"]  # noqa: F822 - made when gunicorn asks for one


def __getattr__(name: str) -> Any:
    # Neither gunicorn nor uvicorn need be there when this is imported.
    if name == "Worker":
        return _worker()
    if name == "AsgiWorker":
        return _asgi_worker()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _worker() -> type:
    base: Any = _first("uvicorn_worker:UvicornWorker", "uvicorn.workers:UvicornWorker")

    class Worker(_Begins, base):  # type: ignore[misc]
        """uvicorn's worker class for gunicorn, on everloop."""

        CONFIG_KWARGS = base.CONFIG_KWARGS | {"loop": "everloop:new_event_loop"}

    _prepare()
    return _as_public(Worker)


@functools.cache
def _asgi_worker() -> type:
    base: Any = _first("gunicorn.workers.gasgi:ASGIWorker")

    class AsgiWorker(_Begins, base):  # type: ignore[misc]
        """gunicorn's own worker class for ASGI, on everloop."""

        def init_process(self) -> None:
            """Has the base class take the loop that asyncio makes."""
            self.cfg.set("asgi_loop", "asyncio")
            super().init_process()

    _prepare()
    return _as_public(AsgiWorker)


class _Begins:
    """What both do in the process of the worker, before the application is loaded."""

    def init_process(self) -> None:
        """Has asyncio make everloops, and goes on."""
        # Only what is quick: a signal that comes before the base class has set its handlers is lost.
        make_everloops()
        super().init_process()  # type: ignore[misc]


def _prepare() -> None:
    """What takes a moment (anyio is imported), in gunicorn's own process, before it forks."""
    if not os.environ.get("EVERLOOP_ANYIO_POOL", "").strip():
        os.environ["EVERLOOP_ANYIO_POOL"] = "1"
    switch_anyio_pool()


def _first(*places: str) -> Any:
    """The first of these classes that there is."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            reason = error
    needed = "uvicorn-worker" if len(places) > 1 else "gunicorn, version 24 or newer"
    raise ImportError(f"this worker class needs {needed}: install it with pip ({reason})")


def _as_public(worker: type) -> type:
    worker.__module__ = __name__
    worker.__qualname__ = worker.__name__
    return worker
