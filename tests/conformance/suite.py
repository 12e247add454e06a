"""A suite: tests that others wrote, described by suites/NAME.toml and fetched when they are run.

Keys of a description:

    like             another suite, whose tests these are: its keys hold but for those given here, its exclusions do too
    kind             "unittest", for a package of the interpreter's or the suite's own; else pytest
    requires         what pip installs into a virtual environment of the suite's own
    sdist, keep      the source distribution to fetch, and the paths in it that are the tests (never the package); of
                     pytest also the file with its options, lest pytest take those of a directory above
    package          of unittest: the package whose modules are the tests
    modules          glob patterns of test modules
    aliases          names of other loop packages, used by the suite, that shall mean the loop under test
    environment      variables of the processes on the loop under test, which switch on what its package reads there
    test_seconds     how long a test may be silent before it counts as hung
    exclude_modules  glob pattern of a module = the reason why it says nothing about a loop
    exclude          the same for tests
    exclude_rescue   the same with rescue: tests that count on nothing to run while they block
"""

import fnmatch
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in (HERE / "suites").glob("*.toml"))

MODULE_SECONDS = 600  # the longest takes one minute


class Unavailable(Exception):
    """A suite cannot be fetched or installed here."""


class Suite:
    def __init__(self, name, cache, *, rescue=False, exclude=True):
        self.name = name
        self.description = describe(name)
        self.home = cache / self.description.get("like", name)  # of this interpreter
        self.tests = self.home / "tests"  # the directory in which its processes run
        self.python = self.home / "venv" / "bin" / "python"
        self.log = cache / name / ("log-rescue" if rescue else "log")
        self.is_unittest = self.description.get("kind") == "unittest"
        self.aliases = self.description.get("aliases", [])
        self.environment = self.description.get("environment", {})
        self.test_seconds = self.description.get("test_seconds", 40)
        self.exclude = self.description.get("exclude", {}) if exclude else {}
        if rescue and exclude:
            self.exclude |= self.description.get("exclude_rescue", {})
        self.exclude_modules = self.description.get("exclude_modules", {}) if exclude else {}

    def prepare(self):
        """Installs what the suite needs and unpacks its tests, unless that is done already."""
        wanted = json.dumps({key: self.description.get(key) for key in ("requires", "sdist", "keep")})
        done = self.home / "prepared"
        if done.exists() and done.read_text() == wanted:
            return
        self.tests.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.python.parents[1], ignore_errors=True)
        run(sys.executable, "-m", "venv", self.python.parents[1])
        if requirements := self.description.get("requires"):
            run(self.python, "-m", "pip", "install", "--quiet", *requirements)
        if requirement := self.description.get("sdist"):
            self.unpack(self.download(requirement))
        done.write_text(wanted)

    def download(self, requirement):
        directory = self.home / "sdist"
        shutil.rmtree(directory, ignore_errors=True)
        name = requirement.partition("==")[0]
        pip_download = (self.python, "-m", "pip", "download", "--quiet", "--dest", directory)
        run(*pip_download, "--no-deps", "--no-binary", name, requirement)
        return next(directory.iterdir())

    def unpack(self, archive):
        shutil.rmtree(self.tests)
        self.tests.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                member.name = member.name.partition("/")[2]  # without the directory NAME-VERSION
                if any(f"{member.name}/".startswith(f"{kept}/") for kept in self.description["keep"]):
                    tar.extract(member, self.tests, filter="data")

    def modules(self, wanted=()):
        """The names of the test modules that match one of the patterns, or of all."""
        if self.is_unittest:
            found = self.modules_of_package(self.description["package"])
        else:
            found = [
                str(path.relative_to(self.tests))
                for pattern in self.description["modules"]
                for path in self.tests.glob(pattern)
            ]
        found = [name for name in sorted(found) if not matches(name, self.exclude_modules)]
        return [name for name in found if matches(name, wanted)] if wanted else found

    def modules_of_package(self, package):
        code = f"import os, {package}; print(os.path.dirname({package}.__file__))"
        try:
            directory = pathlib.Path(run(self.python, "-c", code, cwd=self.tests).splitlines()[-1])
        except Unavailable:
            raise Unavailable(
                f"this CPython comes without {package} (Debian: apt install libpython3-testsuite)"
                if package.startswith("test.")
                else f"{package} cannot be imported"
            ) from None
        return [f"{package}.{path.stem}" for pattern in self.description["modules"] for path in directory.glob(pattern)]

    def command(self, module):
        """The command line that runs one module."""
        if self.is_unittest:
            return [self.python, "-m", "conformance_unittest", module]
        options = ["-p", "conformance_child", "-p", "no:cacheprovider", "-q", "--tb=short", "-o", "addopts="]
        # what the loop under test imports at the interpreter's start, anyio for one, may be a plugin of pytest's too
        options += ["-W", "ignore:Module already imported so cannot be rewritten"]
        return [self.python, "-m", "pytest", *options, module]


def describe(name):
    own = tomllib.loads((HERE / "suites" / f"{name}.toml").read_text())
    other = describe(own["like"]) if "like" in own else {}
    return {**other, **own, "exclude": other.get("exclude", {}) | own.get("exclude", {})}


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def run(*command, cwd=None):
    """What a command prints; Unavailable if it fails."""
    process = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if process.returncode:
        raise Unavailable(f"{' '.join(map(str, command))}\n{process.stdout[-3000:]}")
    return process.stdout


def copy_package(loop, directory):
    """Copies the package of the loop under test: it and no other can be imported from there, and a build may go on."""
    package = loop.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise Unavailable(f"{package} is not installed in {sys.executable}")
    shutil.copytree(found.submodule_search_locations[0], directory / package)
