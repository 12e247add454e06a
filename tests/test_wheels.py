"""What is published: wheels that keep what their names promise, a source that says what it takes, versions that agree.

`make wheels` builds, installs and tries the real ones; here are the checks, each of which must find its fault.
"""

import io
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import everloop
from everloop import _native

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_wheels  # noqa: E402
import elf  # noqa: E402

MAKEFILE = (ROOT / "Makefile").read_text()
VERSIONS = re.search(r"^VERSIONS := (.+)$", MAKEFILE, re.MULTILINE)[1].split()
EXTENSION = pathlib.Path(_native.__file__).read_bytes()
MACHINE = elf.read(EXTENSION).machine
PACKAGE = {"everloop/__init__.py", "everloop/py.typed", "everloop/_native.pyi", "everloop_pytest/__init__.py"}
NAME = f"everloop/_native.cpython-313-{MACHINE}-linux-gnu.so"
INFO = f"everloop-{everloop.__version__}.dist-info/"


# ---- one version, one list of interpreters


def test_the_version_has_one_place():
    assert everloop.__version__ == check_wheels.version()
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert everloop.__version__ in newest[:2]  # below what is not released yet


def test_every_list_of_interpreters_is_the_same():
    project = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r"Python :: (3\.\d+)", project) == VERSIONS
    assert f'requires-python = ">={VERSIONS[0]}"' in project
    assert f"versions=({' '.join(VERSIONS)})" in (ROOT / ".ci/run").read_text()
    assert sorted(re.search(r"versions=\((3.+)\)", (ROOT / "tools/find_python.sh").read_text())[1].split()) == VERSIONS
    for page, between in (("docs/supported.md", ", "), ("docs/zh-CN/supported.md", "、")):
        assert f"| CPython | {between.join(VERSIONS)} |" in (ROOT / page).read_text()


@pytest.mark.parametrize("page", ["docs/supported.md", "docs/zh-CN/supported.md"])
def test_the_page_of_what_is_supported_names_the_platforms_and_the_oldest_rust(page):
    text = (ROOT / page).read_text()
    assert "manylinux_2_17" in text
    assert re.search(r"^PLATFORM := manylinux_2_17$", MAKEFILE, re.MULTILINE)
    [oldest] = re.findall(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert re.findall(r"Rust ?\((\d+\.\d+)", text.replace("Rust(", "Rust (")) == [oldest]


# ---- wheels


def wheel(directory, tags="manylinux_2_99", *, python="cp313", told=None, changed=None):
    """A wheel as maturin makes them, with the extension of this interpreter; what is changed to None is left out."""
    tags = f"{tags}_{MACHINE}"
    contents = dict.fromkeys(PACKAGE, b"") | {NAME: EXTENSION}
    for name in ("licenses/LICENSE", "entry_points.txt", "RECORD"):
        contents[INFO + name] = b""
    contents[INFO + "WHEEL"] = f"Wheel-Version: 1.0\nTag: {told or f'{python}-{python}-{tags}'}\n".encode()
    contents[INFO + "METADATA"] = f"Name: everloop\nVersion: {everloop.__version__}\n".encode()
    contents |= changed or {}
    path = directory / f"everloop-{everloop.__version__}-{python}-{python}-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def _a_build_for_tests_is_large(monkeypatch):
    monkeypatch.setattr(check_wheels, "LARGEST", 2 * len(EXTENSION))


def wrong(path):
    return list(check_wheels.wrong_with_wheel(path, PACKAGE))


def test_a_right_wheel_is_right(tmp_path):
    assert wrong(wheel(tmp_path)) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"everloop/py.typed": None}, "it lacks everloop/py.typed"),
        ({"everloop/_native.pyi": None}, "it lacks everloop/_native.pyi"),
        ({NAME: None}, f"it lacks {NAME}"),
        ({INFO + "licenses/LICENSE": None}, "it lacks licenses/LICENSE"),
        ({"tests/test_loop.py": b""}, "it has tests/test_loop.py, which is no part of it"),
        (
            {"everloop/_native.cpython-312-left.so": b""},
            "it has everloop/_native.cpython-312-left.so, which is no part of",
        ),
        ({INFO + "METADATA": b"Version: 0.0.1\n"}, "its METADATA tells of another version"),
    ],
)
def test_what_a_wheel_lacks_or_has_besides_is_found(tmp_path, changed, fault):
    [found] = wrong(wheel(tmp_path, changed=changed))
    assert found.startswith(fault)


def test_a_wheel_that_asks_for_a_newer_c_library_than_its_name_says_is_found(tmp_path):
    faults = wrong(wheel(tmp_path, "manylinux_2_3"))
    assert faults
    assert all(
        re.fullmatch(r"its extension asks for GLIBC_2\.\d+(\.\d+)?, newer than its tag", fault) for fault in faults
    )


def test_a_wheel_for_musl_that_asks_for_glibc_is_found(tmp_path):
    faults = wrong(wheel(tmp_path, "musllinux_1_2", changed={NAME: None, NAME.replace("gnu", "musl"): EXTENSION}))
    assert any("and musl has none" in fault for fault in faults)
    assert any("links to libc.so.6, which not every system has" in fault for fault in faults)


def test_a_wheel_of_another_version_interpreter_or_size_is_found(tmp_path, monkeypatch):
    assert any("and its WHEEL" in fault for fault in wrong(wheel(tmp_path, told="py3-none-any")))
    assert any("it lacks everloop/_native.cpython-312-" in fault for fault in wrong(wheel(tmp_path, python="cp312")))
    monkeypatch.setattr(check_wheels, "LARGEST", 10)
    assert any("more than 10" in fault for fault in wrong(wheel(tmp_path)))
    monkeypatch.setattr(check_wheels, "version", lambda: "9.9.9")
    assert any("Cargo.toml says everloop 9.9.9" in fault for fault in wrong(wheel(tmp_path)))


@pytest.mark.parametrize(
    ("asks", "fault"),
    [
        ({"machine": "s390x"}, "its extension is for s390x"),
        ({"needed": frozenset({"libpython3.13.so.1.0"})}, "its extension links to libpython3.13.so.1.0, which not"),
        ({"has_path": True}, "its extension looks for libraries in a path of its own"),
    ],
)
def test_what_an_extension_must_not_ask_for_is_found(asks, fault):
    plain = {"machine": "x86_64", "needed": frozenset(), "versions": frozenset({"GLIBC_2.17"}), "has_path": False}
    tags = "manylinux2014_x86_64.manylinux_2_17_x86_64"
    assert list(check_wheels.wrong_with_extension(elf.Elf(**plain), tags)) == []
    [found] = check_wheels.wrong_with_extension(elf.Elf(**plain | asks), tags)
    assert found.startswith(fault)


def test_a_wheel_that_is_missing_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_wheels, "files_of", lambda *folders: {f"python/{name}" for name in PACKAGE})
    monkeypatch.setattr(check_wheels.platform, "machine", lambda: MACHINE)
    wheel(tmp_path)
    assert not check_wheels.main(tmp_path, "manylinux_2_99", ["3.13"])
    assert check_wheels.main(tmp_path, "manylinux_2_99", ["3.12", "3.13"])
    assert "there are 0" in capsys.readouterr().out


def test_what_is_no_extension_is_refused():
    with pytest.raises(ValueError, match="no 64-bit"):
        elf.read(b"MZ" + bytes(64))


# ---- the source distribution


def source(directory, names):
    path = directory / f"everloop-{everloop.__version__}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"everloop-{everloop.__version__}/{name}"), io.BytesIO())
    return path


def test_what_a_source_distribution_lacks_or_has_besides_is_found(tmp_path):
    sources = {"crates/core/src/lib.rs", "python/everloop/__init__.py"}
    right = {*sources, *check_wheels.IN_A_SOURCE}
    assert list(check_wheels.wrong_with_source(source(tmp_path, right), sources)) == []
    faults = list(check_wheels.wrong_with_source(source(tmp_path, {*right, "python/x.so"} - {"Cargo.lock"}), sources))
    assert faults == ["it lacks Cargo.lock", "it has python/x.so, which was built"]


# maturin's own hooks fail so where they cannot fetch Rust
NO_NETWORK = """
def fail(*args, **kwargs):
    raise ConnectionError("no network")
build_editable = build_sdist = build_wheel = fail
get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel = fail
prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel = fail
"""


@pytest.fixture
def without_rust(tmp_path):
    """A directory for PATH that has what the scripts need, and neither Rust nor a compiler."""
    path = tmp_path / "path"
    path.mkdir()
    for tool in ("sh", "sed", "cut", "sort", "dirname"):
        (path / tool).symlink_to(shutil.which(tool))
    return path


def build(tmp_path, path, before=""):
    (tmp_path / "maturin.py").write_text(NO_NETWORK)
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / 'tools')!r}]\n{before}\n"
    program += "import build_backend; build_backend.build_wheel('.')"
    return subprocess.run([sys.executable, "-c", program], env={"PATH": str(path)}, capture_output=True, text=True)


def test_a_build_without_rust_ends_with_what_to_install(tmp_path, without_rust):
    done = build(tmp_path, without_rust)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "everloop could not be built: ConnectionError: no network"
    assert re.fullmatch(r".*cargo was not found\. Install Rust \d\.\d+ or newer: https://rustup\.rs", lines[1])
    assert "no C compiler (cc) was found" in lines[-1]
    assert "Traceback" not in done.stderr


def fake_tools(path, version):
    for tool in ("cargo", "rustc", "cc"):
        (path / tool).write_text(f"#!/bin/sh\necho {tool} {version}\n")
        (path / tool).chmod(0o755)


def test_a_build_with_an_old_rust_says_which_one_it_takes(tmp_path, without_rust):
    fake_tools(without_rust, "1.70.0")
    lines = build(tmp_path, without_rust).stderr.splitlines()
    assert re.fullmatch(r".*, and cargo 1\.70\.0 is too old: it takes \d\.\d+ or newer \(rustup update\)", lines[1])


def test_a_build_that_fails_though_nothing_is_missing_shows_why(tmp_path, without_rust):
    fake_tools(without_rust, "9.0.0")
    done = build(tmp_path, without_rust)
    assert "Traceback" in done.stderr
    assert "is built from source" not in done.stderr


def test_a_build_on_another_platform_is_refused_by_its_name(tmp_path, without_rust):
    assert build(tmp_path, without_rust, "sys.platform = 'darwin'").stderr == (
        "everloop cannot be built here: it runs on Linux for now, and this is darwin.\n"
    )


# ---- the release workflow


WORKFLOW = (ROOT / ".github/workflows/release.yml").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_release_workflow_builds_with_the_targets_of_the_makefile():
    called = set(re.findall(r"\bmake ([a-z-]+)", WORKFLOW))
    assert called == {"build-wheels", "check-wheels", "try-wheels", "sdist", "try-sdist"}
    assert called <= TARGETS
    recipe = re.search(r"^wheels:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    assert set(re.findall(r"\$\(MAKE\) ([a-z-]+)", recipe)) == called


def test_the_release_workflow_builds_for_every_interpreter_and_platform():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    [versions] = [
        step["with"]["python-version"] for step in jobs["wheels"]["steps"] if "setup-python" in step.get("uses", "")
    ]
    assert versions.split() == VERSIONS
    assert f"for version in {' '.join(VERSIONS)};" in WORKFLOW
    assert jobs["wheels"]["strategy"]["matrix"] == {
        "runner": ["ubuntu-24.04", "ubuntu-24.04-arm"],
        "platform": ["manylinux_2_17", "musllinux_1_2"],
    }
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "password" not in WORKFLOW.replace("no password", "")
