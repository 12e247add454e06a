"""A private name of others: its place, its use, and what is lost where it is missing."""

from types import CodeType
from typing import Any

from .. import _native
from ..log import logger

__all__ = ["NAMES", "Inner", "Name", "code_of"]

# The versions of CPython that all of them are known for; an entry that says nothing else is in each.
KNOWN = ((3, 12), (3, 15))

# All entries, by their place.
NAMES: "dict[str, Name]" = {}

_ABSENT: Any = object()


class Name:
    """One entry.

    Args:
        place: The place where it stands, as an import path, then attributes.
        use: The purpose that we use it for.
        loss: The things that do not work without it.
        since: The first version of CPython that is known to have it.
        until: The last one.
    """

    __slots__ = ("_is_told", "attribute", "loss", "place", "since", "until", "use")

    def __init__(
        self, place: str, use: str, loss: str, since: tuple[int, int] = KNOWN[0], until: tuple[int, int] = KNOWN[1]
    ) -> None:
        assert place not in NAMES, place
        self.place, self.use, self.loss, self.since, self.until = place, use, loss, since, until
        self.attribute = place.rpartition(".")[2]
        self._is_told = False
        NAMES[place] = self

    def of(self, owner: Any, instead: Any = None, kind: type = object) -> Any:
        """The attribute of an object by this name, or `instead`. The loss is told if its kind should have it."""
        found = getattr(owner, self.attribute, _ABSENT)
        if found is _ABSENT:
            if isinstance(owner, kind):
                self.tell_loss()
            return instead
        return found

    def tell_loss(self) -> None:
        """Says what is lost, once in the life of the process."""
        if not self._is_told:
            import platform  # not with everloop itself: that starts sooner

            self._is_told = True
            logger.warning(
                "%s, which is private, is missing or has changed (%s %s): %s. A newer everloop may know this version",
                self.place,
                platform.python_implementation(),
                platform.python_version(),
                self.loss,
            )


class Inner(Name):
    """A variable of a function of others, which is looked for in the closure of an inner function, or in a frame.

    Args:
        code: The function's code; None where there is none.
        variable: Its name, also of the place.

    `cell` is its place in the closure.
    """

    __slots__ = ("cell", "code", "variable")

    def __init__(self, place: str, code: CodeType | None, variable: str, use: str, loss: str) -> None:
        super().__init__(f"{place}.{variable}", use, loss)
        free = () if code is None else code.co_freevars
        local = () if code is None else (*code.co_varnames, *code.co_cellvars)
        self.code = code if variable in free or variable in local else None
        self.variable = variable
        self.cell = free.index(variable) if variable in free else -1

    def is_known(self) -> bool:
        """True if it can be found. If not, the loss is told."""
        if self.code is None:
            self.tell_loss()
        return self.code is not None

    def in_closure(self, function: Any) -> Any:
        """The value of the variable for a function that has this code; None: it has none any more."""
        try:
            return function.__closure__[self.cell].cell_contents
        except ValueError:  # emptied
            return None


def code_of(function: Any, inside: str | None = None) -> CodeType | None:
    """The code of a function, or of one that it defines."""
    code: CodeType | None = getattr(function, "__code__", None)
    if inside is None or code is None:
        return code
    return next((each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == inside), None)


for _place, _use, _loss, _since, _until in _native.private_names():
    Name(_place, _use, _loss, _since, _until)
_native.set_teller(lambda place: NAMES[place].tell_loss())
