"""`python -m everloop --check`: whether everloop works here, and what its options are."""

import asyncio
import os
import platform
import select
import threading
import warnings
from collections.abc import Callable

from . import _native, environment, listening
from .bridge.threads.anyio_threads import replace_anyio_pool, restore_anyio_pool
from .loop import EventLoop

__all__ = ["run"]

PATIENCE = 2.0  # seconds that a step blocks which should be rescued


def run() -> int:
    """Prints what was found; 0 if everything works that the program has asked for, else 1."""
    print(f"everloop on {platform.python_implementation()} {platform.python_version()}, {platform.platform()}")
    works = True
    for name, look in LOOKS.items():
        try:
            good, text = look()
        except Exception as error:
            good, text = False, f"{type(error).__name__}: {error}"
        works = works and good
        print(f"  {'ok  ' if good else 'FAIL'}  {name}: {text}")
    print("options:")
    for option in environment.OPTIONS.values():
        try:
            print(f"        {option.name}: {_shown(option)}")
        except ValueError as error:
            works = False
            print(f"  FAIL  {option.name}: {error}")
    for name, meant in environment.unknown():
        print(f"  note  {name} is none of everloop's variables" + (f": did you mean {meant}?" if meant else ""))
    print("everloop works here" if works else "not everything works here")
    return 0 if works else 1


def _shown(option: environment.Option) -> str:
    value, text = option.value(), os.environ.get(option.variable, "").strip()
    shown = {True: "on", False: "off", None: option.default}.get(value, value)
    return f"{shown} ({option.variable}={text})" if text else f"{shown}"


def _loop() -> tuple[bool, str]:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    good = isinstance(loop, EventLoop)
    return good, "asyncio.run makes an everloop" if good else f"asyncio.run makes {type(loop).__qualname__}"


def _rescue() -> tuple[bool, str]:
    reader, writer = os.pipe()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(os.write, writer, b"o")  # runs only once this step is aside
        select.select([reader], [], [], PATIENCE)

    report, told = environment.report(), []
    _native.set_report_mode(environment.REPORTS.index("off"))
    try:
        with warnings.catch_warnings(record=True) as caught, asyncio.Runner(loop_factory=_rescuing) as runner:
            warnings.simplefilter("always")
            loop = runner.get_loop()
            runner.run(main())
            told = [str(warning.message) for warning in caught]
        good = isinstance(loop, EventLoop) and loop.statistics()["rescues"] > 0
    finally:
        _native.write_notes()
        _native.set_report_mode(environment.REPORTS.index(report))
        os.close(reader)
        os.close(writer)
    return good, "a step that blocks is put aside" if good else "; ".join(told) or "a step that blocks is not put aside"


def _rescuing() -> EventLoop:
    return EventLoop(rescue=True, rescue_after=0.005)


def _stacks() -> tuple[bool, str]:
    if _native.read_stack(threading.get_native_id()) is None:
        return True, "cannot be read without the GIL: while C code holds it, reports name no line"
    return True, "can be read without the GIL"


def _listen() -> tuple[bool, str]:
    listening.check()
    return True, environment.listen() or "off"


def _anyio() -> tuple[bool, str]:
    if not environment.value_of("anyio_pool"):
        return True, "anyio keeps its own threads"
    try:
        replace_anyio_pool()
    except ImportError as error:
        return error.name == "anyio", "is not installed" if error.name == "anyio" else str(error)
    restore_anyio_pool()
    return True, "its calls run on everloop's threads"


LOOKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "loop": _loop,
    "rescue": _rescue,
    "stacks": _stacks,
    "anyio": _anyio,
    "listen": _listen,
}
