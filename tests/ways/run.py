"""Blocks a loop in many ways, and prints what was told of each, a line of JSON: `run.py RESCUE TIME [NAME...]`."""

import asyncio
import inspect
import json
import resource
import sys
import threading
import time
import warnings

import c_code  # noqa: F401
import computes
import libraries  # noqa: F401
import shapes  # noqa: F401
import waits  # noqa: F401
from way import NOBODY, TIME, WAYS

import everloop

PATIENCE = 0.5
MEMORY = 4 << 30
warnings.simplefilter("ignore")


class Told:
    """The records of a way: the log may leave some out, since ways share lines."""

    def __init__(self):
        self.records = []
        self.ended = threading.Event()

    def __call__(self, record):
        self.records.append({**record, "at": time.monotonic()})
        if record["state"] == "ended":
            self.ended.set()


async def run(way):
    """Runs one way, and waits until its end is told."""
    told = Told()
    await asyncio.sleep(0.02)
    with everloop.on_block(told):
        begun = time.monotonic()
        found = way.run()
        if inspect.isawaitable(found):
            await found
        took = time.monotonic() - begun
        end = begun + took
        for _ in range(int(PATIENCE / 0.01)):
            if told.ended.is_set():
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.03)
    return judge(way, told.records, end) | {"took": took}


def judge(way, records, end):
    """What is right, and what was told."""
    if way.kinds == ("host",):
        # A stop that falls between two looks is told by nobody: all that counts is that no line is blamed.
        blames = [each for each in records if each["cause"]["kind"] != "host"]
        return {"wrong": ["blame"] * bool(blames), "told": blames, "wanted": way.kinds}
    firsts = [record for record in records if record["state"] == "blocked"]
    ends = [record for record in records if record["state"] == "ended"]
    right = {}
    anywhere = NOBODY in way.lines
    right["first word"] = any(
        record["told"] or record["at"] < end or (bool(ends) and record["seconds"] < ends[-1]["seconds"] * 0.9)
        for record in firsts
    )
    right["line"] = bool(ends) and (anywhere or (ends[-1]["file"], ends[-1]["line"]) in way.lines)
    right["cause"] = bool(ends) and ends[-1]["cause"]["kind"] in way.kinds
    right["call"] = bool(ends) and (not way.calls or ends[-1]["call"] in way.calls)
    right["advice"] = bool(ends) and way.advised in ends[-1]["advice"]
    right["on"] = way.on is None or (bool(ends) and way.on() in (ends[-1]["cause"]["on"] or ""))
    # What is told first may be about another line, if it has lasted there until then.
    right["line at first"] = bool(firsts) and all(
        anywhere or (each["file"], each["line"]) in way.lines + way.firsts for each in firsts
    )
    right["cause at first"] = bool(firsts) and all(each["cause"]["kind"] in way.kinds for each in firsts)
    right["once"] = len(firsts) == len(ends) == 1
    keys = ("state", "seconds", "file", "line", "call", "told", "rescued_after", "advice", "task")
    short = [
        {
            **{key: each[key] for key in keys},
            "cause": {k: v for k, v in each["cause"].items() if k != "text"},
            "lines": [(s["line"], round(s["seconds"], 3)) for s in each["lines"]],
        }
        for each in records
    ]
    return {
        "wrong": [name for name, is_right in right.items() if not is_right],
        "wanted": [way.kinds, way.lines, way.calls, way.advised],
        "told": short,
    }


async def main(names):
    loop = asyncio.get_running_loop()
    for name in names:
        loop.slow_callback_duration = 1e6
        computes.prepare(name)
        await asyncio.sleep(0.05)  # the end of that is nothing to tell
        loop.slow_callback_duration = TIME[0] / 5
        found = await asyncio.create_task(run(WAYS[name]), name=name)
        print(json.dumps({"name": name} | found), flush=True)


if __name__ == "__main__":
    rescue, TIME[0] = bool(int(sys.argv[1])), float(sys.argv[2])
    names = [name for name in WAYS if not sys.argv[3:] or {name, WAYS[name].run.__module__} & {*sys.argv[3:]}]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # whatever is made as large as it takes
    everloop.run(main(names), rescue=rescue)
