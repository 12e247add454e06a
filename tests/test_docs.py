"""The documents say what is so: stub and docstring are one text, the architecture stays short, the examples run."""

import ast
import asyncio
import doctest
import inspect
import json
import operator
import pathlib
import re
import sys
import xml.etree.ElementTree

import pytest

import everloop
from everloop import _native, environment, watch

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benches")]

import make_api  # noqa: E402
import picture  # noqa: E402

API = ROOT / "docs/api.md"  # its examples are those of the docstrings
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {API})
STUB = ast.parse((pathlib.Path(everloop.__file__).parent / "_native.pyi").read_text())
WITHOUT_EXAMPLES = {"BlockingError", "DeadlockError", "EventLoopPolicy", "TransferError", "WorkerDiedError"}
PUBLIC = [name for name in dir(everloop) if not name.startswith("_") and not inspect.ismodule(getattr(everloop, name))]


def documented(body, owner=()):
    """The dotted names of a stub that carry a docstring, each with that text."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield ".".join((*owner, node.name)), text
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, (*owner, node.name))


STUB_DOCSTRINGS = dict(documented(STUB.body))


@pytest.mark.parametrize("name", STUB_DOCSTRINGS)
def test_the_stub_carries_the_docstring_of_the_native_object(name):
    thing = _native
    for part in name.split("."):
        thing = getattr(thing, part)
    assert inspect.cleandoc(thing.__doc__ or "") == STUB_DOCSTRINGS[name]


def test_every_native_class_and_function_is_in_the_stub():
    native = {
        name
        for name, thing in vars(_native).items()
        if not name.startswith("_") and (inspect.isclass(thing) or callable(thing))
    }
    in_stub = {node.name for node in STUB.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert native
    assert native <= in_stub


def test_every_native_method_is_in_the_stub():
    for node in STUB.body:
        if isinstance(node, ast.ClassDef) and hasattr(_native, node.name):
            members = {name for name in vars(getattr(_native, node.name)) if not name.startswith("_")}
            in_stub = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
            in_stub |= {member.target.id for member in node.body if isinstance(member, ast.AnnAssign)}
            assert members <= in_stub, node.name


def test_every_public_name_says_what_it_is():
    assert {"EventLoop", "new_event_loop", "run", "blocking", "block_on", "DeadlockError"} <= set(PUBLIC)
    assert [name for name in PUBLIC if not inspect.getdoc(getattr(everloop, name))] == []
    assert inspect.getdoc(everloop)


@pytest.mark.parametrize("name", [*sorted(set(everloop.__all__) - WITHOUT_EXAMPLES), "LoopThread.submit"])
@pytest.mark.usefixtures("fork_server")
def test_the_examples_of_a_docstring_run(name):
    thing = operator.attrgetter(name)(everloop)
    tests = doctest.DocTestFinder(recurse=False).find(thing, name, module=False, globs={"everloop": everloop})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    results = runner.summarize(verbose=False)
    assert results.attempted, "the docstring has no runnable example"
    assert not results.failed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.usefixtures("fork_server")
def test_the_examples_of_a_page_run(path):
    watch.install()  # the lines of two pages of one name are told apart by nothing
    results = doctest.testfile(
        str(path), module_relative=False, globs={"everloop": everloop}, optionflags=doctest.ELLIPSIS, encoding="utf-8"
    )
    assert not results.failed


def test_what_the_statistics_of_a_loop_say_is_in_their_docstring(loop):
    text = everloop.EventLoop.statistics.__doc__
    assert [name for name in loop.statistics() if f"`{name}`" not in text] == []


def keys_of(found):
    """All keys of dictionaries, however deep."""
    if isinstance(found, dict):
        return {*found, *(key for value in found.values() for key in keys_of(value))}
    return {key for value in found for key in keys_of(value)} if isinstance(found, list) else set()


def test_what_the_statistics_of_the_bridge_say_is_in_their_docstring():
    limiter, seen = everloop.Limiter(1), []

    def work():
        everloop.block_on(asyncio.sleep(0))
        seen.append(everloop.statistics())

    async def main():
        await everloop.to_process(int)
        await everloop.to_thread(work, limiter=limiter)
        task = asyncio.ensure_future(asyncio.sleep(0))
        task.add_done_callback(lambda _: seen.append(everloop.statistics()))
        everloop.block_on(task)

    everloop.run(main())
    keys = keys_of(seen)
    assert {"calls", "holders", "waits", "waiter", "limit"} <= keys
    assert [key for key in keys if f"`{key}`" not in everloop.statistics.__doc__] == []


@pytest.mark.parametrize("page", ["docs/options.md", "docs/zh-CN/options.md"])
def test_the_page_of_options_shows_the_table_of_options(page):
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", (ROOT / page).read_text(), re.MULTILINE)
    table = [(each.name, each.kind.values, each.default, each.meaning) for each in environment.OPTIONS.values()]
    if page == "docs/options.md":
        assert rows == table
    assert [row[0] for row in rows] == [row[0] for row in table]
    for (name, values, default, _), row in zip(rows, table, strict=True):
        quoted = [re.findall(r"`\w+`|[\d.]+", text) for text in (values, row[1])]
        assert quoted[0] == quoted[1], name
        assert re.findall(r"[\d.]+", default) == re.findall(r"[\d.]+", row[2]), name


def test_what_is_not_public_has_an_underscore():
    folder = pathlib.Path(everloop.__file__).parent
    modules = {path.stem for path in [*folder.glob("*.py"), *folder.glob("*/")]}
    names = {name for name in dir(everloop) if name.isidentifier()}  # pytest may have rewritten the package
    assert {name for name in names if not name.startswith("_")} - modules <= set(everloop.__all__)
    ours = {name for name in dir(everloop.EventLoop) if not name.startswith("_")} - set(dir(asyncio.SelectorEventLoop))
    options = {"max_processes", "max_relief_threads", "rescue", "rescue_after", "slow_callback_duration"}
    assert ours == {*options, *make_api.OF_THE_LOOP}
    page = API.read_text()
    for owner in (everloop.Limiter, everloop.LoopThread):
        members = {f"`{owner.__name__}.{name}`" for name in dir(owner) if not name.startswith("_")}
        assert members == {name for name in members if name in page}


def test_the_page_of_all_public_names_is_up_to_date():
    assert API.read_text() == make_api.page(), "make api"


def test_what_is_shown_of_a_definition_is_what_one_calls():
    [function, method, kind] = ast.parse("""
async def call(f: F, /, *args: int, limit: float | None = None, **options: Any) -> T: ...
def run(self, awaitable, timeout=1): ...
class Box:
    def __init__(self, *, name: str): ...
""").body
    shown = "await everloop.call(f: F, /, *args: int, limit: float | None = None, **options: Any) -> T"
    assert make_api.signature(function) == shown
    assert make_api.signature(method, "box.", is_method=True) == "box.run(awaitable, timeout=1)"
    assert make_api.signature(kind) == "class everloop.Box(*, name: str)"
    text = make_api.text_of("Does.\n\nArgs:\n    name: One,\n        and more.\n\nExample:\n    >>> 1\n    1\n")
    assert text == "Does.\n\n**Args**\n\n- `name`: One,\n  and more.\n\n**Example**\n\n```python\n>>> 1\n1\n\n```"


def test_the_picture_is_what_was_measured():
    measured = json.loads((ROOT / "docs/health.json").read_text())
    assert list(measured["loops"]) == ["asyncio", "uvloop", "everloop"]
    assert {len(points) for points in measured["loops"].values()} == {500}
    assert (ROOT / "docs/health.svg").read_text() == picture.drawn(measured), "benches/picture.py --draw"
    assert json.loads(picture.written(measured)) == measured
    for page in ("README.md", "README.zh-CN.md"):
        assert "](docs/health.svg)" in (ROOT / page).read_text()


def test_the_picture_shows_each_probe_where_it_was_due_and_as_high_as_it_took():
    drawn = picture.drawn({"loops": {"slow": [[0, 0.0], [5, 2.0]], "fast": [[0, 0.001], [5, 0.002]]}})
    root = xml.etree.ElementTree.fromstring(drawn)
    shapes = {each.get("class"): each.get("points") for each in root.iter("{http://www.w3.org/2000/svg}polygon")}
    assert shapes["slow"] == "120,109 120.0,108.0 430.0,34.0 430.0,109"
    assert shapes["fast"] == "120,197 120.0,196.0 430.0,195.9 430.0,197"
    assert "worst 2.0 s" in drawn
    assert "worst 2 ms" in drawn


def anchors(page):
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, API], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text())
    for name, anchor in links:
        target = path.parent / name if name else path
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def test_one_slow_call_has_one_name_in_pages_examples_and_advice():
    named = [*PAGES, *ROOT.glob("examples/*.py"), *ROOT.glob("python/everloop/watch/*.py")]
    calls = {path.name: re.findall(r"await ([\w.]*to_thread)\(", path.read_text()) for path in named}
    assert {"README.md", "threads.md", "advice.py", "thread_endpoint.py"} <= {
        name for name, found in calls.items() if found
    }
    assert {name for found in calls.values() for name in found} == {"everloop.to_thread"}


def test_the_architecture_fits_in_a_sitting():
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) < 200


def test_the_pages_are_there():
    for name in ("README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        assert (ROOT / name).stat().st_size > 200, name


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_oldest_rust_is_the_one_that_the_crates_need(page):
    """Cargo refuses an older one, and clippy what a newer one brought (incompatible_msrv in Cargo.toml)."""
    [oldest] = re.findall(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert re.findall(r"Rust [^(]+\((\d+\.\d+) ", (ROOT / page).read_text()) == [oldest]


def test_each_test_file_stands_beside_the_room_that_it_covers():
    table = (ROOT / "tests/README.md").read_text().partition("## Which file covers which room")[2]
    listed = {name for row in re.findall(r"^\| .* \| (.*) \|$", table, re.MULTILINE) for name in row.split(", ")}
    assert listed - {"test files"} == {path.stem.removeprefix("test_") for path in ROOT.glob("tests/test_*.py")}


def test_the_package_is_typed():
    package = pathlib.Path(everloop.__file__).parent
    assert (package / "py.typed").exists()
    assert isinstance(everloop.__version__, str)
