"""The option `--loop`, which the examples share: run one on another loop and see the difference."""

import argparse
import importlib
from types import ModuleType

LOOPS = ("everloop", "asyncio", "uvloop")


def loop_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loop", choices=LOOPS, default="everloop", help="whose event loop to run on (%(default)s)")


def chosen_library() -> ModuleType:
    """The library that the command line names; each has `run` and `new_event_loop`, so examples need no more of it."""
    parser = argparse.ArgumentParser()
    loop_option(parser)
    return importlib.import_module(parser.parse_args().loop)
