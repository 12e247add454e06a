"""What a loop's time goes into, and what `/metrics`, `/state` and the page tell of it.

No duration is asserted, but that it is at least what a clock that moves on by itself must have counted.
"""

import asyncio
import json
import math
import pathlib
import re
import shutil
import subprocess
import threading
import urllib.request

import pytest

import everloop
from listen_support import ask, state_of
from support import run_script, spin

PAGE = pathlib.Path(__file__).parent.parent / "crates/native/src/listen/pages/page.html"
HISTOGRAM = {"count", "sum", "min", "mean", "p50", "p90", "p99", "max"}
LINE = re.compile(r'(everloop_\w+)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (\S+)')


def parse(text):
    """The samples of an exposition by name and labels; each metric is told of before its samples, and once."""
    samples, kinds, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in kinds
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == current
            kinds[name] = kind
        else:
            name, labels, value = LINE.fullmatch(line).groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name) if kinds[current] == "histogram" else name
            assert family == current
            assert (name, labels or "") not in samples
            samples[name, labels or ""] = float(value)
    return samples, kinds


# ---- statistics()


def test_a_loop_that_has_not_run_has_no_time(loop):
    statistics = loop.statistics()
    assert [statistics[name] for name in ("busy_seconds", "idle_seconds", "gil_wait_seconds", "utilization")] == 4 * [0]
    for name in ("turn_seconds", "delay_seconds"):
        assert set(statistics[name]) == HISTOGRAM
        assert set(statistics[name].values()) == {0}


def test_the_time_of_a_run_is_either_busy_or_idle(loop):
    begin = loop.time()

    async def main():
        await asyncio.sleep(0.01)
        spin(0.01)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    took = loop.time() - begin
    statistics = loop.statistics()
    assert statistics["busy_seconds"] >= 0.01
    assert statistics["idle_seconds"] > 0
    told = sum(statistics[name] for name in ("busy_seconds", "idle_seconds", "gil_wait_seconds"))
    assert 0.02 <= told <= took
    assert 0 < statistics["utilization"] < 1
    assert loop.statistics() == statistics  # it stands still


def test_a_pile_of_short_steps_is_one_long_turn(loop):
    """None of the steps lasts, and nothing else could run in their time."""
    for _ in range(50):
        loop.call_soon(spin, 0.0005)
    loop.call_soon(loop.stop)
    loop.run_forever()
    turns = loop.statistics()["turn_seconds"]
    assert turns["max"] >= 50 * 0.0005
    assert turns["p99"] == turns["max"]
    assert turns["min"] <= turns["p50"] <= turns["p90"] <= turns["p99"] <= turns["max"] <= turns["sum"]
    assert turns["mean"] == pytest.approx(turns["sum"] / turns["count"], abs=1e-8)


def test_a_timer_that_comes_late_is_a_delay(loop):
    def step():
        loop.call_later(0.001, loop.stop)
        spin(0.02)

    loop.call_soon(step)
    loop.run_forever()
    assert loop.statistics()["delay_seconds"]["max"] >= 0.015


def test_a_timer_that_was_set_for_the_past_is_none_since_then(loop):
    begin = loop.time()
    loop.call_at(-math.inf, int)
    loop.call_at(0, loop.stop)
    loop.run_forever()
    delays = loop.statistics()["delay_seconds"]
    assert delays["count"] >= 1
    assert delays["max"] <= loop.time() - begin


def test_time_that_passes_between_two_runs_is_nobodys(loop):
    loop.run_until_complete(asyncio.sleep(0))
    spin(0.02)
    begin = loop.time()
    loop.run_until_complete(asyncio.sleep(0))
    took = loop.time() - begin
    assert loop.statistics()["turn_seconds"]["max"] <= max(took, 0.0199)


def test_a_loop_that_is_turned_by_several_threads_counts_its_time_once(rescuing_loop, gate):
    loop = rescuing_loop
    begin = loop.time()

    async def block():
        gate.wait()

    async def main():
        task = asyncio.create_task(block())
        while not loop.statistics()["aside"]:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        with everloop.blocking():
            spin(0.01)
        gate.open()
        await task

    loop.run_until_complete(main())
    statistics = loop.statistics()
    told = sum(statistics[name] for name in ("busy_seconds", "idle_seconds", "gil_wait_seconds"))
    assert 0.02 <= told <= loop.time() - begin


def test_the_statistics_of_the_process_have_them_too(loop):
    loop.run_until_complete(asyncio.sleep(0))
    statistics = everloop.statistics()
    [own] = [each for each in statistics["loops"] if each["loop"] == repr(loop)]
    assert own["turn_seconds"] == loop.statistics()["turn_seconds"]
    assert statistics["starved_seconds"] >= 0
    json.dumps(statistics)


# ---- /metrics and /state


def test_the_metrics_of_a_loop_that_runs_are_those_of_its_statistics(listen, loop):
    address = listen()[0]

    async def main():
        await asyncio.sleep(0.001)
        before = loop.statistics()
        status, body = await asyncio.to_thread(ask, address, "/metrics")
        return before, status, body, loop.statistics()

    before, status, body, after = loop.run_until_complete(main())
    assert status == 200
    samples, kinds = parse(body)
    of = '{loop="MainThread"}'
    assert before["turns"] <= samples["everloop_turns_total", of] <= after["turns"]
    assert before["steps"] <= samples["everloop_steps_total", of] <= after["steps"]
    for state, name in (("active", "busy_seconds"), ("idle", "idle_seconds"), ("gil_wait", "gil_wait_seconds")):
        told = samples["everloop_time_seconds_total", f'{{loop="MainThread",state="{state}"}}']
        assert before[name] <= told <= after[name]
    assert 0 < samples["everloop_utilization", of] <= 1
    assert kinds["everloop_turn_seconds"] == kinds["everloop_delay_seconds"] == "histogram"
    for name in ("turn", "delay"):
        buckets = [value for (found, _), value in samples.items() if found == f"everloop_{name}_seconds_bucket"]
        assert buckets == sorted(buckets)
        assert buckets[-1] == samples[f"everloop_{name}_seconds_count", of] > 0
    assert samples["everloop_delay_min_seconds", of] <= samples["everloop_delay_max_seconds", of]
    assert samples["everloop_threads", ""] >= 2


def test_a_process_in_which_no_loop_runs_has_metrics(listen):
    samples, _ = parse(ask(listen()[0], "/metrics")[1])
    assert ("everloop_info", f'{{version="{everloop.__version__}"}}') in samples
    assert not [name for name, labels in samples if "loop=" in labels]


def test_metrics_are_served_as_prometheus_asks_for_them(listen):
    address = listen()[1]
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_loops_of_one_name_are_told_apart(listen):
    address = listen()[0]
    both = threading.Barrier(3)

    async def main():
        both.wait()
        await asyncio.to_thread(both.wait)

    threads = [threading.Thread(target=everloop.run, args=(main(),), name='a "name"\\') for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait()
    names = sorted(loop["name"] for loop in state_of(address)["loops"])
    samples, _ = parse(ask(address, "/metrics")[1])
    both.wait()
    for thread in threads:
        thread.join()
    assert names == ['a "name"\\', 'a "name"\\-2']
    assert ("everloop_turns_total", '{loop="a \\"name\\"\\\\-2"}') in samples


LINES = """
import asyncio, json, os, sys
from everloop import _native
import everloop
for number in range(40):
    _native.note_blocked_line(f"/app/{number}.py", number, "handler", "sleep", 0.25 + number, True)
_native.note_blocked_line("/app/3.py", 3, "handler", "sleep", 100.0, False)
_native.note_blocked_line("/app/3.py", 3, "handler", "python", 0.5, True)
_native.note_blocked_line('/app/"\\u20ac\\n.py', 1, "<module>", "sleep", 0.5, True)
_native.listen(sys.argv[1], 10.0)
sys.path.insert(0, sys.argv[2])
from listen_support import ask, state_of
address = _native.listens_at()[0]
found = everloop.statistics()["blocked_lines"], state_of(address)["blocked_lines"], ask(address, "/metrics")[1]
print(json.dumps(found))
"""


def test_the_lines_that_have_blocked_are_told_of_up_to_32_and_the_others_together(tmp_path):
    done = run_script(LINES, f"{tmp_path}/here.sock", str(pathlib.Path(__file__).parent))
    told, state, metrics = json.loads(done.stdout)
    assert told == state
    assert len(told) == 33
    assert told[0] == {
        "file": "/app/3.py",
        "line": 3,
        "function": "handler",
        "cause": "sleep",
        "count": 1,
        "seconds": 103.25,
    }
    assert [line["seconds"] for line in told[:-1]] == sorted((line["seconds"] for line in told[:-1]), reverse=True)
    assert told[-1] == {
        "file": "",
        "line": 0,
        "function": "",
        "cause": "",
        "count": 10,
        "seconds": sum(0.25 + number for number in range(32, 40)) + 1,
    }
    samples, _ = parse(metrics)
    labels = '{file="/app/3.py",line="3",function="handler",cause="sleep"}'
    assert samples["everloop_blocked_seconds_total", labels] == 103.25
    assert samples["everloop_blocked_total", labels] == 1


def test_what_waits_for_a_thread_is_told_of(listen, loop, gate):
    address = listen()[0]
    before = state_of(address)["pool"]

    async def main():
        slots = loop._pool.slots
        calls = [loop.run_in_executor(None, gate.wait) for _ in range(slots + 3)]
        while (found := state_of(address)["pool"])["running"] < before["running"] + slots:
            await asyncio.sleep(0)
        samples, _ = parse(ask(address, "/metrics")[1])
        for _ in calls:
            gate.open()
        await asyncio.gather(*calls)
        return found, samples

    found, samples = loop.run_until_complete(main())
    assert found["queued"] == before["queued"] + 3
    assert samples["everloop_pool_queued", ""] == found["queued"]
    assert samples["everloop_pool_running", ""] == found["running"]


BLOCKS = """
import json, os
import everloop
reader, writer = os.pipe()
everloop.on_block(lambda record: record["state"] == "blocked" and os.write(writer, b"o"))

async def main():
    os.read(reader, 1)

loop = everloop.EventLoop(rescue=False)
loop.slow_callback_duration = 0.001
loop.run_until_complete(main())
loop.close()  # what is to be reported has been by then
print(json.dumps(everloop.statistics()["blocked_lines"]))
"""


def test_a_line_at_which_a_step_has_blocked_is_told_of():
    done = run_script(BLOCKS, EVERLOOP_REPORT="off")
    [line] = json.loads(done.stdout)
    assert (line["file"], line["function"], line["count"], line["cause"] != "") == ("<string>", "main", 1, True)
    assert line["seconds"] >= 0.001


# ---- the page


def test_the_page_needs_nothing_from_outside(listen):
    status, body = ask(listen()[0], "/")
    assert (status, body) == (200, PAGE.read_text())
    assert re.findall(r"(?:src|href|url|import|@import)\s*[=(]", body) == []
    assert re.findall(r"https?://[^\s\"]+", body) == ["http://www.w3.org/2000/svg"]
    assert "innerHTML" not in body


CHECK = """
const source = require("fs").readFileSync(process.argv[2], "utf8").match(/<script>([^]*)<\\/script>/)[1];
const states = JSON.parse(require("fs").readFileSync(0, "utf8"));
const shown = new Function("states", source + ";return [view(states.slice(0, 1)), view(states)]")(states);
console.log(JSON.stringify(shown));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run the page's script")
def test_the_script_of_the_page_understands_the_state(listen, loop, tmp_path):
    address, states = listen()[0], []

    async def main():
        states.append(await asyncio.to_thread(state_of, address))
        await asyncio.sleep(0.01)
        states.append(await asyncio.to_thread(state_of, address))

    loop.run_until_complete(main())
    line = {"file": "/app/a.py", "line": 3, "function": "f", "cause": "sleep", "count": 1, "seconds": 0.5}
    other = {"file": "", "line": 0, "function": "", "cause": "", "count": 1, "seconds": 1.0}
    states[0]["blocked_lines"], states[1]["blocked_lines"] = [line], [{**line, "seconds": 2.0}, other]
    (tmp_path / "check.js").write_text(CHECK)
    done = subprocess.run(
        ["node", tmp_path / "check.js", PAGE], input=json.dumps(states), capture_output=True, text=True, timeout=20
    )
    assert done.stderr == ""
    first, second = json.loads(done.stdout)
    assert first["loops"][0]["turns"] is None
    [shown] = second["loops"]
    assert shown["name"] == "MainThread"
    assert shown["turns"] > 0
    assert 0 <= shown["busy"] <= 1
    assert shown["turn"] > 0
    assert [(line["where"], line["lately"], line["moves"]) for line in second["lines"]] == [
        ("/app/a.py:3", 1.5, True),
        ("all others", 1.0, True),
    ]
