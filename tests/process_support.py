"""A hall in which calls of `to_process` meet the test, and whether a process is there."""

import asyncio
import contextlib

import everloop
import process_work
from support import PATIENCE


class Visitor:
    """A call that is in the middle of `visit`, in its process."""

    def __init__(self, name, pid, reader, writer):
        self.name, self.pid, self._reader, self._writer = name, pid, reader, writer

    def let_go(self):
        self._writer.write(b"x")

    async def wait_gone(self):
        await self._reader.read()


class Hall:
    """Where calls come by and stay until they are let go: the test knows what runs without looking at a clock."""

    def __init__(self, address):
        self.address = address
        self._visitors = asyncio.Queue()

    async def next(self):
        async with asyncio.timeout(PATIENCE / 2):
            return await self._visitors.get()

    @property
    def is_empty(self):
        return self._visitors.empty()

    async def _enter(self, reader, writer):
        name, pid = (await reader.readline()).decode().split()
        self._visitors.put_nowait(Visitor(name, int(pid), reader, writer))
        self._writers.append(writer)

    async def __aenter__(self):
        self._writers = []
        self._server = await asyncio.start_unix_server(self._enter, self.address)
        return self

    async def __aexit__(self, *exc_info):
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()


def exists(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def visit(hall, name="visitor"):
    return asyncio.create_task(everloop.to_process(process_work.visit, hall.address, name))
