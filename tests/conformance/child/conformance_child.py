"""Inside a process of a suite: puts the loop under test in asyncio's place, and reports each test as it ends.

`install` makes asyncio's default policy create the loop under test, and gives the public names of asyncio's own loop
that meaning. `asyncio.run`, `Runner`, `new_event_loop`, pytest-asyncio, anyio and `IsolatedAsyncioTestCase` need no
more: they ask the policy.

The module is a pytest plugin too (`-p conformance_child`). It writes one JSON object a line, so that the parent knows
which test a process was in when it hung or crashed. PYTEST_DONT_REWRITE
"""

import fnmatch
import importlib
import json
import os
import sys

loops_made = 0  # by the loop under test's factory, in this process
installed = False


def install():
    """Replaces what the environment asks for. Without a loop under test only a suite's aliases: they mean asyncio's."""
    global installed
    import asyncio
    from asyncio import unix_events

    make = asyncio.SelectorEventLoop
    if os.environ["CONFORMANCE_LOOP"]:
        sys.path.append(os.environ["CONFORMANCE_LOOP_PATH"])
        make = replace_stock_loop(resolve(os.environ["CONFORMANCE_LOOP"]))
    policy = default_policy(unix_events)
    for name in filter(None, os.environ["CONFORMANCE_ALIASES"].split(",")):
        module, _, attribute = name.partition(":")
        meaning = type(attribute, (policy,), {}) if attribute.endswith("Policy") else make
        setattr(importlib.import_module(module), attribute, meaning)
    installed = True


def replace_stock_loop(factory_under_test):
    import asyncio
    from asyncio import unix_events

    stock = unix_events.SelectorEventLoop

    def make(*args, **options):  # a selector is not asked for
        global loops_made
        loops_made += 1
        return factory_under_test()

    class Callable(type):
        def __call__(cls, *args, **options):
            return make()

        def __instancecheck__(cls, loop):
            return isinstance(loop, stock)

    class SelectorEventLoop(metaclass=Callable):
        """Stands for asyncio's class: suites call it, and ask whether a loop is an instance of it."""

    for module in (asyncio, unix_events):
        for name in {"SelectorEventLoop", "EventLoop"} & set(vars(module)):
            setattr(module, name, SelectorEventLoop)
    default_policy(unix_events)._loop_factory = staticmethod(make)
    return make


def default_policy(unix_events):
    """The class of asyncio's default policy, whose public name warns from CPython 3.14 on."""
    return getattr(unix_events, "_UnixDefaultEventLoopPolicy", None) or unix_events._DefaultEventLoopPolicy


def resolve(name):
    """The object that `package.module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Reporter:
    """Selects tests by the parent's plan, and tells it what becomes of them."""

    def __init__(self):
        if os.environ["CONFORMANCE_LOOP"] and not installed:
            sys.exit("conformance: the loop under test could not be installed")
        self.file = open(os.environ["CONFORMANCE_EVENTS"], "a", buffering=1)  # noqa: SIM115 - for the process's life
        with open(os.environ["CONFORMANCE_PLAN"]) as file:
            plan = json.load(file)
        self.known, self.exclude, self.only = set(plan["known"]), plan["exclude"], plan["only"]
        self.loops_before = 0

    def tell(self, event, **details):
        print(json.dumps({"event": event, **details}), file=self.file)

    def select(self, tests):
        """The indices of the tests to run."""
        selected = []
        for index, test in enumerate(tests):
            if self.only not in (None, test) or test in self.known:
                continue
            excluded_by = next((pattern for pattern in self.exclude if fnmatch.fnmatchcase(test, pattern)), None)
            if excluded_by:
                self.tell("excluded", test=test, by=excluded_by)
            else:
                self.tell("selected", test=test)
                selected.append(index)
        return selected

    def begin(self, test):
        self.loops_before = loops_made
        self.tell("begin", test=test)

    def end(self, test, outcome, message):
        self.tell("end", test=test, outcome=outcome, message=message[-4000:], loops=loops_made - self.loops_before)


# ---- as a pytest plugin

reporter = None
outcomes = {}  # of the tests that have begun and not ended: [outcome, message]


def pytest_configure(config):
    global reporter
    if "CONFORMANCE_EVENTS" in os.environ:
        reporter = Reporter()


def pytest_collection_modifyitems(items):
    if reporter:
        items[:] = [items[index] for index in reporter.select([item.nodeid for item in items])]


def pytest_collectreport(report):
    if reporter and report.failed:
        reporter.tell("broken", message=str(report.longrepr)[-4000:])


def pytest_runtest_logstart(nodeid):
    if reporter:
        outcomes[nodeid] = ["passed", ""]
        reporter.begin(nodeid)


def pytest_runtest_logreport(report):
    outcome = outcomes.get(report.nodeid)
    if outcome is None:
        return
    if report.failed and outcome[0] != "failed":
        outcome[:] = "failed", str(report.longrepr)
    elif report.skipped and outcome[0] == "passed":
        outcome[:] = "skipped", str(report.longrepr)


def pytest_runtest_logfinish(nodeid):
    if nodeid in outcomes:
        reporter.end(nodeid, *outcomes.pop(nodeid))


def pytest_sessionfinish():
    if reporter:
        reporter.tell("finished")
