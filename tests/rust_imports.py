"""Which files of a Rust crate use which: as far as paths tell, without a compiler.

A path counts wherever it stands, in a `use` or in the middle of a line. A name that a file shows with `pub use` counts
as the file that it comes from. What a method does cannot be seen: `impl` blocks of one type may lie in several files.
"""

import dataclasses
import pathlib
import re

PATH = re.compile(r"(?<![\w:.'])(?:[A-Za-z_]\w*\s*::\s*)+[A-Za-z_]\w*")
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE)
INLINE_MODULE = re.compile(r"^((?:#\[.*\]\n)*)(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{.*?^\}", re.MULTILINE | re.DOTALL)
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
COMMENT = re.compile(r"//.*")


@dataclasses.dataclass
class Source:
    """One file: the module it is, what its names mean, and the paths in it, relative ones resolved."""

    module: tuple[str, ...]
    shown: dict[str, tuple[str, ...]]
    paths: set[tuple[str, ...]]


def use_tree(text: str, before: tuple[str, ...] = ()):
    """Every path in what follows a `use`, with the name that it gets here."""
    text = text.strip()
    head, brace, _ = text.partition("{")
    path = (*before, *(part for part in re.split(r"\s*::\s*", head.strip()) if part))
    if brace:
        depth, start = 0, len(head) + 1
        for at in range(len(head), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0 or (depth == 1 and text[at] == ","):
                if text[start:at].strip():
                    yield from use_tree(text[start:at], path)
                start = at + 1
        return
    *start, last = path
    last, _, alias = (part.strip() for part in last.partition(" as "))
    if last == "self":
        yield tuple(start), alias or start[-1]
    else:
        yield (*start, last), alias or last


def module_of(path: pathlib.PurePath) -> tuple[str, ...]:
    """`a/mod.rs` and `a.rs` are the module (a,), `a/b.rs` is (a, b), `lib.rs` is ()."""
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def resolve(path: tuple[str, ...], module: tuple[str, ...], names: dict[str, tuple[str, ...]]):
    """The path from the crate's root, or None for one that leads elsewhere."""
    if path[0] == "crate":
        return path[1:]
    if path[0] == "self":
        return (*module, *path[1:])
    ups = next((at for at, part in enumerate(path) if part != "super"), len(path))
    if ups:
        return (*module[: len(module) - ups], *path[ups:])
    return (*names[path[0]], *path[1:]) if path[0] in names else None


def read(text: str, module: tuple[str, ...]) -> Source:
    text = COMMENT.sub("", STRING.sub('""', text))
    # What is compiled for tests alone may look anywhere; of other inline modules, `super` is this file.
    text = INLINE_MODULE.sub(
        lambda found: "" if "cfg(test)" in found[1] else found[0].replace("super::", "self::"), text
    )
    names = {
        child: (*module, child)
        for child in re.findall(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+);", text, re.MULTILINE)
    }
    shown, paths = {}, set()
    uses = [(found[1], path, name) for found in USE.finditer(text) for path, name in use_tree(found[2])]
    for public, path, name in uses:
        full = resolve(path, module, names)
        if full is None:
            continue
        if public and name != "*":
            shown[name] = full
        else:
            paths.add(full)
    for _, path, name in uses:
        full = resolve(path, module, names)
        if full is not None and name != "*":
            names = names | {name: full}
    for found in PATH.finditer(USE.sub("", text)):
        full = resolve(tuple(re.split(r"\s*::\s*", found[0])), module, names)
        if full is not None:
            paths.add(full)
    return Source(module, shown, paths)


def crate_uses(src: pathlib.Path) -> dict[str, set[str]]:
    """For each file under `src`, by its name from there: the other files that it uses."""
    sources = {}
    for path in sorted(src.rglob("*.rs")):
        name = path.relative_to(src)
        sources[name.as_posix()] = read(path.read_text(), module_of(name))
    return uses_between(sources)


def uses_between(sources: dict[str, Source]) -> dict[str, set[str]]:
    files = {source.module: name for name, source in sources.items()}

    def file_of(path, seen=()):
        for length in range(len(path), -1, -1):
            name = files.get(path[:length])
            if name is None:
                continue
            rest = path[length:]
            if not rest:
                return None  # a module by itself: what is used of it is named elsewhere
            shown = sources[name].shown.get(rest[0])
            if shown is not None and path not in seen:
                return file_of((*shown, *rest[1:]), (*seen, path))
            return name
        return None

    return {
        name: {used for path in source.paths if (used := file_of(path)) not in (None, name)}
        for name, source in sources.items()
    }


def circles(uses: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that use each other in a circle."""
    reach = {}
    for start in uses:
        found, todo = set(), [start]
        while todo:
            for used in uses[todo.pop()] - found:
                found.add(used)
                todo.append(used)
        reach[start] = found
    groups = {
        frozenset(other for other in reach[start] if start in reach[other]) for start in uses if start in reach[start]
    }
    return sorted(sorted(group) for group in groups)
