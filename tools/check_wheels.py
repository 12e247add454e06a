"""Checks wheels and the source distribution before anybody gets them.

    check_wheels.py DIRECTORY PLATFORM VERSION...

A wheel's name is a promise: this CPython, this processor, a C library no newer than that. The extension says what it
asks for. A wheel has all of the package and nothing else; the source distribution has what a build takes.
"""

import pathlib
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser

import elf

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("everloop", "everloop_pytest")
LARGEST = 3_000_000  # bytes: it is 1.2 MB, and one with all symbols of the debugger is 15

# What any Linux of the tag's age has: of the list of manylinux (PEP 599) what an extension in Rust may ask for.
OF_THE_SYSTEM = {
    "manylinux": re.compile(r"lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d|ld-linux-[\w-]+\.so\.\d"),
    "musllinux": re.compile(r"libc\.so|libc\.musl-\w+\.so\.1|libgcc_s\.so\.1"),
}
IN_A_SOURCE = ("Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "pyproject.toml", "tools/build_backend.py",
               "tools/need_rust.sh")  # fmt: skip


def version() -> str:
    found: list[str] = re.findall(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    return found[0]


def files_of(*folders: str) -> set[str]:
    """The files below the folders that are under version control, by their paths from the root."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name}


def wrong_with_wheel(path: pathlib.Path, package: set[str]) -> Iterator[str]:
    """Sentences about what is wrong with a wheel, of which the package is these files."""
    name, release, python, abi, tags = path.stem.split("-")
    if (name, release) != ("everloop", version()):
        yield f"it is {name} {release}, and Cargo.toml says everloop {version()}"
    if path.stat().st_size > LARGEST:
        yield f"it has {path.stat().st_size} bytes, more than {LARGEST}"
    with zipfile.ZipFile(path) as wheel:
        info = f"{name}-{release}.dist-info/"
        contents = {entry for entry in wheel.namelist() if not entry.endswith("/")}
        headers = HeaderParser().parsestr(wheel.read(info + "WHEEL").decode())
        told = {f"{python}-{abi}-{tag}" for tag in tags.split(".")}
        if told != set(headers.get_all("Tag", [])):
            yield f"its name says {sorted(told)}, and its WHEEL {headers.get_all('Tag')}"
        if HeaderParser().parsestr(wheel.read(info + "METADATA").decode())["Version"] != release:
            yield "its METADATA tells of another version"
        if python != abi:
            yield f"it is for {python}, with the interface of {abi}"
        outside = {entry for entry in contents if not entry.startswith(info)}
        extension = f"everloop/_native.cpython-{python.removeprefix('cp')}-{suffix_of(tags)}.so"
        for entry in sorted({*package, extension} - outside):
            yield f"it lacks {entry}"
        for entry in sorted(outside - {*package, extension}):
            yield f"it has {entry}, which is no part of it"
        for entry in ("licenses/LICENSE", "entry_points.txt", "RECORD"):
            if info + entry not in contents:
                yield f"it lacks {entry}"
        if extension in contents:
            yield from wrong_with_extension(elf.read(wheel.read(extension)), tags)


def suffix_of(tags: str) -> str:
    """How CPython names extensions on the platform of the tags: x86_64-linux-gnu."""
    kind, _, _, machine = parts_of(tags)
    return f"{machine}-linux-{'musl' if kind == 'musllinux' else 'gnu'}"


def parts_of(tags: str) -> tuple[str, int, int, str]:
    """Of the last of the platforms that a wheel's name has: manylinux, 2, 17, x86_64."""
    found = re.fullmatch(r"(?:.*\.)?(\w+linux)_(\d+)_(\d+)_(\w+)", tags)
    if not found:
        raise SystemExit(f"{tags} is no platform of a wheel")
    kind, major, minor, machine = found.groups()
    return kind, int(major), int(minor), machine


def wrong_with_extension(extension: elf.Elf, tags: str) -> Iterator[str]:
    """Sentences about what an extension asks for that its tags do not promise."""
    kind, major, minor, machine = parts_of(tags)
    if extension.machine != machine:
        yield f"its extension is for {extension.machine}"
    if extension.has_path:
        yield "its extension looks for libraries in a path of its own"
    for library in sorted(extension.needed):
        if not OF_THE_SYSTEM[kind].fullmatch(library):
            yield f"its extension links to {library}, which not every system has"
    for needed in sorted(extension.versions):
        library, _, number = needed.rpartition("_")
        if library == "GLIBC" and kind == "musllinux":
            yield f"its extension asks for {needed}, and musl has none"
        elif library == "GLIBC" and tuple(map(int, number.split("."))) > (major, minor):
            yield f"its extension asks for {needed}, newer than its tag"


def wrong_with_source(path: pathlib.Path, sources: set[str]) -> Iterator[str]:
    """Sentences about what is wrong with a source distribution of these files."""
    top = f"everloop-{version()}/"
    if path.name != f"everloop-{version()}.tar.gz":
        yield f"Cargo.toml says that it is {version()}"
    with tarfile.open(path) as source:
        contents = {name.removeprefix(top) for name in source.getnames()}
    for entry in sorted({*sources, *IN_A_SOURCE} - contents):
        yield f"it lacks {entry}"
    for entry in sorted(contents):
        if entry.endswith((".so", ".pyc")) or entry.startswith("target"):
            yield f"it has {entry}, which was built"


def main(directory: pathlib.Path, platform_tag: str, versions: list[str]) -> int:
    package = {name.removeprefix("python/") for name in files_of(*(f"python/{name}" for name in PACKAGES))}
    found = {}
    for wanted in versions:
        tag = "cp" + wanted.replace(".", "")
        paths = sorted(directory.glob(f"everloop-*-{tag}-{tag}-*{platform_tag}_{platform.machine()}.whl"))
        if len(paths) != 1:
            found[directory / f"(a wheel for {wanted})"] = [f"there are {len(paths)}"]
        for path in paths:
            found[path] = list(wrong_with_wheel(path, package))
    sources = sorted(directory.glob("*.tar.gz"))
    for path in sources:
        found[path] = list(wrong_with_source(path, files_of("crates", "python")))
    for path, faults in found.items():
        size = f"{path.stat().st_size / 1e6:.2f} MB" if path.exists() else "missing"
        print(f"{'wrong' if faults else 'right'}  {path.name} ({size})")
        for fault in faults:
            print(f"       {fault}")
    return any(found.values())


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
