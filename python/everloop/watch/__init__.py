"""Who blocks the loop: told in the log, by line, while it lasts and when it has ended."""

from .report import FOREIGN, Reporter

__all__ = ["install"]


def install() -> None:
    """Has what the watchdog sees written to the logger `everloop`."""
    from .. import _native

    _native.set_foreign_files(FOREIGN)
    _native.set_reporter(Reporter())
