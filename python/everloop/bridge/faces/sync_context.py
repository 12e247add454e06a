"""SyncContext: an asynchronous context manager behind a synchronous one, in one task."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

from .serial_task import Runner, SerialTask, TaskEnded

__all__ = ["SyncContext"]


class SyncContext(AbstractContextManager[Any]):
    """Each `with` enters and leaves the asynchronous side in one task; `new_runner` makes the runner of that task."""

    def __init__(self, context: Any, new_runner: Callable[[], Runner]) -> None:
        self._context = context
        self._new_runner = new_runner
        self._tasks: list[SerialTask] = []  # of each `with` that is entered

    def __enter__(self) -> Any:
        task = SerialTask(self._new_runner())
        try:
            value = task.call(self._context.__aenter__)
        except BaseException:
            task.end()
            raise
        task.at_end(functools.partial(_leave, self._context))
        self._tasks.append(task)
        return value

    def __exit__(self, *exc_info: Any) -> bool | None:
        task = self._tasks.pop()
        try:
            return cast("bool | None", task.call(self._exit, task, exc_info))
        except TaskEnded:
            return None  # the task has ended with its loop, and has left the context then
        finally:
            task.end()

    async def _exit(self, task: SerialTask, exc_info: tuple[Any, ...]) -> Any:
        task.at_end(None)
        return await self._context.__aexit__(*exc_info)


async def _leave(context: Any, error: BaseException) -> None:
    await context.__aexit__(type(error), error, error.__traceback__)
