"""The errors of a call in another process, besides those that the function itself raises."""


class TransferError(RuntimeError):
    """An argument, a result or an exception cannot be passed to or from another process: pickle does not take it."""

    __module__ = "everloop"


class WorkerDiedError(RuntimeError):
    """The process of a call ended before the call did. Other calls are not concerned."""

    __module__ = "everloop"
