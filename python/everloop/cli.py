"""The command: `python -m everloop` runs a program on everloop, and its `def` endpoints on everloop's threads."""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from .bridge.threads.anyio_threads import switch_anyio_pool
from .takeover import take_over
from .top.commands import COMMANDS

__all__ = ["main"]

EXAMPLES = """examples:
  python -m everloop program.py --its --options
  python -m everloop --rescue -m uvicorn app:app
  python -m everloop top 4711
  python -m everloop dump /run/app/4711.sock

`top` and `dump` look into a process that listens (EVERLOOP_LISTEN). A program of such a name is ./top, or -- top.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a Python program as `python` does, with everloop as the event loop that asyncio makes.

    Or looks into a process, if the first argument is `top` or `dump`.

    Args:
        arguments: The arguments of the command; None: those of this process.

    Raises:
        SystemExit: the program has ended so, or the arguments make no sense.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for name, command in COMMANDS.items():
        if arguments[:1] == [name]:
            raise SystemExit(command(arguments[1:]))

    parser = argparse.ArgumentParser(
        prog="everloop",
        description="Runs a Python program on everloop: asyncio.run, asyncio.Runner and uvicorn's command take it, "
        "also in processes that the program starts. One that runs on another loop after all is told so.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rescue", action="store_true", help="put steps aside that block, while others go on")
    parser.add_argument(
        "--rescue-all", action="store_true", help="the same, and divide those that compute in Python for long"
    )
    parser.add_argument(
        "--no-anyio-pool", action="store_true", help="leave anyio (FastAPI's and Starlette's `def`) its own threads"
    )
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="a module to run, and its arguments")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="FILE ...", help="a file to run, and its arguments")
    options = parser.parse_args(arguments)
    sys.argv = options.module or options.rest[options.rest[:1] == ["--"] :]
    if not sys.argv:
        parser.error("nothing to run: give a file, or -m and a module")

    # for processes that this one starts, too
    if options.rescue or options.rescue_all:
        os.environ["EVERLOOP_RESCUE"] = "all" if options.rescue_all else "1"
    os.environ["EVERLOOP_ANYIO_POOL"] = "0" if options.no_anyio_pool else "1"
    os.environ.setdefault("UVICORN_LOOP", "everloop:new_event_loop")
    switch_anyio_pool()
    take_over()

    if options.module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
        runpy.run_path(sys.argv[0], run_name="__main__")
