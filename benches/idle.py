"""What an idle loop uses: CPU time and context switches of the whole process, all loops asleep side by side.

    python benches/idle.py [--seconds 5]

"aside" is everloop with one step in a blocking call all the while, "rescued" the same with nobody having said so.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time

import measure

SCENES = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "everloop": "everloop",
    "everloop, aside": "everloop",
    "everloop, rescued": "everloop",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="(%(default)s)")
    parser.add_argument("--child", choices=SCENES, help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.child:
        with measure.runner(SCENES[options.child]) as runner:
            json.dump(runner.run(idle(options.child, options.seconds)), sys.stdout)
        return

    # they disturb nobody, so they need not take turns
    present = set(measure.installed(list(dict.fromkeys(SCENES.values()))))
    command = [sys.executable, __file__, "--seconds", str(options.seconds), "--child"]
    children = {
        scene: subprocess.Popen([*command, scene], stdout=subprocess.PIPE, text=True)
        for scene, loop in SCENES.items()
        if loop in present
    }

    print(f"{__doc__.splitlines()[0]} {options.seconds:g} s, CPython {sys.version.split()[0]}.")
    print(f"\n{'':<20}{'CPU':>12}{'switches':>12}{'threads':>12}")
    for scene, process in children.items():
        answer, _ = process.communicate()
        if process.returncode:
            print(f"{scene:<20}{'failed':>12}")
            continue
        cpu, switches, threads = json.loads(answer)
        print(f"{scene:<20}{1000 * cpu:>9.2f} ms{switches:>12}{threads:>12}")


async def idle(scene: str, seconds: float) -> tuple[float, int, int]:
    await asyncio.sleep(0.2)  # start-up has settled
    if scene in ("everloop, aside", "everloop, rescued"):
        async with asyncio.TaskGroup() as group:
            group.create_task(block(seconds + 1, said=scene.endswith("aside")))
            await asyncio.sleep(0.5)  # the watchdog has seen it by then
            return await count(seconds)
    return await count(seconds)


async def block(seconds: float, *, said: bool) -> None:
    import everloop

    if said:
        with everloop.blocking():
            time.sleep(seconds)
    else:
        asyncio.get_running_loop().rescue = True
        time.sleep(seconds)


async def count(seconds: float) -> tuple[float, int, int]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
    return cpu, switches, len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    main()
