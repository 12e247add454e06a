"""Finds where a process listens, and asks it."""

import http.client
import os
import socket
from pathlib import Path

from .. import environment

__all__ = ["UnreachableError", "ask", "find"]

# Whoever does not answer for so many seconds does not answer at all: its threads need no GIL.
PATIENCE = 5.0
ADVICE = (
    "Start it with EVERLOOP_LISTEN=1 (a socket of a name that is known here), EVERLOOP_LISTEN=/run/app/{pid}.sock, or "
    "EVERLOOP_LISTEN=127.0.0.1:9123: it listens once a loop begins to run"
)


class UnreachableError(Exception):
    """There is nobody to ask, or no answer."""


def find(target: str) -> str:
    """The address of a process, or of what is one already.

    Args:
        target: A process's number, the path of a socket, or `host:port`.

    Raises:
        UnreachableError: there is no such process, it does not listen, or it is another user's.
    """
    target = target.strip().removeprefix("http://").rstrip("/")
    if not target.isdecimal():
        return target.removeprefix("unix:").removeprefix("public:")
    process = Path("/proc", target)
    try:
        # What the process was started with: it may have set more since, but that is not told.
        pairs = (process / "environ").read_bytes().split(b"\0")
        user = process.stat().st_uid
        status = (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise UnreachableError(f"there is no process {target}") from None
    except PermissionError:
        raise UnreachableError(
            f"process {target} is another user's: ask as that user or as root, or give its address"
        ) from None
    variables = dict(os.fsdecode(pair).partition("=")[::2] for pair in pairs if pair)
    # Its own number: another one in a container.
    number = next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), target)
    for address in _addresses(variables, int(number), user):
        if not address.startswith("/"):
            return address
        for path in (address, f"{process}/root{address}"):  # in a container it sees other files
            if os.path.exists(path):
                return path
    if variables.get("EVERLOOP_LISTEN"):
        said = f"EVERLOOP_LISTEN={variables['EVERLOOP_LISTEN']}"
        raise UnreachableError(
            f"process {target} was started with {said}, and does not listen there. No loop has run in it yet, the "
            "address was taken (its log says so), or the system has chosen the port (its log says which): then give "
            "that address"
        )
    raise UnreachableError(f"process {target} does not listen. {ADVICE}")


def _addresses(variables: dict[str, str], number: int, user: int) -> list[str]:
    """Where it may listen, the likeliest first: sockets answer all that is asked."""
    said = [one.strip().replace("{pid}", str(number)) for one in variables.get("EVERLOOP_LISTEN", "").split(",")]
    paths = [one.removeprefix("unix:") for one in said if one.startswith(("/", "unix:"))]
    others = [one.removeprefix("public:") for one in said if ":" in one and not one.startswith(("/", "unix:"))]
    default = environment.default_socket(number, user, variables.get("XDG_RUNTIME_DIR"))
    return [*paths, default, *(one for one in others if not one.endswith(":0"))]


class _UnixConnection(http.client.HTTPConnection):
    """A connection to the socket of a path."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def ask(address: str, page: str) -> tuple[int, str]:
    """What is answered: the status, and the text.

    Raises:
        UnreachableError: nobody answers there, or not as everloop does.
    """
    try:
        connection = (
            _UnixConnection(address)
            if address.startswith("/")
            else http.client.HTTPConnection(address, timeout=PATIENCE)
        )
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"nobody answers at {address}: {error or type(error).__name__}") from None
    if answer.headers.get("Server") != "everloop":
        raise UnreachableError(f"who answers at {address} is not everloop")
    return answer.status, text
