"""One word, one thing: types and files are named with words of the field, or with words that the glossary defines.

The glossary is the table of ARCHITECTURE.md. A name with a new word fails here: take one of the field's, and add it
to the list; or, for what nobody else has, define a word of our own there.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent

# Of the field, and plain English.
COMMON = re.findall(
    r"\w+",
    """
action activity adaptive address advice after aiterate answer any anyio app args arguments asgi asked async asyncify
asyncio at attached autojump awaiting back backend base begins begun belonging binding blind block blocked blocking
body bridge buffers busy call callbacks called callee calls cancel cancelled cause cell change check child children
choice chooser circumstances claims class cli client clock code collect command connection constants context core
coroutine count counted counters cpu create current data datagram deadlock debugger default description descriptor
details died direction dladdr1 doing drawing driver dump eager edges end ended ending entry environment epoll error
evaluator event everywhere evidence executor exit expected extra factories failure fallbacks fast fastcall feed ffi
figures file filled finalize finalizers first flow for fork found frame frames framing free functions futex future gil
graph greenlet guard guarded gunicorn handle handover handshake hashing header held histogram holder hook http id idle
in inbox info init inner input inside instruction interest interpreter interruption is item iterate iterator job json
kept key keys kind last lasts later layout leaves left lib life limiter line linux listen listener listening live
location lock log long lookup loop made main make manner many marks memory message meter method metric missing mod
model moved mutex name named names native need nesting new no note noticed number object of on onlooker opcodes open
opening option options origin other outbox output over own page painting pane panics park parker parking part parts
pass pauses peek peers pending piece pile pin pinning pipe place plain policy poll poller pool pop position post
private process processes procfs program protocol published push pushed queue raises ran read reader readiness reading
ready real reason received record registry remote report request required reset reuse role run runner running runtime
scheduling seconds seen seldom selector send sendfile sending served server serving session set share shared shortage
shutdown sigaction sight sighting signal sleep slot snapshot socket soon source span spare spin stack stale stand
standing start starter state statistics stop submits subprocess subprocesses sums suspected suspicion switch symbol
sync syncify sys system takeover tally target task text then there thing this thread threadsafe throttling time timer
times timing tls to token told tool top totals traceback tracer transfer transport turn unix unreachable unturned up
usage users variables version view wait waiter waiting wake wanted watch watcher water window worker worst write
writer writing
""",
)

# Once ours, and gone: what took their place stands beside them.
RETIRED = {
    "adopter": "threadsafe hook",
    "adoption": "threadsafe hook",
    "alarm": "watchdog sleep",
    "arrival": "future waiter",
    "calm": "looks that found it asleep",
    "doze": "idle sleep",
    "habit": "adaptive spin",
    "lookout": "greenlet watch",
    "maker": "factories",
    "making": "create task",
    "mute": "disarm",
    "rouse": "wake",
    "seat": "waiter",
    "spot": "spin then park",
    "unmute": "rearm",
}


def glossary():
    """The words that the table of ARCHITECTURE.md defines, in the singular."""
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("## Words")[2].partition("\n## ")[0]
    terms = re.findall(r"^\| ([^|]+) \| ", table, re.MULTILINE)
    assert terms[0] == "word"
    return {word for term in terms[1:] for word in re.findall(r"\w+", term)}


def sources():
    yield from (ROOT / "crates").glob("*/src/**/*.rs")
    yield from (ROOT / "python/everloop").rglob("*.py")


def named(path):
    """The names of a file's types, and its own."""
    kinds = r"(?:struct|enum|trait|type|union)" if path.suffix == ".rs" else "class"
    pattern = rf"^\s*(?:pub(?:\(\w+\))? )?{kinds} (\w+)"
    return [path.stem, path.parent.name, *re.findall(pattern, path.read_text(), re.MULTILINE)]


def words(name):
    """`SpinThenPark` and `spin_then_park` are three words."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def is_known(word, known):
    """True also for the plural of a known word."""
    return word in known or word.removesuffix("s") in known


def test_names_are_taken_apart():
    assert words("SpinThenPark") == words("spin_then_park") == ["spin", "then", "park"]
    assert words("TLSHandle") == ["tls", "handle"]


def test_each_word_in_a_name_is_the_field_s_or_defined():
    known = {*COMMON, *glossary(), "src", "everloop"}
    unknown = {
        word: str(path.relative_to(ROOT))
        for path in sources()
        for name in named(path)
        for word in words(name)
        if not is_known(word, known)
    }
    assert unknown == {}


def test_the_glossary_defines_no_word_of_the_field_s():
    assert glossary() & set(COMMON) <= {"thread"}  # a relief thread is ours


def test_words_that_are_gone_do_not_come_back():
    pattern = re.compile(r"\b(?:fn|struct|enum|mod|let|static|class|def) _?(\w+)")
    found = {
        (name, str(path.relative_to(ROOT)))
        for path in sources()
        for name in pattern.findall(path.read_text())
        if not RETIRED.keys().isdisjoint(words(name))
    }
    assert found == set()
