"""What the source says at the place of a block: the call as it is spelled there, and the lines to show.

Only the text around the place is parsed. To parse a whole file would hold the GIL for long, and so block the loops that
are watched.
"""

import ast
import io
import linecache
import os
import re
import site
import stat
import sysconfig
import tokenize
import unicodedata
from collections.abc import Iterator

__all__ = ["FOREIGN", "Frame", "Span", "call_at", "is_own", "is_written", "short", "snippet"]

# Line, last line, column, last column; columns count bytes, from 0.
type Span = tuple[int, int, int, int]
# File, line, function, span.
type Frame = tuple[str, int, str, Span | None]

_LIBRARY = tuple(
    dict.fromkeys(
        os.path.join(path, "")
        for path in (
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),  # those of a distribution, too
            site.getusersitepackages(),
        )
        if path
    )
)
# The beginnings of the names of files that are not the program's own: a report names the line that called into them.
FOREIGN = [*_LIBRARY, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ""), "<frozen "]

# The parts of an expression in which a step can block.
_OPERATIONS = (ast.Call, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.Attribute, ast.JoinedStr)
# A statement has at most so many lines before, and after, those of the operation: more are not looked at.
_BEFORE, _AFTER = 12, 6
_MOST_SHOWN = 4  # lines
_LARGEST = 5_000_000  # bytes of a file that is read
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ESCAPES = "\n\r\\'\"abfnrtv01234567"
_LONGEST = 80  # characters of a call that a report spells


def is_own(file: str) -> bool:
    """True for code of the program itself; false for that of libraries, and for what was generated."""
    return is_written(file) and not file.startswith(tuple(FOREIGN))


def is_written(file: str) -> bool:
    """False for code that has no file, but a name in angle brackets: it was generated, or typed in."""
    return not file.startswith("<")


def call_at(file: str, line: int, span: Span | None) -> str:
    """The call, or the other operation, that is at this place, as the source spells it; "" if that says nothing."""
    if span is not None and (found := _operation(file, span)) is not None:
        return _spelled(found)
    return _whole_line(_line_at(file, line))


def snippet(file: str, line: int, span: Span | None) -> list[str]:
    """The lines of a place for a reader, with their numbers, and a mark below the call; nothing if they are unknown."""
    first, last = (line, line) if span is None else (span[0], min(span[1], span[0] + _MOST_SHOWN - 1))
    sources = [_line_at(file, number).rstrip() for number in range(first, last + 1)]
    if not sources[0].strip():
        return []
    width = len(str(last))
    blank = " " * (width + 1)
    lines = [f"{blank}|"]
    for number, source in enumerate(sources, first):
        lines.append(f"{number:>{width}} | {source}")
        if number == first and span is not None:
            before, marked = _cut(source, span[2], span[3] if span[1] == first else None)
            padding = "".join("\t" if character == "\t" else " " * _columns(character) for character in before)
            lines.append(f"{blank}| {padding}{'^' * max(_columns(marked), 1)}")
    return lines


def short(file: str) -> str:
    """The file as the reader knows it: relative to where the program runs, or from the library's folder on."""
    for folder in sorted((*_LIBRARY, os.path.join(os.getcwd(), "")), key=len, reverse=True):
        if file.startswith(folder):
            return file[len(folder) :]
    return file


def _line_at(file: str, line: int) -> str:
    """A line of a file; "" where there is none, or where to read it would take long, or wait for somebody."""
    if file not in linecache.cache and is_written(file):
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            return ""
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            return ""
    return linecache.getline(file, line)


def _cut(source: str, start: int, end: int | None) -> tuple[str, str]:
    """What stands before a place on a line, and the place itself; None: it goes on in the next line."""
    encoded = source.encode()
    return encoded[:start].decode(errors="replace"), encoded[start:end].decode(errors="replace")


def _columns(text: str) -> int:
    """The width of a text on a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _operation(file: str, span: Span) -> ast.AST | None:
    """The operation at this place."""
    line, end_line, column, end_column = span
    lines = [_line_at(file, number) for number in range(line, min(end_line, line + 100) + 1)]
    if end_line - line >= len(lines) or not lines[0].strip():
        return None
    before = lines[0].encode()[:column].decode(errors="replace").rstrip()
    lines[-1] = lines[-1].encode()[:end_column].decode(errors="replace")
    lines[0] = lines[0].encode()[column:].decode(errors="replace")
    # The place of a call on an attribute begins with the attribute's name, where that is on another line.
    if before and not before.endswith("."):
        is_whole = True
    else:
        is_whole = not before and not _line_before(file, line).endswith((".", "\\")) and not lines[0].startswith(".")
    if is_whole and (found := _parsed("".join(("(", *lines, ")")))) is not None:
        statement = found.body[0] if found.body else None
        node: ast.AST | None = statement.value if isinstance(statement, ast.Expr) else None
        while isinstance(node, ast.Await | ast.Starred):
            node = node.value
        if isinstance(node, _OPERATIONS):
            return node
        if not isinstance(node, ast.Name | ast.Constant):
            return None
    return _in_statement(file, span)


def _line_before(file: str, line: int) -> str:
    return _line_at(file, line - 1).rstrip() if line > 1 else ""


def _in_statement(file: str, span: Span) -> ast.AST | None:
    """The innermost call that ends where the place does, found in the statement around it."""
    line, end_line, _, end_column = span
    for first, statement in _statements(file, line, end_line):
        found = [
            node
            for node in ast.walk(statement)
            if isinstance(node, ast.Call)
            and node.end_lineno is not None
            and (node.end_lineno + first - 1, node.end_col_offset) == (end_line, end_column)
        ]
        if found:
            return min(found, key=lambda node: len(ast.unparse(node)))
    return None


def _statements(file: str, line: int, end_line: int) -> Iterator[tuple[int, ast.Module]]:
    """What can be parsed around these lines, with its first line: the shortest first."""
    for first in range(line, max(line - _BEFORE, 1) - 1, -1):
        for last in range(end_line, end_line + _AFTER + 1):
            text = "".join(_line_at(file, number) for number in range(first, last + 1))
            indent = len(text) - len(text.lstrip())
            # What is inside a block is parsed as one, so that its columns stay.
            head, shift = ("if 1:\n", 1) if indent and "\n" not in text[:indent] else ("", 0)
            for tail in ("", " pass\n"):
                if (found := _parsed(head + text.rstrip("\n") + tail)) is not None:
                    yield first - shift, found
                    break


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(_ESCAPE.sub(_plain_escape, text))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _plain_escape(found: re.Match[str]) -> str:
    """Takes away an escape that the interpreter might warn of, on this thread: nobody asks what is in the strings."""
    return found.group() if found[1] in _PLAIN_ESCAPES else f"x{found[1]}"


def _spelled(node: ast.AST) -> str:
    """A call without its own arguments, and with three dots for those of the calls in it; another operation whole."""
    if isinstance(node, ast.Call):
        node = node.func
    text = ast.unparse(_PlainCalls().visit(node))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


class _PlainCalls(ast.NodeTransformer):
    """Leaves the arguments of calls out."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.func = self.visit(node.func)
        if node.args or node.keywords:
            node.args, node.keywords = [ast.Constant(...)], []
        return node


def _whole_line(source: str) -> str:
    """A line without its comment; nothing where that is but one word, such as `break`, or `else:`."""
    text = source.strip()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                text = text[: token.start[1]]
    except (tokenize.TokenError, SyntaxError):  # a statement that goes on in the next line
        pass
    text = text.rstrip().rstrip(":").rstrip()
    if len(re.findall(r"\w+", text)) < 2:
        return ""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
