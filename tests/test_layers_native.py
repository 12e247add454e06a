"""The Rust crates, file by file: each uses only files that stand below it, and none of them in a circle."""

import itertools
import pathlib
import re

import pytest

from rust_imports import circles, crate_uses, read, uses_between

ROOT = pathlib.Path(__file__).parent.parent
CORE, STACKS, NATIVE = (ROOT / "crates" / name for name in ("core", "stacks", "native"))

# For each folder of a crate's `src` ("" is that itself): what lies in it, from the bottom up. A folder stands among
# files as one of them. Those of one line do not use each other; a new file needs its place here.
CORE_ORDER = {
    "": [
        {"descriptor", "flow", "lock_share", "registry", "sites", "slots", "sync", "tls_framing", "write_queue"},
        {"heartbeat", "meter", "ready", "sys", "timers"},
        {"poll", "wait", "watchdog"},
        {"baton", "turn"},
        {"guarded"},
        {"lib"},
    ],
    "meter": [{"histogram"}, {"mod"}],
    "sys": [{"activity", "thing", "wake"}, {"linux", "model"}, {"mod"}],
    "sys/linux": [
        {"clock", "memory", "names", "thread", "throttling"},
        {"calls", "epoll", "futex", "procfs"},
        {"mod"},
    ],
    "watchdog": [
        {
            "cause",
            "class",
            "deadlock",
            "pile_up",
            "pulse",
            "slices",
            "standstill",
            "suspect",
            "tally",
            "things",
        },
        {"evidence", "sums", "timing"},
        {"open_reports"},
        {"verdict"},
        {"mod"},
    ],
    "baton": [{"mod"}, {"patients", "sentinel"}],
    "wait": [{"adaptive_spin"}, {"parker"}, {"idle_sleep", "spin_then_park"}, {"mod"}],
}
STACKS_ORDER = {"": [{"locations", "memory"}, {"layout"}, {"reader", "text"}, {"codes", "process"}, {"stack"}, {"lib"}]}
NATIVE_ORDER = {
    "": [
        {"errors", "generation", "json", "own_threads", "watchdog_sleep"},
        {"ffi"},
        {"clock", "private"},
        {"blocked_lines", "exit", "future_waiter", "origin", "this_thread", "threadsafe_hook"},
        {"handle", "starter"},
        {"outbox"},
        {"gates", "reader"},
        {"aside", "bases"},
        {"member"},
        {"event_loop"},
        {"calls", "transport"},
        {"pool"},
        {"handoff"},
        {"watchdog"},
        {"statistics"},
        {"listen"},
        {"driver", "fork"},
        {"lib"},
    ],
    "driver": [
        {"gil_share"},
        {"state"},
        {"collect", "handover", "sleep"},
        {"poll_files", "steps"},
        {"turn"},
        {"run"},
        {"mod"},
    ],
    "event_loop": [
        {"counters", "factories", "pins", "sighting"},
        {"shared"},
        {"state"},
        {"claims", "files", "new_handle", "scheduling"},
        {"asyncio_names", "call_soon", "create_task", "life", "options", "timing"},
        {"mod"},
    ],
    "ffi": [
        {"buffers", "cells", "contexts", "frames", "functions", "objects", "panics", "peek", "sigaction", "threads"},
        {"calls", "children", "fastcall", "private_name", "reuse", "window"},
        {"private"},
        {"ended", "runtime"},
        {"finalizers", "hashing", "interruption", "lookup"},
        {"onlooker"},
        {"mod"},
    ],
    "gates": [{"leaves", "opcodes"}, {"tool"}, {"callee", "codes", "everywhere"}, {"mod", "sites"}],
    "handle": [{"native", "running"}, {"args"}, {"mod"}, {"description"}, {"timer"}],
    "handoff": [
        {"asyncio_code", "current", "deadlock", "debugger", "grant", "relief", "signals", "tasks"},
        {"mod", "pinning"},
        {"contexts", "whole"},
        {"blocking", "block_on", "division", "rescue"},
        {"events"},
    ],
    "listen": [{"address", "runs"}, {"binding"}, {"http"}, {"pages"}, {"mod"}],
    "listen/pages": [{"live", "metrics", "stacks"}, {"state"}, {"mod"}],
    "pool": [{"job", "numbers"}, {"mod"}, {"worker"}],
    "transport": [
        {"address", "file", "flow", "input", "output", "waiters"},
        {"base"},
        {"server"},
        {"ending"},
        {"readiness"},
        {"opening", "sending"},
        {"info", "tls"},
        {"methods", "pipe", "socket"},
        {"datagram", "listener", "read_pipe", "write_pipe"},
        {"mod"},
    ],
    "transport/socket": [{"reading", "writing"}, {"mod"}],
    "transport/tls": [
        {"constants", "states"},
        {"session"},
        {"connection"},
        {"failure"},
        {"writing"},
        {"reading"},
        {"shutdown"},
        {"handshake"},
        {"names", "transport"},
        {"protocol"},
        {"mod"},
    ],
    "watchdog": [
        {"deputy", "sight", "snapshot"},
        {"block", "deadlock"},
        {"named_verdict"},
        {"notes", "plain"},
        {"end"},
        {"watch"},
        {"blind_look"},
        {"mod"},
    ],
}
ORDERS = {CORE: CORE_ORDER, STACKS: STACKS_ORDER, NATIVE: NATIVE_ORDER}

crates = pytest.mark.parametrize("crate", ORDERS, ids=lambda crate: crate.name)


def contents(files):
    """For each folder: the names of the files and folders in it."""
    found = {}
    for file in files:
        parts = file.removesuffix(".rs").split("/")
        for depth, part in enumerate(parts):
            found.setdefault("/".join(parts[:depth]), set()).add(part)
    return found


def place(order, user, used):
    """The folder in which two files part, and the heights there of what holds the one and the other."""
    paths = [file.removesuffix(".rs").split("/") for file in (user, used)]
    depth = next(depth for depth, (one, other) in enumerate(zip(*paths, strict=False)) if one != other)
    folder = "/".join(paths[0][:depth])
    heights = [height for path in paths for height, line in enumerate(order[folder]) if path[depth] in line]
    return folder, *heights


@crates
def test_every_file_has_its_place(crate):
    found = contents(crate_uses(crate / "src"))
    assert found.keys() == ORDERS[crate].keys()
    for folder, order in ORDERS[crate].items():
        names = list(itertools.chain(*order))
        assert len(names) == len(set(names)), f"{folder}: a name stands in two lines"
        assert found[folder] == set(names), f"{folder}: not the files and folders that are there"


@crates
def test_files_use_only_what_is_below_them(crate):
    uses = crate_uses(crate / "src")
    assert any(uses.values()), "nothing was found that uses anything"
    for user, used in sorted((user, used) for user, all_used in uses.items() for used in all_used):
        folder, height, below = place(ORDERS[crate], user, used)
        assert below < height, f"{user} uses {used}, which is not below it in {folder or 'src'}"


@crates
def test_no_files_use_each_other_in_a_circle(crate):
    assert [sorted(circle) for circle in circles(crate_uses(crate / "src"))] == []


def without_tests(text):
    """What stands before a Rust file's module of tests."""
    return text.partition("\n#[cfg(all(test")[0]


def words(text):
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()))


def test_the_core_knows_nothing_of_python():
    sources = [CORE / "Cargo.toml", *(CORE / "src").rglob("*.rs"), *(CORE / "tests").rglob("*.rs")]
    assert len(sources) > 2
    for path in sources:
        named = words(path.read_text()) & {"cpython", "gil", "interpreter", "pyo", "python"}
        assert not named, f"{path} speaks of {named}"


def test_the_core_reads_a_clock_in_one_place_and_only_threads_that_spin_ask_it():
    """All other time comes in as a number, so that each decision can be tested at any time."""
    clocks = r"\b(Instant|SystemTime|clock_gettime)\b|\bsys::now\b"
    sources = {path.relative_to(CORE / "src").as_posix(): path.read_text() for path in (CORE / "src").rglob("*.rs")}
    readers = {name: set(re.findall(clocks, without_tests(text))) for name, text in sources.items()}
    assert {name for name, found in readers.items() if found} == {
        "sys/linux/clock.rs",
        "sys/linux/thread.rs",  # CPU time
        "wait/adaptive_spin.rs",
        "wait/mod.rs",  # says so
        "wait/spin_then_park.rs",
    }


def test_rust_files_stay_readable():
    """600 lines are the wall."""
    for path in (ROOT / "crates").rglob("src/**/*.rs"):
        assert len(path.read_text().splitlines()) <= 600, path.relative_to(ROOT).as_posix()


# ---- how uses are found


def used_by(file, **sources):
    """What `file` uses in a crate of these sources, named as modules: `a__b` is a/b.rs, `root` is lib.rs."""
    modules = {name: () if name == "root" else tuple(name.split("__")) for name in sources}
    return uses_between({name: read(text, modules[name]) for name, text in sources.items()})[file]


def test_a_use_of_many_names_leads_to_each_file():
    files = {"b": "", "c__d": "", "c": "pub mod d;", "e": ""}
    assert used_by("a", a="use crate::{b::One, c::{d::Two, self}, e as f};", **files) == {"b", "c__d"}


def test_a_module_that_is_imported_is_used_where_something_of_it_is_named():
    assert used_by("a", a="use crate::b;", b="") == set()
    assert used_by("a", a="use crate::b;\nfn f() { b::go() }", b="") == {"b"}
    assert used_by("a", a="use crate::b as c;\nfn f() { c::go() }", b="") == {"b"}


def test_a_path_in_the_middle_of_a_line_counts_and_one_in_a_comment_or_a_text_does_not():
    assert used_by("a", a="fn f() { crate::b::go() }", b="") == {"b"}
    assert used_by("a", a='// crate::b::go()\nfn f() { "crate::b::go" }', b="") == set()


def test_relative_paths_are_resolved():
    files = {"a": "mod b; mod c;", "a__c": ""}
    assert used_by("a__b", a__b="use super::c::Thing;", **files) == {"a__c"}
    assert used_by("a__b", a__b="use super::helper;", **files) == {"a"}
    assert used_by("d", d="mod e;\nfn f() { e::go() }", d__e="") == {"d__e"}


def test_a_name_that_another_file_shows_counts_as_the_file_it_comes_from():
    files = {"b": "mod c;\npub use c::Thing;", "b__c": "pub struct Thing;"}
    assert used_by("a", a="use crate::b::Thing;", **files) == {"b__c"}
    assert used_by("b", a="", **files) == set()


def test_tests_inside_a_file_may_look_anywhere():
    source = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::b::go;\n}\n"
    assert used_by("a", a=source, b="") == set()
    assert used_by("a", a=source.replace("#[cfg(test)]\n", ""), b="") == {"b"}


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []
