"""Colours, and links to the source, for a report on a terminal."""

import os
import re
import socket
import sys

__all__ = ["painted", "paints"]

_BOLD, _RED, _YELLOW, _BLUE, _OFF = "\x1b[1m", "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[0m"
_LABEL = re.compile(r"(error|warning|note)(\[\w+\])(: .*)")
_PLACE = re.compile(r"(  --> )(.+?):(\d+)( in .*)?$")
_SOURCE = re.compile(r"(\s*\d* ?\| ?)(.*)")
_REMARK = re.compile(r"(   = )(\w+:)(.*)")
_COLOURS = {"error": _RED, "warning": _YELLOW, "note": _BLUE}


def paints() -> bool:
    """True if the standard error is a terminal that shows colours, and nobody minds (`NO_COLOR`)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def painted(text: str) -> str:
    """The text with its colours and links."""
    return "\n".join(_painted_line(line) for line in text.split("\n"))


def _painted_line(line: str) -> str:
    if found := _LABEL.fullmatch(line):
        kind, label, rest = found.groups()
        return f"{_COLOURS[kind]}{kind}{label}{_OFF}{_BOLD}{rest}{_OFF}"
    if found := _PLACE.match(line):
        arrow, file, number, rest = found.groups()
        return f"{_BLUE}{arrow}{_OFF}{_link(file, number)}{rest or ''}"
    if found := _REMARK.fullmatch(line):
        sign, name, rest = found.groups()
        return f"{_BLUE}{sign}{_OFF}{_BOLD}{name}{_OFF}{rest}"
    if found := _SOURCE.fullmatch(line):
        margin, source = found.groups()
        colour = _RED if source.strip("^ \t") == "" and source.strip() else ""
        return f"{_BLUE}{margin}{_OFF}{colour}{source}{_OFF if colour else ''}"
    return line


def _link(file: str, number: str) -> str:
    """The place as a link (OSC 8), which terminals that know none show as text."""
    path = os.path.abspath(file)
    if not os.path.exists(path):
        return f"{file}:{number}"
    import urllib.parse  # not with everloop itself: that starts sooner

    address = f"file://{socket.gethostname()}{urllib.parse.quote(path)}#{number}"
    return f"\x1b]8;;{address}\x1b\\{file}:{number}\x1b]8;;\x1b\\"
