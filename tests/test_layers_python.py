"""Arrows between layers of the package point one way: nobody uses what stands above it."""

import ast
import pathlib

PYTHON = pathlib.Path(__file__).parent.parent / "python/everloop"

# From the bottom up. Modules of one line may not use each other; a new module needs its place here.
PYTHON_LAYERS = [
    {"_native"},
    {"private"},
    {"real_threads"},
    {"children", "environment", "pool", "sendfile", "sockets"},
    {"subprocesses"},
    {"loop"},
    {"bridge", "policy"},
    {"other_loops", "watch"},
    {"takeover"},
    {"cli", "pytest_plugin", "testing"},
]


def rank(layers, module):
    """The height of a module's layer."""
    return next((height for height, layer in enumerate(layers) if module in layer), None)


def imported_modules(path):
    """The top modules of the package that a Python file imports, relative imports resolved."""
    package = ("everloop", *path.relative_to(PYTHON).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        yield from (name[1] for name in names if name[0] == "everloop" and len(name) > 1)


def test_python_modules_import_only_what_is_below():
    checked = 0
    for path in sorted(PYTHON.rglob("*.py")):
        module = path.relative_to(PYTHON).parts[0].removesuffix(".py")
        if module in ("__init__", "__main__"):
            continue  # they show what the others made
        height = rank(PYTHON_LAYERS, module)
        assert height is not None, f"{module} has no place"
        for used in set(imported_modules(path)) - {module}:
            used_height = rank(PYTHON_LAYERS, used)
            assert used_height is not None, f"{path.name} imports {used} from the package itself, which is above it"
            assert used_height < height, f"{path.name} imports {used}, which is above it"
        checked += 1
    assert checked, "no Python sources found"


def test_files_stay_readable():
    """800 lines are the wall."""
    too_long = {path.name: len(path.read_text().splitlines()) for path in PYTHON.rglob("*.py")}
    assert {name: lines for name, lines in too_long.items() if lines > 800} == {}
