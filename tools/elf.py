"""What a 64-bit little-endian ELF file asks of the system: libraries, versions of their symbols, paths to look in."""

import struct
from dataclasses import dataclass
from typing import NamedTuple

MACHINES = {0x3E: "x86_64", 0xB7: "aarch64"}
DYNAMIC, VERSIONS_NEEDED = 6, 0x6FFFFFFE  # types of sections
NEEDED, RPATH, RUNPATH = 1, 15, 29  # tags in the dynamic section


class Section(NamedTuple):
    """The fields of a section's header that are of use here."""

    type: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Elf:
    """An ELF file, and what it asks for."""

    machine: str
    needed: frozenset[str]
    versions: frozenset[str]  # "GLIBC_2.17"
    has_path: bool  # where to look for libraries: a wheel has none to look for


def read(data: bytes) -> Elf:
    """What the file asks for.

    Raises:
        ValueError: it is no such file.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    [machine] = struct.unpack_from("<H", data, 18)
    [start] = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [
        Section(kind, offset, length, link)
        for kind, offset, length, link in (
            struct.unpack_from("<4xI16xQQI", data, start + i * size) for i in range(count)
        )
    ]
    needed, versions, has_path = set(), set(), False
    for section in sections:
        names = sections[section.link].offset
        if section.type == DYNAMIC:
            for tag, value in struct.iter_unpack("<QQ", data[section.offset : section.offset + section.size]):
                if tag == NEEDED:
                    needed.add(string(data, names + value))
                has_path = has_path or tag in (RPATH, RUNPATH)
        elif section.type == VERSIONS_NEEDED:
            versions |= versions_needed(data, section.offset, names)
    return Elf(MACHINES.get(machine, hex(machine)), frozenset(needed), frozenset(versions), has_path)


def versions_needed(data: bytes, at: int, names: int) -> set[str]:
    """The versions that a list names, which holds one list for each library."""
    found = set()
    while True:
        first, following = struct.unpack_from("<8xII", data, at)
        entry = at + first
        while True:
            name, after = struct.unpack_from("<8xII", data, entry)
            found.add(string(data, names + name))
            if not after:
                break
            entry += after
        if not following:
            return found
        at += following


def string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
