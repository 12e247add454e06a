"""The number of this process, without a system call. It tells objects of before a fork from later ones."""

import os

__all__ = ["this_process"]


class ThisProcess:
    """Kept up to date by a hook that runs in each forked child."""

    def __init__(self) -> None:
        self.number = os.getpid()
        self.was_forked = False  # True where this package was imported before the fork
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.number = os.getpid()
        self.was_forked = True


this_process = ThisProcess()
