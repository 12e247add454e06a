"""Scenes of tasks that begin where they are made, and of processes: see private_scenes.py."""

import asyncio
import multiprocessing
import sys

from everloop.private import eager, processes
from private_scenes import scene


@scene("asyncio.tasks._PyTask")
async def a_task_in_python_that_is_about_to_begin():
    asked = []

    class Loop(asyncio.SelectorEventLoop):
        def is_running(self):
            asked.append(eager.begins_task(self, sys._getframe(1)))
            return False  # it does not begin

    loop = Loop()
    asked.clear()  # its constructor asks too
    loop.is_running()
    task = asyncio.tasks._PyTask(asyncio.sleep(0), **{"loop": loop, "eager_start": True})
    task._log_destroy_pending = False
    task.get_coro().close()
    loop.close()
    return asked[:2] == [False, True]


@scene("multiprocessing.process.BaseProcess._config")
def what_a_process_hands_to_those_it_starts():
    processes.hand_to_children("of a test", "handed")
    found = multiprocessing.Process()._config.get("of a test")
    multiprocessing.current_process()._config.pop("of a test", None)
    return found == "handed"
