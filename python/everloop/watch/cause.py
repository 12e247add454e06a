"""Why a step blocks: the cause that the watchdog found, and a sentence that says it."""

from typing import Any

from ..private.threads import name_of_thread
from .source import short

__all__ = ["BLAMES_NOBODY", "UNKNOWN", "sentence", "subject", "thread_name", "with_name", "with_text"]

UNKNOWN: dict[str, Any] = {"kind": "unknown", "on": None}

# The step is not to blame, nor is any line: the machine gave no processor.
BLAMES_NOBODY = frozenset({"host"})

# The sentence for a known object, and for none. What it waits for is said in the same words as in `core/sys/thing.rs`.
_SENTENCES = {
    "sleep": ("it waits until a time has passed ({on})", "it waits until a time has passed"),
    "file": ("it waits for the file {on}", "it waits for a file"),
    "socket": ("it waits for a socket to {on}", "it waits for a socket"),
    "pipe": ("it waits for the pipe {on}", "it waits for a pipe"),
    "lock": ("it waits for a lock of {on}", "it waits for a lock, or whatever else another thread lets go of"),
    "child": ("it waits for the end of process {on}", "it waits for the end of a process"),
    "dns": ("it waits for a name server, {on}", "it waits for a name server"),
    "poll": ("it waits for any of {on}", "it waits for any of several files"),
    "call": ("it waits in the system call {on}", "it waits in a system call"),
    "python": ("it computes in Python", "it computes in Python"),
    "native": ("C code computes, without the GIL: {on}", "C code computes, without the GIL"),
    "gil": ("C code of this step holds the GIL: nothing else can run Python ({on})",
            "C code of this step holds the GIL: nothing else can run Python"),
    "import": ("a module is being imported: {on}", "a module is being imported"),
    "host": ("the machine gave no processor to this process ({on})", "the machine gave no processor to this process"),
}  # fmt: skip


def sentence(cause: dict[str, Any]) -> str:
    """Says in a sentence why a step blocks; "" if that is not known."""
    kind, on = cause.get("kind"), cause.get("on")
    if kind == "thread" and cause.get("thread") is None:
        return "other threads have the GIL in turns: this step only waits for it"
    if kind == "thread":
        return f"{subject(cause)} holds the GIL{_thief(cause)}: this step only waits for it"
    if kind == "collector":
        return f"{subject(cause)} is at work: it looks at every object that could be garbage, and holds the GIL"
    if kind == "steps":
        return f"{subject(cause)} came one after the other, and none of them was long"
    if kind not in _SENTENCES:
        return ""
    known, unknown = _SENTENCES[kind]
    return known.format(on=on) if on else unknown


def subject(cause: dict[str, Any]) -> str:
    """What blocks the loop in place of the call at which the step stands; "" if it is that call."""
    match cause.get("kind"):
        case "thread":
            return f"another thread ({name})" if (name := cause.get("thread")) is not None else "other threads"
        case "collector":
            generation = cause.get("generation")
            return "the garbage collector" + (f" (generation {generation})" if generation is not None else "")
        case "steps":
            count = cause.get("count")
            return f"{count} short steps" if count is not None else "many short steps"
        case "host":
            return "the machine, which gave it no processor"
    return ""


def thread_name(thread: str | int, title: str | None = None) -> str:
    """The name of a thread that is known by the kernel's number: its name in Python, or else the kernel's."""
    if isinstance(thread, str):
        return thread
    return name_of_thread(thread) or title or str(thread)


def with_name(cause: dict[str, Any], before: dict[str, Any], title: str | None = None) -> dict[str, Any]:
    """The cause with the name of its thread, which may have ended since the look `before`."""
    number = cause.get("thread")
    if not isinstance(number, int):
        return cause
    known = before.get("number") == number
    return {**cause, "number": number, "thread": before["thread"] if known else thread_name(number, title)}


def with_text(cause: dict[str, Any] | None) -> dict[str, Any]:
    """The cause as a record has it: with the sentence as its `text`."""
    cause = dict(cause or UNKNOWN)
    cause.setdefault("on", None)
    cause["text"] = sentence(cause)
    return cause


def _thief(cause: dict[str, Any]) -> str:
    if not cause.get("file"):
        return ""
    function = f" in {cause['function']}" if cause.get("function") else ""
    return f" at {short(cause['file'])}:{cause.get('line')}{function}"
