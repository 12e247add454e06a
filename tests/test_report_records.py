"""The record of a block, and its text: which line is to blame, how its call is spelled, why it blocks, what to do."""

import asyncio
import io
import json
import logging
import os
import pathlib
import textwrap
import threading
import warnings

import pytest

import everloop
from everloop import environment, watch
from everloop.watch import hook, output, report_writer, source
from everloop.watch.advice import advice
from everloop.watch.source import call_at, snippet
from everloop.watch.worst_lines import read_from
from support import run_script

LIBRARY = asyncio.__file__


@pytest.fixture
def told():
    """What a new writer tells: `told.note(...)` writes notes, `told.records` are the records of them."""

    class Told:
        def __init__(self):
            self.writer = report_writer.ReportWriter()
            self.records = []

        def blocked(self, **changed):
            note = {
                **{"number": 1, "seconds": 0.1, "file": "/app/main.py", "line": 7, "function": "handler"},
                **{"columns": None, "inside": None, "kind": "task", "task": "Task-1", "waiting": 0},
                **{"rescued_after": None, "relief": None, "thread": "MainThread"},
            }
            self.writer.blocked(**(note | changed))
            return self.records[-1]

        def ended(self, **note):
            self.writer.ended(**({"number": 1, "seconds": 0.5} | note))
            return self.records[-1]

        def lasts(self, **note):
            self.writer.lasts(**({"number": 1, "seconds": 1.0} | note))
            return self.records[-1]

    told = Told()
    with hook.on_block(told.records.append):
        yield told
    watch.install()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Writes a program, and returns its file and the places of what is marked there with «...»."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        text = textwrap.dedent(text)
        lines, spans, begun = [], [], []
        for number, line in enumerate(text.splitlines(), 1):
            while (found := min((line.find(mark) for mark in "«»" if mark in line), default=None)) is not None:
                column = len(line[:found].encode())
                if line[found] == "«":
                    begun.append((number, column))
                else:
                    first, start = begun.pop()
                    spans.append((first, number, start, column))
                line = line[:found] + line[found + 1 :]
            lines.append(line)
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text("\n".join(lines) + "\n")
        return str(path), spans

    return write


# ---- how a call is spelled


@pytest.mark.parametrize(
    ("source", "spelled"),
    [
        ("«time.sleep(0.1)»", "time.sleep"),
        ("x = «requests.get(url, timeout=3).json()»", "requests.get(...).json"),
        ("b = «a * a * a»", "a * a * a"),
        ("found = «o in xs»", "o in xs"),
        ("for line in «p.stdout»: pass", "p.stdout"),
        ("größe = [«é.größe(q)» for q in range(10)]", "é.größe"),
        ("client = (deeplib\n    .sub\n    .«Client(1,\n        2)»)", "deeplib.sub.Client"),
        ("foo(\n  a\n  .«b(1)»,\n  c)", "a.b"),
        ("async def f():\n    if True:\n        x = (deeplib\n            .«Client()»)", "deeplib.Client"),
        ("with «open('x')» as file, lock: pass", "open"),
        ("await «fetch(f(1)(2))»", "fetch"),
        ("f(«g(1)»)(2)", "g"),
        ("«f(1)(2)»", "f(...)"),
        ("while «True»:\n    pass", "while True"),
        ("while x:\n    «break»", ""),
        ("try:\n    pass\n«finally»:\n    pass", ""),
        ("«x» = compute(y)   # a comment with # in it", "x = compute(y)"),
        ("s = f\"{«time.sleep(1)»} '#'\"", "time.sleep"),
        ("import «heavy»", "import heavy"),
        ("«» x = compute( # goes on", "x = compute("),
    ],
)
def test_a_call_is_named_as_the_source_spells_it(program, source, spelled):
    file, [span] = program(source)
    assert call_at(file, span[0], span) == spelled


def test_without_its_place_the_line_is_named_and_nothing_where_it_cannot_be_read(program):
    file, _ = program("x = 1\ntime.sleep(1)  # long\nbreak\n")
    assert [call_at(file, line, None) for line in (1, 2, 3, 9)] == ["x = 1", "time.sleep(1)", "", ""]
    assert call_at("<generated>", 1, (1, 1, 0, 3)) == ""
    assert snippet("<generated>", 1, (1, 1, 0, 3)) == []


def test_the_interpreter_warns_of_nothing_in_the_source(program):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file, [span] = program(r"found = «re.match('\d+\'\\(a+)+\u', text)»")
        assert call_at(file, 1, span) == "re.match"


@pytest.mark.parametrize("kind", ["fifo", "large", "missing", "null"])
def test_what_would_take_long_to_read_is_not_read(tmp_path, monkeypatch, kind):
    path = tmp_path / "program.py"
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "large":
        monkeypatch.setattr(source, "_LARGEST", 5)
        path.write_text("time.sleep(1)")
    name = str(path) + ("\0" if kind == "null" else "")
    assert call_at(name, 1, (1, 1, 0, 13)) == ""


def test_the_mark_stands_below_what_it_marks(program):
    file, [span, wide] = program("if 1:\n\tgrün = «f(1)»\n日本 = «f(1)»\n")
    assert snippet(file, 2, span) == ["  |", "2 | \tgrün = f(1)", "  | \t       ^^^^"]
    assert snippet(file, 3, wide)[-1] == "  | " + " " * 7 + "^^^^"


def test_of_a_call_over_many_lines_the_first_are_shown(program):
    file, [span] = program("x = «f(\n" + "  1,\n" * 8 + ")»\n")
    assert snippet(file, 1, span) == ["  |", "1 | x = f(", "  |     ^^", "2 |   1,", "3 |   1,", "4 |   1,"]


# ---- which line


def test_the_line_is_the_program_s_own_below_libraries_and_generated_code(told, program):
    file, [inner, outer] = program("def inner():\n    «deeplib.Client(1)»\n«inner()»\n")
    stack = (
        (LIBRARY, 5, "read", None),
        ("<sqlalchemy generated dialect>", 3, "generated", None),
        (file, 2, "inner", inner),
        (LIBRARY, 9, "call", None),
        (LIBRARY, 10, "call", None),
        (file, 3, "<module>", outer),
    )
    found = told.blocked(file=LIBRARY, line=5, function="read", stack=stack)
    assert (found["file"], found["line"], found["function"], found["call"]) == (file, 2, "inner", "deeplib.Client")
    assert found["span"] == list(inner)
    assert [frame["line"] for frame in found["stack"]] == [5, 3, 2, 9, 10, 3]
    name = pathlib.Path(file).name
    assert f"  --> {name}:2 in inner" in found["text"]
    assert "   = inside: asyncio/__init__.py:5 in read, 2 calls further in\n" in found["text"]
    assert f"   = from: 2 frames < {name}:3 in <module>\n" in found["text"]


def test_code_that_was_typed_in_is_the_program_s_own_where_there_is_no_other(told):
    stack = ((LIBRARY, 5, "read", None), ("<string>", 2, "main", None), ("<frozen importlib._bootstrap>", 1, "f", None))
    assert told.blocked(stack=stack)["file"] == "<string>"
    assert told.blocked(stack=stack[:1], number=2)["file"] == LIBRARY


def test_the_line_that_took_most_is_blamed_not_the_one_after_it(told, program):
    file, [culprit, now] = program("def f():\n    b = «a * a»\n    x = «g()»\n")
    stack = ((file, 3, "f", now),)
    first = told.blocked(file=file, line=3, stack=stack, lines=((file, 2, "f", 0.9, None), (file, 3, "f", 0.1, None)))
    assert (first["line"], first["call"]) == (2, "b = a * a")
    assert [line["share"] for line in first["lines"]] == [0.9, 0.1]
    name = pathlib.Path(file).name
    assert f"   = now: at {name}:3 in f" in first["text"]
    assert f"   = time: 900 ms at {name}:2 in f, 100 ms at {name}:3 in f" in first["text"]
    library = (LIBRARY, 9, "read", 5.0, None)
    assert told.lasts(lines=(library, (file, 3, "f", 0.1, None)))["line"] == 3
    last = told.ended(lines=((file, 3, "f", 2.0, None), (file, 2, "f", 0.9, None)))
    assert (last["line"], last["call"]) == (3, "g")
    assert culprit != now


def test_the_line_of_the_thread_that_holds_the_gil_is_blamed(told, program):
    file, [thief] = program("def work():\n    «re.match(a, b)»\n")
    cause = {"kind": "thread", "on": None, "thread": "worker-1", "file": file, "line": 2, "function": "work"}
    found = told.blocked(cause=cause, stack=(("/app/main.py", 7, "handler", None),))
    assert (found["file"], found["line"], found["function"]) == (file, 2, "work")
    first, *rest = found["text"].splitlines()
    assert first.endswith("by another thread (worker-1)")
    assert "   = step: at /app/main.py:7 in handler, which is not to blame" in rest
    assert rest[0].endswith('  thread "worker-1"')
    name = pathlib.Path(file).name
    assert (
        f"   = cause: another thread (worker-1) holds the GIL at {name}:2 in work: this step only waits for it" in rest
    )
    assert thief
    cause["thread"] = threading.main_thread().native_id
    assert told.blocked(cause=cause, number=2)["cause"]["thread"] == "MainThread"
    assert told.blocked(cause=cause | {"thread": 1}, number=3)["cause"]["thread"] == "1"


# ---- why, who waits, what to do


def test_a_record_can_be_written_as_json_and_has_all_keys(told):
    found = told.blocked(cause={"kind": "socket", "on": "tcp 10.0.3.7:443"}, span=(7, 7, 4, 9), due=200, ready=20)
    assert json.loads(json.dumps(found)) == found
    assert found.keys() >= {
        *("version", "state", "pid", "loop", "thread", "task", "kind", "file", "line", "function", "call", "span"),
        *("cause", "stack", "lines", "seconds", "waiting", "due", "ready", "rescued", "rescued_after", "relief"),
        *("count", "suppressed", "advice", "told", "logged", "level", "number", "text", "p95"),
    }
    assert found["cause"] == {
        "kind": "socket",
        "on": "tcp 10.0.3.7:443",
        "text": "it waits for a socket to tcp 10.0.3.7:443",
    }
    assert "   = impact: 200 timers due, 20 files ready" in found["text"].splitlines()


def test_the_loop_is_told_and_not_kept(told, loop):
    import weakref

    assert told.blocked(loop=weakref.ref(loop))["loop"] == repr(loop)
    assert told.blocked(loop=None, number=2)["loop"] is None


@pytest.mark.parametrize(
    ("kind", "advised", "not_advised"),
    [
        ("python", "to_process", "to_thread"),
        ("gil", "to_process", "to_thread"),
        ("native", "to_thread", "to_process"),
        ("collector", "gc.freeze()", "to_thread"),
        ("import", "import it at the top", "to_thread"),
        ("steps", "the lines above", "to_thread"),
        ("host", "", "to_"),
    ],
)
def test_the_cause_decides_on_the_advice(kind, advised, not_advised):
    for call in ("time.sleep", "requests.get", "deeplib.Client"):
        assert advised in advice(call, (), kind)
        assert not_advised not in advice(call, (), kind)


@pytest.mark.parametrize(
    ("call", "inside", "kind", "advised"),
    [
        ("time.sleep", (), "sleep", "asyncio.sleep"),
        ("session.get", ("requests/sessions.py", "urllib3/connection.py"), "socket", "httpx"),
        ("subprocess.run", ("subprocess.py",), "child", "create_subprocess_exec"),
        ("connection.execute", (), "socket", "asynchronous driver"),
        ("process.wait", (), "child", "create_subprocess_exec"),
        ("event.wait", (), "lock", "asyncio.Lock"),
        ("deeplib.Client", (), "dns", "getaddrinfo"),
        ("deeplib.Client", (), "file", "for files and pipes"),
        ("deeplib.Client", (), "sleep", "`await everloop.to_thread(...)`"),
        ("libc.usleep", (), "sleep", "asyncio.sleep"),
        ("select.select", (), "sleep", "`await everloop.to_thread(...)`, or `with"),
        ("os.popen(...).read", ("os.py",), "pipe", "create_subprocess_exec"),
        ("open(...).read", (), "file", "for files and pipes"),
        ("httpx.AsyncClient", ("ssl.py",), "unknown", "keep it"),
        ("httpx.get", (), "unknown", "instead of the synchronous client"),
        ("json.loads", (), "unknown", "to_process"),
        ("import sqlalchemy", ("<frozen importlib._bootstrap>", "sqlalchemy/__init__.py"), "unknown", "at the top"),
        ("", (), "unknown", "to_thread"),
    ],
)
def test_what_is_called_decides_where_the_step_waits(call, inside, kind, advised):
    assert advised in advice(call, inside, kind)


@pytest.mark.parametrize(
    ("call", "inside", "not_advised"),
    [
        ("openai.chat.completions.create", ("httpx/_client.py",), "files and pipes"),
        ("openpyxl.load_workbook", (), "for files and pipes"),
        ("videos.encode", (), "files and pipes"),
        ("', '.join", (), "asyncio.Lock"),
        ("asleep_detector.run", (), "asyncio.sleep"),
    ],
)
def test_fragments_of_words_say_nothing(call, inside, not_advised):
    assert not_advised not in advice(call, inside)


# ---- what is told, and what is only counted


def test_nobody_is_warned_of_a_machine_that_gave_no_processor(told, caplog):
    caplog.set_level(logging.DEBUG, "everloop")
    found = told.blocked(cause={"kind": "host", "on": None})
    assert (found["level"], found["advice"]) == ("debug", "")
    assert [entry.levelname for entry in caplog.records] == ["DEBUG"]
    assert found["text"].startswith("note[starved]: the event loop has been blocked for 100 ms")
    assert "help" not in found["text"]


def test_a_rescued_block_that_cost_nobody_anything_is_told_once_for_its_line(told, monkeypatch):
    monkeypatch.setattr(report_writer, "QUIET_SECONDS", 0.0)
    logged = []
    for number in range(3):
        logged.append(told.blocked(number=number, rescued_after=0.02)["logged"])
        logged.append(told.ended(number=number)["logged"])
    assert logged == [True, True, False, False, False, False]
    found = told.blocked(number=9)  # not rescued
    assert (found["logged"], found["count"], found["suppressed"]) == (True, 4, 2)
    assert "; 2 of them not told" in found["text"]


def test_a_line_is_told_of_at_most_once_in_a_while_with_the_number_of_what_was_not(told, monkeypatch):
    assert told.blocked()["logged"]
    assert not told.blocked(number=2)["logged"]
    assert not told.ended(number=2)["logged"]
    assert told.ended()["suppressed"] == 1
    told.writer._lines["/app/main.py", 7].quiet_until = 0.0
    found = told.blocked(number=3)
    assert (found["logged"], found["suppressed"], found["count"]) == (True, 0, 3)


def test_a_block_that_lasts_is_told_again_with_who_waits_by_then(told):
    told.blocked()
    told.blocked(number=2)
    assert told.lasts(seconds=1.0, waiting=3)["waiting"] == 3
    assert told.records[-1]["logged"]
    assert "has been blocked for 1000 ms (still blocked)" in told.records[-1]["text"]
    assert not told.lasts(number=2, seconds=1.0)["logged"]
    assert told.lasts(number=2, seconds=10.0)["logged"]  # whatever was told of that line before


def test_a_rescued_block_that_lasts_is_told_again_if_it_was_told(told):
    told.blocked(rescued_after=0.02)
    assert told.lasts(seconds=1.0)["logged"]
    told.writer._lines["/app/main.py", 7].quiet_until = 0.0
    told.blocked(number=2, rescued_after=0.02)
    assert not told.lasts(number=2, seconds=60.0)["logged"], "it holds nobody up, and its line was told of"
    told.blocked(number=3, rescued_after=0.5)
    told.blocked(number=4, rescued_after=0.5)
    assert not told.lasts(number=4, seconds=1.0)["logged"]
    assert told.lasts(number=4, seconds=10.0)["logged"], "others have noticed"


def test_a_program_s_own_imports_before_anything_runs_are_no_warning(told, loop, caplog):
    import weakref

    stack = (("/app/app.py", 1, "<module>", None), ("<frozen importlib._bootstrap>", 488, "_call", None))
    reference = weakref.ref(loop)
    assert told.blocked(stack=stack, loop=reference)["level"] == "debug"
    assert told.ended(cause={"kind": "sleep"})["level"] == "debug"
    assert told.blocked(stack=stack, loop=reference, number=2, waiting=1)["level"] == "warning"
    assert told.blocked(stack=stack[:1], loop=reference, number=3)["level"] == "warning"
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    assert told.blocked(stack=stack, loop=reference, number=4)["level"] == "warning"


def test_what_could_not_be_seen_is_told_with_its_cause(told):
    told.writer.unseen(seconds=0.4)
    assert told.records[-1]["cause"]["kind"] == "gil"
    assert told.records[-1]["text"].startswith(
        "warning[blocked]: the event loop was blocked for 400 ms by code that held the GIL\n"
    )
    told.writer.unseen(seconds=0.4, cause={"kind": "collector", "generation": 2}, told=True)
    assert "by the garbage collector (generation 2)" in told.records[-1]["text"]
    assert "   = told: " in told.records[-1]["text"]
    assert told.records[-1]["file"] is None


def test_short_steps_are_told_with_their_number(told):
    text = told.blocked(cause={"kind": "steps", "count": 40})["text"]
    assert text.startswith(
        "warning[blocked]: the event loop has been kept busy for 100 ms (still kept busy) by 40 short"
    )


# ---- in which form


@pytest.fixture
def form():
    yield output.set_report
    output.set_report("text")


def test_off_writes_no_block_and_tells_the_hooks_all_the_same(told, form, caplog):
    form("off")
    assert not told.blocked()["logged"]
    assert caplog.records == []


def test_json_is_one_line_each(told, form, caplog):
    form("json")
    told.blocked()
    told.writer.lost(count=3)
    block, message = (json.loads(entry.getMessage()) for entry in caplog.records)
    assert block == told.records[0] == caplog.records[0].everloop
    assert (message["state"], message["text"][:9]) == ("message", "3 reports")


def test_a_form_that_there_is_none_of_is_refused(form, monkeypatch):
    with pytest.raises(ValueError, match="not 'xml'"):
        form("xml")
    monkeypatch.setenv("EVERLOOP_REPORT", "loud")
    with pytest.raises(ValueError, match="EVERLOOP_REPORT is 'loud'"):
        environment.report()


def test_the_environment_says_in_which_form():
    ran = run_script(
        """
        import everloop, json, time
        async def main():
            time.sleep(0.3)
        everloop.run(main())
        """,
        EVERLOOP_REPORT="json",
    )
    lines = [line for line in ran.stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["state"] for line in lines] == ["blocked", "ended"]
    ran = run_script("import everloop", EVERLOOP_REPORT="loud")
    assert "ValueError: the environment variable EVERLOOP_REPORT is 'loud'" in ran.stderr


# ---- the worst lines


def test_the_worst_lines_are_those_that_took_longest_in_all(told):
    read_from(told.writer)
    told.blocked(cause={"kind": "sleep"}, rescued_after=0.01)
    told.ended(seconds=0.5)
    for number, seconds in ((2, 0.3), (3, 0.4)):
        told.blocked(number=number, line=9, cause={"kind": "file"})
        told.ended(number=number, seconds=seconds)
    told.blocked(number=4, line=11)
    told.ended(number=4, seconds=9.0, cause={"kind": "host"})  # nobody is to blame
    told.blocked(number=5, line=13)  # has not ended
    told.writer.unseen(seconds=0.1)
    found = everloop.worst_lines()
    assert json.loads(json.dumps(found)) == found
    keys = ("line", "cause", "seconds", "times", "rescued", "longest", "p95")
    assert [[line[key] for key in keys] for line in found] == [
        [9, "file", 0.7, 2, 0, 0.4, 0.4],
        [7, "sleep", 0.5, 1, 1, 0.5, 0.5],
        [0, "gil", 0.1, 1, 0, 0.1, 0.1],
    ]
    assert [line["line"] for line in everloop.worst_lines(1)] == [9]


def test_a_block_over_several_lines_counts_for_each_of_them(told):
    read_from(told.writer)
    told.blocked()
    told.ended(seconds=1.0, lines=(("/app/main.py", 7, "handler", 0.6, None), ("/app/other.py", 2, "f", 0.4, None)))
    assert [(line["file"], line["function"], line["seconds"]) for line in everloop.worst_lines()] == [
        ("/app/main.py", "handler", 0.6),
        ("/app/other.py", "f", 0.4),
    ]


def test_the_worst_lines_are_printed_as_a_table_or_as_json(told, form):
    read_from(told.writer)
    told.blocked(cause={"kind": "sleep"})
    told.ended(seconds=12.0)
    told.writer.unseen(seconds=0.1)
    table = io.StringIO()
    everloop.print_worst_lines(file=table)
    assert table.getvalue().splitlines() == [
        f"everloop: the 2 lines that blocked longest (pid {os.getpid()})",
        "  seconds  times  p95 ms  cause  line",
        "    12.00      1   12000  sleep  /app/main.py:7 in handler",
        "     0.10      1     100  gil    (code that held the GIL, and could not be seen)",
    ]
    form("json")
    table = io.StringIO()
    everloop.print_worst_lines(file=table)
    assert json.loads(table.getvalue())["lines"] == everloop.worst_lines()


def test_they_are_printed_at_exit_where_that_is_asked_for():
    script = """
        import everloop, sys, time
        loop = everloop.EventLoop()
        if "block" in sys.argv:
            loop.call_soon(time.sleep, 0.3)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop._close_core()  # no warning that it was not closed
    """
    ran = run_script(script, "block", EVERLOOP_REPORT_AT_EXIT="1", EVERLOOP_REPORT="off")
    assert "everloop: the line that blocked longest (pid " in ran.stderr
    assert "time.sleep" in ran.stderr or "native" in ran.stderr
    ran = run_script(script, EVERLOOP_REPORT_AT_EXIT="1")
    assert "everloop: no step has blocked" in ran.stderr
    assert "everloop: " not in run_script(script, "block", EVERLOOP_REPORT_AT_EXIT="0", EVERLOOP_REPORT="off").stderr
    assert "EVERLOOP_REPORT_AT_EXIT is 'x'" in run_script(script, EVERLOOP_REPORT_AT_EXIT="x").stderr


def test_they_are_printed_at_a_signal_as_the_page_says():
    page = (pathlib.Path(__file__).parent.parent / "docs/reporting.md").read_text()
    [line] = [line for line in page.split("`") if line.startswith("signal.signal(")]
    ran = run_script(f"""
        import everloop, os, signal
        {line}
        os.kill(os.getpid(), signal.SIGUSR1)
        print("goes on")
    """)
    assert ran.stderr.startswith("everloop: no step has blocked")
    assert ran.stdout == "goes on\n"


def test_the_record_is_told_of_no_more_steps_than_are_remembered(told, monkeypatch):
    monkeypatch.setattr(report_writer, "MOST_REMEMBERED", 2)
    for number in range(3):
        told.blocked(number=number, line=number + 1)
    count = len(told.records)
    told.writer.ended(number=0, seconds=1.0)
    assert len(told.records) == count


def test_where_several_threads_have_the_gil_in_turns_no_line_is_blamed(told):
    record = told.blocked(cause={"kind": "thread", "on": None}, stack=(("/app/main.py", 7, "handler", None),))
    assert (record["file"], record["line"], record["function"], record["call"]) == (None, None, None, None)
    lines = record["text"].splitlines()
    assert lines[0].endswith(" by other threads")
    assert "   = step: at /app/main.py:7 in handler, which is not to blame" in lines
    assert "   = cause: other threads have the GIL in turns: this step only waits for it" in lines
