"""Arrows between layers of the crates point one way: nobody uses what stands above it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CORE, NATIVE = ROOT / "crates/core", ROOT / "crates/native"

# From the bottom up. Modules of one line may use each other; a new module needs its place here.
NATIVE_LAYERS = [
    {"clock", "errors", "exit", "ffi", "future_waiter", "private", "threadsafe_hook", "watchdog_sleep"},
    {"member", "outbox", "starter"},
    {"handle"},
    {"event_loop"},
    {"calls", "transport"},
    {"pool"},
    {"handoff"},
    {"watchdog"},
    {"driver"},
]


def rank(layers, module):
    """The height of a module's layer."""
    return next((height for height, layer in enumerate(layers) if module in layer), None)


def without_comments(source):
    return re.sub(r"//.*", "", source)


def rust_modules(crate):
    """Each source file with the name of the top module it belongs to."""
    for path in sorted((crate / "src").rglob("*.rs")):
        yield path, path.relative_to(crate / "src").parts[0].removesuffix(".rs")


def used_modules(source):
    """The crate's own top modules that a Rust file names, also those in a `use crate::{a, b::c}`."""
    source = without_comments(source)
    used = set(re.findall(r"\bcrate::([a-z_]\w*)", source))
    for group in re.findall(r"\bcrate::\{(.*?)\};", source, re.DOTALL):
        flat = group
        while re.search(r"\{[^{}]*\}", flat):
            flat = re.sub(r"\{[^{}]*\}", "", flat)
        used |= {item.strip().split("::")[0] for item in flat.split(",") if item.strip()}
    return {name for name in used if name.islower()}


def test_used_modules_are_found():
    source = (
        "use crate::errors;\nuse crate::{ffi::{a, b}, handle::Handle};\nfn f() { crate::driver::go() } // crate::no"
    )
    assert used_modules(source) == {"errors", "ffi", "handle", "driver"}


def test_the_core_knows_nothing_of_python():
    sources = [CORE / "Cargo.toml", *(CORE / "src").rglob("*.rs")]
    assert len(sources) > 1
    for path in sources:
        text = path.read_text()
        assert "pyo3" not in text.lower(), path
        assert "everloop_native" not in text, path


def test_every_native_module_has_its_place():
    modules = {module for _, module in rust_modules(NATIVE)} - {"lib"}
    assert modules, "no native sources found"
    assert modules <= set().union(*NATIVE_LAYERS)


@pytest.mark.parametrize("path", [path for path, _ in rust_modules(NATIVE)], ids=lambda path: path.name)
def test_native_modules_use_only_what_is_below(path):
    module = path.relative_to(NATIVE / "src").parts[0].removesuffix(".rs")
    if module == "lib":
        return  # it names them all
    height = rank(NATIVE_LAYERS, module)
    assert height is not None, f"{module} has no place"
    known = set().union(*NATIVE_LAYERS)
    for used in (used_modules(path.read_text()) & known) - {module}:
        assert rank(NATIVE_LAYERS, used) <= height, f"{path.name} uses {used}, which is above it"


def test_files_stay_readable():
    """800 lines are the wall."""
    sources = [*CORE.rglob("src/**/*.rs"), *NATIVE.rglob("src/**/*.rs")]
    sources += (ROOT / "tests").glob("*.py")
    too_long = {path.name: len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in too_long.items() if lines > 800} == {}
