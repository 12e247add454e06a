"""`whole()`: marks what must not be divided. The marking itself is native (`_native.Whole`)."""

from ... import _native

__all__ = ["whole"]


class whole(_native.Whole):  # lower case: it reads as what it does
    """Keeps the watchdog from letting other tasks run in the middle of this block.

    A context manager, for what rescue must leave in one piece: a step is neither divided in it (`rescue="all"`) nor put
    aside in a blocking call (`rescue=True`); the loop waits. An `await` in it, `everloop.blocking()` and
    `everloop.block_on()` let others run as ever. It belongs to the task that enters it; outside a running everloop it
    does nothing.

    The trap: it keeps out tasks of the same loop, as no `await` does on asyncio, and no other thread.

    Example:
        >>> import everloop
        >>> balance = {"a": 5, "b": 0}
        >>> async def main():
        ...     with everloop.whole():
        ...         balance["a"] -= 1
        ...         balance["b"] += 1
        ...     return balance
        >>> everloop.run(main(), rescue="all")
        {'a': 4, 'b': 1}
    """

    __slots__ = ()
