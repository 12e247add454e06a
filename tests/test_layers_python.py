"""The package, file by file: each imports only files that stand below it, and none of them in a circle."""

import ast
import graphlib
import itertools
import pathlib

PYTHON = pathlib.Path(__file__).parent.parent / "python/everloop"

# For each folder ("" is the package itself): what lies in it, from the bottom up. A folder stands among files as one of
# them. Those of one line do not import each other; a new file needs its place here.
ORDER = {
    "": [
        {"_native"},
        {"contexts", "log", "program"},
        {"private"},
        {"real_threads"},
        {"autojump", "children", "environment", "pool", "sendfile", "signals", "sockets", "transports"},
        {"listening", "subprocesses"},
        {"loop"},
        {"bridge", "policy"},
        {"check", "other_loops", "watch"},
        {"running", "takeover", "top"},
        {"cli", "gunicorn"},
    ],
    "bridge": [
        {"functions", "futures", "this_process"},
        {"deadlocks"},
        {"executors", "processes", "threads"},
        {"loops"},
        {"faces"},
        {"statistics"},
    ],
    "bridge/deadlocks": [{"edges", "graph", "message", "openers"}, {"waiting"}, {"locks"}],
    "bridge/executors": [{"to_executor"}, {"to_interpreter"}],
    "bridge/faces": [
        {"runners", "serial_task", "serial_thread"},
        {"sync_context", "sync_iterator"},
        {"async_context", "sync_object"},
        {"aiterate", "async_object", "iterate"},
        {"asyncify", "syncify"},
    ],
    "bridge/loops": [
        {"blocking", "own_loop", "step_wait", "whole"},
        {"loop_future"},
        {"block_on", "loop_thread", "threadsafe_future"},
    ],
    "bridge/processes": [
        {"errors", "worker_main"},
        {"transfer", "worker_process"},
        {"process_pool"},
        {"to_process"},
    ],
    "bridge/threads": [{"lent_slot", "limiter"}, {"to_thread"}, {"anyio_threads"}, {"anyio_shortage"}],
    "private": [
        {"names"},
        {"anyio_backend", "eager", "futures", "loops", "nesting", "processes", "threads"},
        {"awaiting"},
    ],
    "top": [{"client", "figures"}, {"drawing"}, {"commands"}],
    "watch": [
        {"advice", "hook", "painting", "source"},
        {"cause", "no_blocking"},
        {"record"},
        {"output", "text"},
        {"report_writer"},
        {"worst_lines"},
    ],
}
MOST_FLOORS = 6  # of the bridge: how many of its files import each other in a row
MOST_LINES = 600


def module_of(path):
    """The module of a file, as its names below the package; () is the package itself."""
    parts = path.relative_to(PYTHON).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported_by(source, package, modules):
    """The modules that the source of a module in this package imports, wherever in it, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ("everloop", *package)[: len(package) + 2 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for name in (name[1:] for name in names if name[0] == "everloop"):
            yield name if name in modules else name[:-1]  # the module, or the one that holds the name


def all_imports():
    files = {module_of(path): path for path in sorted(PYTHON.rglob("*.py"))}
    modules = {*files, ("_native",)}
    return {
        module: set(imported_by(path.read_text(), module if path.stem == "__init__" else module[:-1], modules))
        for module, path in files.items()
    }


IMPORTS = all_imports()


def spelled(modules):
    return " -> ".join(".".join(("everloop", *module)) for module in modules)


def place(user, used):
    """The folder in which two modules part, and the heights there of what holds the one and the other."""
    depth = next(depth for depth, (one, other) in enumerate(zip(user, used, strict=False)) if one != other)
    folder = "/".join(user[:depth])
    heights = [height for module in (user, used) for height, line in enumerate(ORDER[folder]) if module[depth] in line]
    return folder, *heights


def circle(graph):
    """The modules of one circle, each of which imports the next; nothing where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def longest_chain(graph):
    """The longest row of modules, each of which imports the next."""
    chains = {}
    for module in graphlib.TopologicalSorter(graph).static_order():
        below = max((chains[used] for used in graph.get(module, ())), key=len, default=[])
        chains[module] = [module, *below]
    return max(chains.values(), key=len)


# ---- the tools


def test_imports_are_found():
    modules = {(), ("loop",), ("bridge",), ("bridge", "loops"), ("bridge", "loops", "block_on"), ("log",), ("_native",)}
    source = """
import everloop.log, os
from .. import loop
from ... import _native
from ...log import logger
from .block_on import block_on
def late():
    from . import block_on
    from everloop.bridge import loops
    from everloop import run
    """
    found = list(imported_by(source, ("bridge", "loops"), modules))
    assert found == [
        *(("log",), ("bridge",), ("_native",), ("log",), ("bridge", "loops", "block_on")),
        *(("bridge", "loops", "block_on"), ("bridge", "loops"), ()),
    ]


def test_circles_and_chains_are_found():
    assert circle({1: {2}, 2: {3}, 3: set()}) == []
    found = circle({1: {2}, 2: {3}, 3: {2}})
    assert found[0] == found[-1]
    assert set(found) == {2, 3}
    assert longest_chain({1: {2, 4}, 2: {3}, 3: set(), 4: set()}) == [1, 2, 3]


# ---- the package


def test_every_file_has_its_place():
    found = {"": {"_native"}}
    for path in PYTHON.rglob("*.py"):
        parts = path.relative_to(PYTHON).with_suffix("").parts
        for depth, part in enumerate(parts):
            if part not in ("__init__", "__main__"):  # they show what the others made
                found.setdefault("/".join(parts[:depth]), set()).add(part)
    assert found.keys() == ORDER.keys()
    for folder, order in ORDER.items():
        names = list(itertools.chain(*order))
        assert len(names) == len(set(names)), f"{folder}: a name stands in two lines"
        assert set(names) == found[folder], f"{folder}: not the files and folders that are there"


def test_modules_import_only_what_is_below_them():
    checked = 0
    for user, all_used in IMPORTS.items():
        if user in ((), ("__main__",)):
            continue
        for used in all_used - {user}:
            assert used != user[: len(used)], f"{spelled([user, used])}: that is the folder that it lies in"
            if user == used[: len(user)]:
                continue  # a folder shows what its files made
            folder, height, below = place(user, used)
            assert below < height, f"{spelled([user, used])}: that is not below it in {folder or 'the package'}"
            checked += 1
    assert checked, "nothing was found that imports anything"


def test_no_modules_import_each_other_in_a_circle():
    graph = {user: used - {user} for user, used in IMPORTS.items()}
    assert circle(graph) == [], spelled(circle(graph))


def test_the_bridge_has_few_floors():
    bridge = {
        user: {name for name in used if name[:1] == ("bridge",)}
        for user, used in IMPORTS.items()
        if user[:1] == ("bridge",)
    }
    chain = longest_chain(bridge)
    assert 1 < len(chain) <= MOST_FLOORS, spelled(chain)


def test_no_folder_has_a_file_and_a_folder_of_one_name():
    folders = {path for path in PYTHON.rglob("*") if path.is_dir()}
    assert [path for path in PYTHON.rglob("*.py") if path.with_suffix("") in folders] == []


def test_files_stay_readable():
    too_long = {path.name: len(path.read_text().splitlines()) for path in PYTHON.rglob("*.py")}
    assert {name: lines for name, lines in too_long.items() if lines > MOST_LINES} == {}
