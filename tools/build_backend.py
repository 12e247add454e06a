"""The build backend: maturin's own, which fails with a word about what is missing.

pip builds from source where an interpreter or a platform has no wheel. maturin fetches a Rust toolchain where there is
none; where it cannot, all that pip shows is a traceback of that. So whatever fails here ends with what to install.
"""

import functools
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import maturin

TOOLS = pathlib.Path(__file__).parent


def refusal() -> str | None:
    """Why nothing that could be installed would help."""
    if sys.platform != "linux":
        return f"it runs on Linux for now, and this is {sys.platform}"
    if sys.implementation.name != "cpython":
        return f"it runs on CPython, and this is {sys.implementation.name}"
    return None


def with_a_word[T](hook: Callable[..., T]) -> Callable[..., T]:
    """The same, but where it fails the last lines say what is missing."""

    @functools.wraps(hook)
    def run(*args: Any, **kwargs: Any) -> T:
        if reason := refusal():
            sys.exit(f"everloop cannot be built here: {reason}.")
        try:
            return hook(*args, **kwargs)
        except (Exception, SystemExit) as error:
            if not subprocess.run(["sh", str(TOOLS / "need_rust.sh")], capture_output=True).returncode:
                raise
            print(f"everloop could not be built: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            subprocess.run(["sh", str(TOOLS / "need_rust.sh")], check=False)
            sys.exit(1)

    return run


build_editable = with_a_word(maturin.build_editable)
build_sdist = with_a_word(maturin.build_sdist)
build_wheel = with_a_word(maturin.build_wheel)
get_requires_for_build_editable = with_a_word(maturin.get_requires_for_build_editable)
get_requires_for_build_sdist = with_a_word(maturin.get_requires_for_build_sdist)
get_requires_for_build_wheel = with_a_word(maturin.get_requires_for_build_wheel)
prepare_metadata_for_build_editable = with_a_word(maturin.prepare_metadata_for_build_editable)
prepare_metadata_for_build_wheel = with_a_word(maturin.prepare_metadata_for_build_wheel)
