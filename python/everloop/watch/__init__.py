"""Reports of what blocks the loop: in the log, by line, while it lasts and when it has ended."""

from .report_writer import FOREIGN, ReportWriter

__all__ = ["install"]


def install() -> None:
    """Has the findings of the watchdog written to the logger `everloop`."""
    from .. import _native

    _native.set_foreign_files(FOREIGN)
    _native.set_report_writer(ReportWriter())
