"""Reports of what blocks the loop: in the log, by line, while it lasts and when it has ended."""

from .output import tell
from .report_writer import ReportWriter
from .source import FOREIGN, is_own
from .worst_lines import read_from

__all__ = ["install"]


def install() -> None:
    """Has the findings of the watchdog written to the logger `everloop`, and those raised that can be."""
    from .. import _native
    from ..bridge.deadlocks.locks import deadlock_of_steps
    from ..bridge.threads import anyio_shortage

    _native.set_foreign_files(FOREIGN)
    writer = ReportWriter()
    _native.set_report_writer(writer)
    read_from(writer)
    _native.set_deadlock_error(deadlock_of_steps)
    anyio_shortage.tell, anyio_shortage.is_own = tell, is_own
