"""The advice about a block: the `help:` line of a report.

The cause decides first: what computes in Python, or holds the GIL, is not helped by a thread. Where the step waits for
something, the name of what was called says what to write instead: the module and the function as the source spells
them, whole, then the module or package of the frames inside that call. Fragments of words say nothing.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["advice"]


@dataclass(frozen=True)
class Entry:
    """An advice, and the names to which it applies."""

    text: str
    calls: frozenset[str] = frozenset()  # as the source spells them
    modules: frozenset[str] = frozenset()  # all their functions; frames inside them too
    methods: frozenset[str] = frozenset()  # of objects of which only the variable's name is known
    kinds: frozenset[str] = frozenset()  # of causes: if no name says more
    not_for: frozenset[str] = frozenset()  # of causes that the names do not fit


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROCESS = "`await everloop.to_process(...)`: only another process computes beside the loop"

_ENTRIES = (
    Entry("make one client when the program starts, and keep it: each new one reads all certificates",
          calls=_names("httpx.AsyncClient httpx.Client AsyncClient ssl.create_default_context create_default_context")),
    Entry("`await asyncio.sleep(...)`, or `await everloop.to_thread(time.sleep, ...)`",
          calls=_names("time.sleep sleep"), methods=_names("sleep usleep nanosleep"), kinds=_names("sleep")),
    Entry("an asynchronous client (`await httpx.AsyncClient().get(...)`), or "
          "`await everloop.to_thread(requests.get, ...)`",
          modules=_names("requests")),
    Entry("the asynchronous client of the library (`await httpx.AsyncClient()...` instead of the synchronous client)",
          modules=_names("httpx httpcore")),
    Entry("an asynchronous HTTP client, or `await everloop.to_thread(...)`",
          calls=_names("urlopen urlretrieve"), modules=_names("urllib urllib3 http")),
    Entry("`await asyncio.create_subprocess_exec(...)`, or `await everloop.to_thread(subprocess.run, ...)`",
          calls=_names("os.system os.popen os.wait os.waitpid os.wait3 os.wait4 os.waitid check_output Popen"),
          modules=_names("subprocess"), kinds=_names("child")),
    Entry("`await loop.getaddrinfo(...)`, which asks in a thread",
          calls=_names("getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr getnameinfo getfqdn "
                       "socket.getaddrinfo socket.gethostbyname socket.gethostbyname_ex socket.gethostbyaddr "
                       "socket.getnameinfo socket.getfqdn"), kinds=_names("dns")),
    Entry("an asynchronous driver, or `await everloop.to_thread(...)` with a connection of that thread",
          modules=_names("sqlite3 psycopg psycopg2 pymysql MySQLdb mysql sqlalchemy pymongo redis cx_Oracle oracledb "
                         "pyodbc"),
          methods=_names("execute executemany executescript commit rollback fetchone fetchmany fetchall")),
    Entry("an asyncio primitive (`asyncio.Lock`, `asyncio.Queue`), `await asyncio.wrap_future(...)`, or "
          "`await everloop.to_thread(...)`",
          calls=_names("concurrent.futures.wait futures.wait"), modules=_names("threading queue multiprocessing"),
          methods=_names("acquire result join wait wait_for"), kinds=_names("lock")),
    Entry("asyncio's streams or `loop.sock_...`, or `await everloop.to_thread(...)`",
          modules=_names("socket ssl select selectors"),
          methods=_names("recv recv_into recvfrom recvmsg send sendall sendto sendmsg accept connect do_handshake"),
          kinds=_names("socket poll"), not_for=_names("sleep")),
    Entry("`await everloop.to_thread(...)` for files and pipes",
          calls=_names("open input print os.read os.write os.pread os.pwrite os.readv os.writev os.open os.close "
                       "os.fsync os.fdatasync os.sync os.listdir os.scandir os.walk os.stat os.lstat os.rename "
                       "os.replace os.remove os.unlink os.rmdir os.mkdir os.makedirs os.copy_file_range os.sendfile"),
          modules=_names("shutil pathlib glob tempfile zipfile tarfile io fcntl"),
          methods=_names("read readline readlines readinto write writelines flush fsync read_text read_bytes "
                         "write_text write_bytes"), kinds=_names("file pipe")),
)  # fmt: skip

# Whatever is called, where the cause is one of these.
_BY_CAUSE = {
    "python": f'{_PROCESS}; or let others go on in between, with `await asyncio.sleep(0)` or `rescue="all"`',
    "gil": f"{_PROCESS} while C code holds the GIL",
    "native": "`await everloop.to_thread(...)`: it lets go of the GIL while it computes",
    "thread": "change what that other thread does: `everloop.to_process(...)` for what holds the GIL for long",
    "collector": "`gc.freeze()` once the program is set up, fewer objects that live long, or a higher threshold "
    "(`gc.set_threshold`)",
    "import": "import it at the top of the module, before the loop runs",
    "steps": "let fewer of these steps come at once, or do less in each: the lines above took most of the time",
    "host": "",
}

# What computes in C code and keeps the GIL: known by name where the watchdog could not see that.
_COMPUTES = _names("json re pickle marshal copy csv ast tokenize difflib decimal fractions statistics random math")

# Of packages, in the name of a frame: its first folder, or the file.
_FIRST_PART = re.compile(r"[^/.:]+")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def advice(call: str, inside: str | Iterable[str] = (), cause: str = "unknown") -> str:
    """What to write instead.

    Args:
        call: The call, as the source spells it.
        inside: The files of the frames inside that call, as a report names them, nearest first.
        cause: The kind of the cause.
    """
    if cause == "unknown" and call.startswith(("import ", "from ")):
        cause = "import"
    if cause in _BY_CAUSE:
        return _BY_CAUSE[cause]
    packages = [found.group() for file in ([inside] if isinstance(inside, str) else inside)
                if (found := _FIRST_PART.match(file))]  # fmt: skip
    name = call.replace("(...)", "")
    called = {name, call.partition("(...)")[0]}  # in `os.popen(...).read` that is what says most
    entries = [entry for entry in _ENTRIES if cause not in entry.not_for]
    if _DOTTED.fullmatch(name):
        first, _, rest = name.partition(".")
        for entry in entries:
            if called & entry.calls or (rest and first in entry.modules):
                return _with_endpoint(entry.text)
        if first in _COMPUTES and rest and cause == "unknown":
            return _PROCESS
    for package in packages:
        for entry in entries:
            if package in entry.modules:
                return _with_endpoint(entry.text)
    if packages and packages[0] in _COMPUTES and cause == "unknown":
        return _PROCESS
    method = name.rpartition(".")[2] if _DOTTED.fullmatch(name) and "." in name else ""
    for entry in _ENTRIES:
        if method in entry.methods and (not entry.kinds or cause in entry.kinds or cause == "unknown"):
            return _with_endpoint(entry.text)
    for entry in _ENTRIES:
        if cause in entry.kinds and cause != "sleep":  # what a library waits for is more than its sleep
            return _with_endpoint(entry.text)
    return _with_endpoint("`await everloop.to_thread(...)`, or `with everloop.blocking():` around the call") + (
        "; for long computations `await everloop.to_process(...)`"
    )


def _with_endpoint(text: str) -> str:
    """The advice for a program that serves FastAPI or Starlette names their way out, too."""
    if "to_thread" in text and not sys.modules.keys().isdisjoint(("fastapi", "starlette")):
        return f"{text}, or make the endpoint `def`"
    return text
