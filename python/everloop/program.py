"""Runs a Python program inside this process as `python` runs it: a file, a module, a text, or the standard input.

The program gets the `__main__`, `sys.argv` and `sys.path` that it would have had, and keeps them: its threads and exit
handlers may outlive its last line. `runpy` takes them back there.
"""

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
import types
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, NoReturn

__all__ = ["run_code", "run_file", "run_module", "run_standard_input"]


def run_file(path: str, arguments: list[str]) -> None:
    """Runs a file, or the `__main__` of a folder or an archive.

    Raises:
        SystemExit: there is no such file, or the program has ended so.
    """
    sys.argv = [path, *arguments]
    full = os.path.abspath(path)
    spec = _main_inside(full)
    if spec is not None:
        sys.path[0] = full
        return _run_spec(spec, path)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    loader: Any = importlib.machinery.SourceFileLoader("__main__", full)
    if path.endswith(".pyc"):
        loader = importlib.machinery.SourcelessFileLoader("__main__", full)
        return _run(lambda: loader.get_code("__main__"), __file__=full, __loader__=loader, __cached__=None)
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as error:
        _fail(f"can't open file {full!r}: [Errno {error.errno}] {error.strerror}", 2)
    _run(lambda: _compiled(source, full), __file__=full, __loader__=loader, __cached__=None)


def run_module(name: str, arguments: list[str]) -> None:
    """Runs a module, or the `__main__` of a package.

    Raises:
        SystemExit: there is no such module, or the program has ended so.
    """
    sys.argv = ["-m", *arguments]  # while it is looked for
    _set_first_path(os.getcwd())
    spec = _spec_of(name)
    _run_spec(spec, spec.origin or name)


def run_code(text: str, arguments: list[str]) -> None:
    """Runs a text.

    Raises:
        SystemExit: the program has ended so.
    """
    sys.argv = ["-c", *arguments]
    _set_first_path("")
    _run(lambda: _compiled(text + "\n", "<string>"))


def run_standard_input(arguments: list[str]) -> None:
    """Runs what stands in the standard input, or what is typed there.

    Raises:
        SystemExit: the program has ended so.
    """
    sys.argv = ["-", *arguments]
    _set_first_path("")
    if sys.stdin.isatty():
        import code

        return code.interact(local=vars(_new_main()), exitmsg="")
    source = sys.stdin.buffer.read()
    _run(lambda: _compiled(source, "<stdin>"), __file__="<stdin>", __cached__=None)


def _set_first_path(path: str) -> None:
    """Puts the program's folder where the command's own stands. With `python -P` there is none."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _main_inside(path: str) -> ModuleSpec | None:
    if os.path.isfile(path) and path.endswith((".py", ".pyc")):
        return None  # not worth a look for an archive
    return importlib.machinery.PathFinder.find_spec("__main__", [path])


def _spec_of(name: str) -> ModuleSpec:
    why = ""
    while True:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            _fail(f"Error while finding module specification for {name!r} ({type(error).__name__}: {error})", 1)
        if spec is None:
            _fail(f"No module named {name}{why}", 1)
        if spec.submodule_search_locations is None:
            return spec
        why = f"; {name!r} is a package and cannot be directly executed"
        name += ".__main__"


def _run_spec(spec: ModuleSpec, argument: str) -> None:
    loader: Any = spec.loader
    try:
        code = loader.get_code(spec.name)
    except ImportError as error:
        _fail(str(error), 1)
    if code is None:
        _fail(f"No code object available for {spec.name}", 1)
    sys.argv[0] = argument
    names = {"__file__": spec.origin, "__loader__": loader, "__package__": spec.parent}
    if sys.version_info < (3, 15):
        names["__cached__"] = spec.cached
    _run(lambda: code, __spec__=spec, **names)


def _compiled(source: str | bytes, name: str) -> CodeType:
    code: CodeType = compile(source, name, "exec", dont_inherit=True)
    return code


def _new_main(**names: object) -> ModuleType:
    main = types.ModuleType("__main__")
    vars(main).update(__builtins__=builtins, __loader__=importlib.machinery.BuiltinImporter)
    vars(main).update(names)
    sys.modules["__main__"] = main
    return main


def _run(make: Any, **names: object) -> None:
    main = _new_main(**names)
    try:
        exec(make(), vars(main))
    except SystemExit:
        raise
    except BaseException as error:
        # Without the frames of this command: the program's own begin below. The interpreter has the rest to do.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals is globals():
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.excepthook = _say_no_more
        raise


def _say_no_more(*error: object) -> None:
    """It was said."""


def _fail(text: str, status: int) -> NoReturn:
    print(f"{sys.executable}: {text}", file=sys.stderr)
    raise SystemExit(status)
