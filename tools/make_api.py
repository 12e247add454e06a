"""Writes docs/api.md: each public name with its signature and docstring, as they stand in the source and in the stub.

    make_api.py [--check]      --check: only says whether the page is up to date

The source is read, not imported: the page is the same on every interpreter.
"""

import ast
import inspect
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "python/everloop"
PAGE = ROOT / "docs/api.md"

SECTIONS = {
    "Running": ("run", "new_event_loop", "EventLoop", "running_loop", "EventLoopPolicy"),
    "From a coroutine": ("to_thread", "Limiter", "check_cancelled", "to_process", "to_interpreter", "to_executor",
                         "blocking", "whole", "asyncify", "aiterate"),
    "From synchronous code": ("block_on", "LoopThread", "syncify", "iterate"),
    "FastAPI and Starlette": ("replace_anyio_pool", "restore_anyio_pool"),
    "What blocks the loop": ("on_block", "no_blocking", "set_report", "worst_lines", "print_worst_lines", "statistics"),
    "Errors": ("DeadlockError", "BlockingError", "TransferError", "WorkerDiedError"),
}  # fmt: skip

# Of the event loop: the methods that asyncio's loop does not have. They are in the stub.
OF_THE_LOOP = ("statistics",)

HEAD = """# Every public name

Made by `make api` from the signatures and docstrings of the source. [Which call](choosing.md) leads from what you have
to a name; the other pages have examples that go together.
"""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(path: pathlib.Path) -> dict[str, Definition]:
    """The classes and functions of a file, by their names; of overloads the last."""
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, Definition)}


def public_names() -> list[str]:
    """What `everloop.__all__` says."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise SystemExit("the package has no __all__")


def where() -> dict[str, Definition]:
    """The definition of each public name, found through the imports of the package."""
    found = {}
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            path = PACKAGE / (node.module.replace(".", "/") + ".py")
            if path.exists():
                known = definitions(path)
                found.update({alias.name: known[alias.name] for alias in node.names if alias.name in known})
    return found


def signature(node: Definition, owner: str = "everloop.", is_method: bool = False) -> str:
    """A definition as one would call it, without `self`; on several lines if it is long."""
    head, tail = f"{owner}{node.name}", ""
    if isinstance(node, ast.ClassDef):
        head = f"class {head}"
        makes = [member for member in node.body if isinstance(member, ast.FunctionDef) and member.name == "__init__"]
        if not makes:
            return head
        arguments = arguments_of(makes[0].args, is_method=True)
    else:
        arguments = arguments_of(node.args, is_method)
        tail = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        head = f"await {head}" if isinstance(node, ast.AsyncFunctionDef) else head
    line = f"{head}({', '.join(arguments)}){tail}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{head}(", *(f"    {argument}," for argument in arguments), f"){tail}"])


def arguments_of(given: ast.arguments, is_method: bool) -> list[str]:
    """The arguments, each with its annotation and default, and what stands between their kinds."""

    def shown(argument: ast.arg, default: ast.expr | None = None) -> str:
        text = argument.arg + (f": {ast.unparse(argument.annotation)}" if argument.annotation else "")
        equals = " = " if argument.annotation else "="
        return text + (f"{equals}{ast.unparse(default)}" if default else "")

    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    found = [shown(*pair) for pair in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        found.insert(len(given.posonlyargs), "/")
    if is_method:
        del found[0]
    if given.vararg:
        found.append("*" + shown(given.vararg))
    elif given.kwonlyargs:
        found.append("*")
    found += [shown(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        found.append("**" + shown(given.kwarg))
    return found


def text_of(docstring: str) -> str:
    """A docstring as Markdown: sections in bold, arguments and errors as a list, examples as code."""
    lines, kind, listed = [], "", False
    for line in inspect.cleandoc(docstring).splitlines():
        heading = re.fullmatch(r"(Args|Returns|Raises|Example|Yields):", line)
        if heading:
            kind, listed = heading[1], False
            lines += [f"**{kind}**", ""]
        elif line and not line.startswith(" "):
            kind = ""
            lines.append(line)
        elif kind == "Example":
            lines.append(line.removeprefix("    "))
        elif kind in ("Args", "Raises") and (entry := re.fullmatch(r"    (\*{0,2}[\w.]+): (.*)", line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
            listed = True
        elif kind:
            lines.append(f"  {line.strip()}".rstrip() if listed else line.strip())
        else:
            lines.append(line)
    return fenced("\n".join(lines))


def fenced(text: str) -> str:
    """Puts the examples of a text into fences."""
    return re.sub(
        r"(?m)(^>>> .*\n?(?:^(?!\n).+\n?)*)", lambda found: f"```python\n{found[1].rstrip()}\n\n```\n", text
    ).rstrip()


def entry(name: str, node: Definition) -> list[str]:
    """The parts of what is said of a public name."""
    parts = [f"### `{name}`", *described(signature(node), node)]
    if isinstance(node, ast.ClassDef):
        for member in node.body if name != "EventLoop" else [of_loop_core(each) for each in OF_THE_LOOP]:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(member):
                is_property = any(ast.unparse(each) == "property" for each in member.decorator_list)
                call = f"{name}.{member.name}" if is_property else signature(member, f"{name}.", is_method=True)
                parts += [f"#### `{name}.{member.name}`", *described(call, member)]
    return parts


def is_public(member: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """What has no docstring is for the package itself. A property is shown once, by what reads it."""
    is_setter = any(ast.unparse(each).endswith(".setter") for each in member.decorator_list)
    return not member.name.startswith("_") and not is_setter and ast.get_docstring(member) is not None


def described(call: str, node: Definition) -> list[str]:
    return [f"```python\n{call}\n```", text_of(ast.get_docstring(node) or "")]


def of_loop_core(name: str) -> ast.stmt:
    """A method of the native half of the loop, as the stub has it."""
    core = definitions(PACKAGE / "_native.pyi")["LoopCore"]
    return next(member for member in core.body if isinstance(member, ast.FunctionDef) and member.name == name)


def page() -> str:
    found = where()
    named = [name for names in SECTIONS.values() for name in names]
    if sorted(named) != sorted(public_names()):
        raise SystemExit(f"tools/make_api.py has no section for: {sorted(set(named) ^ set(public_names()))}")
    policy = definitions(PACKAGE / "policy.py")["event_loop_policy"]  # the class is made in a function
    found["EventLoopPolicy"] = next(node for node in ast.walk(policy) if isinstance(node, ast.ClassDef))
    parts = [HEAD]
    for heading, names in SECTIONS.items():
        parts.append(f"## {heading}")
        for name in names:
            parts += entry(name, found[name])
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        print("docs/api.md is not up to date: make api", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
