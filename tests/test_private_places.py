"""Private names of others stand in the rooms that are there for them, and nowhere else in our sources."""

import ast
import asyncio
import pathlib
import re

import pytest

from everloop import _native
from everloop.private import names

ROOT = pathlib.Path(__file__).parent.parent
PYTHON, RUST = ROOT / "python/everloop", ROOT / "crates/native/src"

# Documented, or exported by their modules for those who write event loops, in spite of their names.
PUBLIC = {
    *("_exit", "_getframe", "_current_frames", "_is_gil_enabled", "_thread"),
    *("_get_running_loop", "_set_running_loop", "_enter_task", "_leave_task"),
}
# How to look into functions and frames of others.
PEEKING = {"f_locals", "cell_contents", "co_consts", "co_freevars", "co_cellvars"}

FOREIGN = {entry.attribute for entry in names.NAMES.values()}
# What asyncio's loops have and ours asks of itself: found in `Fallbacks` if asyncio has it no more.
INHERITED = {entry.attribute for place, entry in names.NAMES.items() if place.startswith("asyncio.SelectorEventLoop.")}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def trees():
    for path in sorted(PYTHON.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def rust_sources():
    for path in sorted(RUST.rglob("*.rs")):
        yield path, re.sub(r"//.*", "", path.read_text())


def defined_in_python():
    """The private attributes that our own classes and modules define."""
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                yield node.attr
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Assign) and any(is_slots(target) for target in node.targets):
                yield from (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant))


def is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_slots(node):
    return isinstance(node, ast.Name) and node.id == "__slots__"


def defined_in_rust():
    """The private attributes of our own classes in Rust."""
    for value in vars(_native).values():
        if isinstance(value, type):
            yield from vars(value)
    for _, source in rust_sources():
        for names_of_ours in (r"\bfn (_\w+)", r"name = \"(_\w+)\"", r"Native::new\(\s*\"(_\w+)\"", r"name: \"(_\w+)\""):
            yield from re.findall(names_of_ours, source)
        yield from re.findall(r"\.need\([\w.()]+, \"(_\w+)\"", source)  # what the words of an error show


OWN = {name for name in defined_in_python() if is_private(name)}
OWN |= {name for name in defined_in_rust() if isinstance(name, str) and is_private(name)}

# Ours, though others have the same: who is asked for it, as the source spells it.
OURS_TOO = {
    *("node._task", "node._loop", "ours._loop"),  # LoopFuture's
    *("pool._threads", "pool._workers"),  # ThreadPool's
    "transport._sock_fd",  # native transports'
    *("tls._incoming", "tls._app_transport"),  # native TLS's
}


def uses(tree):
    """The private attributes that a file asks others for: line, how it is spelled, the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (is_private(node.attr) or node.attr in PEEKING):
            yield node.lineno, ast.unparse(node), node.attr, is_self(node.value) or is_super(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            owner, name = node.args[:2]
            is_name = isinstance(name, ast.Constant) and isinstance(name.value, str)
            if node.func.id in ("getattr", "hasattr", "setattr", "delattr") and is_name and is_private(name.value):
                yield node.lineno, f"{ast.unparse(owner)}.{name.value}", name.value, is_self(owner)


def is_super(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def imports(tree):
    """The private names, and names of private modules, that a file imports from others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [(alias.lineno, part) for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            parts = [(node.lineno, part) for part in found]
        else:
            continue
        yield from ((line, part) for line, part in parts if is_private(part) and part not in PUBLIC)


def is_allowed(spelled, name, of_self):
    if name in PUBLIC or spelled in OURS_TOO:
        return True
    if of_self:
        return name in OWN or name in INHERITED
    return (name in OWN and name not in FOREIGN) or (name in INHERITED and spelled.startswith("loop."))


OUTSIDE = [(path, tree) for path, tree in trees() if PYTHON / "private" not in path.parents]


@pytest.mark.parametrize(("path", "tree"), OUTSIDE, ids=[str(path.relative_to(PYTHON)) for path, _ in OUTSIDE])
def test_python_asks_others_for_private_names_only_in_the_room(path, tree):
    found = [use[:2] for use in uses(tree) if not is_allowed(*use[1:])]
    assert found == [], f"{path.name}: to everloop/private with it"
    assert list(imports(tree)) == [], f"{path.name}: to everloop/private with it"


def test_a_private_name_outside_of_the_room_is_found():
    lines = [
        "import _asyncio",
        "from anyio._core import x",
        "future._state",
        "getattr(task, '_fut_waiter')",
        "frame.f_locals",
    ]
    tree = ast.parse("\n".join(lines))
    found = {use[1] for use in uses(tree) if not is_allowed(*use[1:])}
    assert found == {"future._state", "task._fut_waiter", "frame.f_locals"}
    assert list(imports(tree)) == [(1, "_asyncio"), (2, "_core")]


def test_what_is_taken_for_public_is():
    exported = {*asyncio.events.__all__, *asyncio.tasks.__all__}
    assert {name for name in PUBLIC if name.endswith(("_loop", "_task"))} <= exported


def test_what_is_ours_too_is_used():
    spelled = {use[1] for _, tree in OUTSIDE for use in uses(tree)}
    assert OURS_TOO - spelled == set()


# ---- Rust

ROOMS = [RUST / "private.rs", RUST / "ffi/private.rs"]
# How CPython lays out its objects in memory.
STACKS = RUST.parent.parent / "stacks/src"
# Names in strings that are no attributes of others: what a repr shows.
WORDS = {"_ThreadSafeHandle"}
# A function that is documented.
TYPES = {"_PyBytes_Resize"}
# Looked up with ffi/private.rs, where they have their entries, by threads that can tell nobody.
LOOKED_UP = {"_Py_IsFinalizing", "_pthread_cleanup_push", "_pthread_cleanup_pop"}


@pytest.mark.parametrize("path", [path for path, _ in rust_sources()], ids=lambda path: str(path.relative_to(RUST)))
def test_rust_asks_others_for_private_names_only_in_the_rooms(path):
    if path in ROOMS:
        return
    source = dict(rust_sources())[path]
    attributes = {name for name in re.findall(r"\"(_\w+)\"", source) if is_private(name)}
    foreign = attributes - PUBLIC - WORDS - INHERITED - LOOKED_UP - (OWN - FOREIGN)
    assert foreign == set(), f"{path.name}: to private.rs with it"
    assert {*re.findall(r"\b_Py[A-Z]\w+", source)} - TYPES == set(), f"{path.name}: to ffi/private.rs with it"


@pytest.mark.parametrize("path", sorted(STACKS.glob("*.rs")), ids=lambda path: path.name)
def test_what_the_interpreter_calls_its_fields_stands_in_one_file(path):
    fields = r"\b(?:_Py[A-Z]\w+|co_\w+|ob_\w+|interp|instr_ptr|native_thread_id|current_frame|ceval_gil)\b"
    found = set(re.findall(fields, re.sub("//.*", "", path.read_text())))
    assert (found != set()) is (path.name == "layout.rs")
