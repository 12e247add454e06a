"""Waiting for pipes, files, processes and signals."""

import contextlib
import fcntl
import io
import logging
import os
import signal
import subprocess
import tempfile
import time

from . import way
from .threads import after


@contextlib.contextmanager
def pipe():
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


@way
def read_of_a_pipe(here):
    with pipe() as (reader, writer), after(here.delay, os.write, writer, b"x"):
        return os.read(reader, 1)


@way
def lines_of_a_pipe(here):
    reader, writer = os.pipe()

    def talk():
        with open(writer, "w") as file:
            file.write("one\ntwo\n")

    lines = []
    with after(here.delay, talk), open(reader) as file:
        for line in file:
            here.alone()
            lines.append(line)
    return lines


@way
def write_to_a_full_pipe(here):
    with pipe() as (reader, writer):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, bytes(4096))
        with after(here.delay, os.read, reader, 4096):
            return os.write(writer, b"more")


@way
def close_of_a_file_with_unsent_text(here):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    file = open(writer, "wb", buffering=20_000)  # noqa: SIM115 (it is closed below)
    file.write(bytes(6000))

    def read_all():
        with open(reader, "rb") as other:
            other.read()

    with after(here.delay, read_all):
        file.close()
    return "closed"


@way
def buffer_dropped_with_unsent_text(here):
    """A destructor in C blocks."""
    with pipe() as (reader, writer):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        buffer = io.BufferedWriter(io.FileIO(writer, "wb", closefd=False), 20_000)
        buffer.write(bytes(6000))
        with after(here.delay, os.read, reader, 6000):
            del buffer
        here.alone()
    return "dropped"


@way
def open_of_a_fifo(here):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "fifo")
        os.mkfifo(path)

        def write():
            with open(path, "w") as file:
                file.write("through")

        with after(here.delay, write), open(path) as file:
            return file.read()


@way
def lock_of_a_file(here):
    with tempfile.NamedTemporaryFile() as file, open(file.name) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with after(here.delay, fcntl.flock, other, fcntl.LOCK_UN):
            return fcntl.flock(file, fcntl.LOCK_EX)


@way
def write_to_a_disk(here):
    with tempfile.TemporaryFile("w+") as file:
        file.write("text")
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return file.read()


@way
def raw_file_in_python(here):
    class Slow(io.RawIOBase):
        left = 3

        def readable(self):
            return True

        def readinto(self, buffer):
            time.sleep(here.delay / 4)
            here.alone()
            self.left -= 1
            buffer[:2] = b"a\n"
            return 2 if self.left >= 0 else 0

    with io.TextIOWrapper(io.BufferedReader(Slow())) as file:
        return file.readlines()


@way
def print_to_a_file_in_python(here):
    class Slow(io.StringIO):
        def write(self, text):
            time.sleep(here.delay / 4)
            here.alone()
            return super().write(text)

    file = Slow()
    print("one", 2, file=file, flush=True)
    return file.getvalue()


@way
def log_record(here):
    class Slow(logging.Handler):
        def emit(self, record):
            time.sleep(here.delay)
            here.alone()
            lines.append(record.getMessage())

    lines = []
    logger = logging.Logger("a logger of its own")  # known to nobody else
    logger.addHandler(Slow())
    logger.info("%s", "one")
    return lines


@way
def subprocess_run(here):
    return subprocess.run(["sh", "-c", "read line; exit $line"], input=b"3\n").returncode


@way
def lines_of_a_subprocess(here):
    with subprocess.Popen(["sh", "-c", "echo one; echo two"], stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout:
            here.alone()
            lines.append(line)
    return lines, process.returncode


@way
def wait_for_a_child(here):
    with pipe() as (reader, writer):
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "read line"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
        with after(here.delay, os.write, writer, b"\n"):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@way
def signal_in_vain(here):
    signal.sigtimedwait({signal.SIGRTMAX}, here.delay)  # what it returns is random if another signal ends it
