"""The recipes of docs/reporting.md for Sentry, OpenTelemetry and Prometheus, against stand-ins for these."""

import pathlib
import re
import sys
import time
import types

import pytest

import everloop
from everloop import _native
from everloop.watch import hook

PAGES = ["reporting.md", "zh-CN/reporting.md"]
DOCS = pathlib.Path(__file__).parent.parent / "docs"


def recipe(page, module):
    """The code of a page that imports a module."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if re.search(rf"^(?:import|from) {module}\b", block, re.MULTILINE)]
    return found


@pytest.fixture
def follow(monkeypatch, loop):
    """Runs the recipe for a module, which is the given stand-in, and blocks a loop."""
    loop.slow_callback_duration = 0.02
    before = list(hook._hooks)

    def run(page, module, **stand_in):
        fake = types.ModuleType(module)
        vars(fake).update(stand_in)
        monkeypatch.setitem(sys.modules, module, fake)
        exec(compile(recipe(page, module), page, "exec"), {"__name__": "recipe"})
        loop.call_soon(block)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert _native.write_notes()

    yield run
    for each in [each for each in hook._hooks if each not in before]:
        each.remove()


def block():
    time.sleep(0.1)


@pytest.mark.parametrize("page", PAGES)
def test_sentry_gets_one_event_with_the_stack(follow, page):
    events = []
    follow(page, "sentry_sdk", capture_event=events.append)
    [event] = events
    [value] = event["exception"]["values"]
    assert value["value"].startswith("warning[blocked]: the event loop was blocked for")
    assert value["stacktrace"]["frames"][-1]["function"] == "block"
    assert event["fingerprint"][:2] == ["everloop", __file__]
    assert event["tags"].keys() == {"everloop.cause"}


@pytest.mark.parametrize("page", PAGES)
def test_opentelemetry_gets_a_span_as_long_as_the_block(follow, page):
    spans = []

    class Tracer:
        def start_span(self, name, start_time, attributes):
            spans.append({"name": name, "start": start_time, "attributes": attributes})
            return self

        def end(self, end_time):
            spans[-1]["end"] = end_time

    tracers = {}
    trace = types.SimpleNamespace(get_tracer=lambda name: tracers.setdefault(name, Tracer()))
    follow(page, "opentelemetry", trace=trace)
    [span] = spans
    assert span["attributes"]["code.file.path"] == __file__
    assert span["attributes"]["code.function.name"] == "block"
    assert all(isinstance(value, str | int | float | bool) for value in span["attributes"].values())
    assert (span["end"] - span["start"]) / 1e9 >= 0.02
    assert set(tracers) == {"everloop"}


@pytest.mark.parametrize("page", PAGES)
def test_prometheus_counts_seconds_by_cause_and_function(follow, page):
    observed = []

    class Histogram:
        def __init__(self, name, text, labels):
            self.names = labels

        def labels(self, *values):
            assert len(values) == len(self.names)
            return types.SimpleNamespace(observe=lambda seconds: observed.append((*values, seconds)))

    follow(page, "prometheus_client", Histogram=Histogram)
    [(cause, function, seconds)] = observed
    assert isinstance(cause, str)
    assert function == "block"
    assert seconds >= 0.02
    assert everloop.worst_lines(1000)
