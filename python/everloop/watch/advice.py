"""The advice about a blocking call: the `help:` line of a report.

Its key is the name that the source or the library has for the call; the first entry that fits is taken.
"""

_ENDPOINT = ", or make the endpoint `def`"

# (fragments of the call or of the frame inside a library, what to do instead)
_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("time.sleep", "sleep"), "`await asyncio.sleep(...)`, or `await asyncio.to_thread(time.sleep, ...)`" + _ENDPOINT),
    (
        ("requests.", "requests/"),
        "an asynchronous client (`await httpx.AsyncClient().get(...)`), or `await asyncio.to_thread(requests.get, ...)`"
        + _ENDPOINT,
    ),
    (
        ("urlopen", "urllib/request", "urllib3", "http/client"),
        "an asynchronous HTTP client, or `await asyncio.to_thread(...)`" + _ENDPOINT,
    ),
    (("httpx.", "httpx/"), "`await httpx.AsyncClient()...` instead of the synchronous client"),
    (
        ("subprocess.", "subprocess.py", "os.system", "os.popen", "os.waitpid", "os.wait"),
        "`await asyncio.create_subprocess_exec(...)`, or `await asyncio.to_thread(subprocess.run, ...)`",
    ),
    (
        ("getaddrinfo", "gethostby", "getnameinfo", "getfqdn"),
        "`await loop.getaddrinfo(...)`, which asks in a thread",
    ),
    (
        ("sqlite3", "psycopg2", "pymysql", "MySQLdb", "sqlalchemy", ".execute", ".executemany", ".commit", ".fetch"),
        "an asynchronous driver, or `await asyncio.to_thread(...)` with a connection of that thread" + _ENDPOINT,
    ),
    (
        (".acquire", "threading.py", "queue.py", ".result", ".join", "futures/_base"),
        "an asyncio primitive (`asyncio.Lock`, `asyncio.Queue`), `await asyncio.wrap_future(...)`, or "
        "`await asyncio.to_thread(...)`",
    ),
    (
        (".recv", ".send", ".accept", ".connect", "socket.", "socket.py", "ssl.py", "select."),
        "asyncio's streams or `loop.sock_...`, or `await asyncio.to_thread(...)`" + _ENDPOINT,
    ),
    (
        ("open", ".read", ".write", "os.", "shutil.", "pathlib", ".flush", ".fsync", "input"),
        "`await asyncio.to_thread(...)` for files and pipes" + _ENDPOINT,
    ),
)


def advice(call: str, inside: str) -> str:
    """The advice for a call, which was blocked `inside` a frame of a library ("" for none)."""
    for fragments, text in _ADVICE:
        if any(fragment in call for fragment in fragments):
            return text
    for fragments, text in _ADVICE:
        if any(fragment in inside for fragment in fragments):
            return text
    return (
        "`await asyncio.to_thread(...)`, `with everloop.blocking():` around the call" + _ENDPOINT + "; "
        "for long computations a process pool"
    )
