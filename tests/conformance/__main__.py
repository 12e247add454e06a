"""Runs test suites that others wrote on an event loop, and tells which of their tests only the stock loop passes.

    python tests/conformance                                 all suites, on the everloop that this Python imports
    python tests/conformance --suite cpython --module '*.test_ss*'
    EVERLOOP_RESCUE=1 python tests/conformance               the same with rescue
    python tests/conformance --loop uvloop:new_event_loop    on another loop that is installed

The exit status is 0 if no test is lost. Suites are fetched with pip into target/conformance, where the logs are too.
What lost, unsteady and nobody's mean stands in verdict.py, what a suite is in suite.py.
"""

import argparse
import collections
import concurrent.futures
import pathlib
import platform
import shutil
import signal
import sys
import tempfile
import time

from running import Loop
from suite import HERE, NAMES, Suite, Unavailable, copy_package
from verdict import judge

from everloop import environment

CACHE = HERE.parents[1] / "target" / "conformance"
HEADS = "suite", "passed", "on a loop", "skipped", "failed", "excluded", "lost", "unsteady", "nobody's", "seconds"


def main():
    options = parse(sys.argv[1:])
    # jobs in the background of a shell ignore it, and so would the tests that interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as directory:
        ours = Loop("ours", options.loop, pathlib.Path(directory))
        try:
            copy_package(options.loop, ours.path)
        except Unavailable as reason:
            sys.exit(str(reason))
        sys.exit(run_suites(ours, options))


def run_suites(ours, options):
    """Runs the suites and prints what came of them; returns the exit status."""
    rescue = bool(environment.value_of("rescue"))
    print(f"{ours.name} {'with rescue ' if rescue else ''}on CPython {platform.python_version()}", flush=True)
    cache = options.cache.resolve() / platform.python_version()
    rows, lost, unavailable = [], 0, []
    for name in options.suite or NAMES:
        suite = Suite(name, cache, rescue=rescue, exclude=options.exclude)
        start = time.monotonic()
        try:
            suite.prepare()
            verdicts = judge_all(suite, ours, options)
            if not any(verdict.outcomes["passed"] for verdict in verdicts):
                raise Unavailable(f"not one of its tests passed, see {suite.log}")
        except Unavailable as reason:
            print(f"\n{name} cannot be run: {reason}", flush=True)
            unavailable.append(name)
            continue
        rows.append(row(name, verdicts, time.monotonic() - start))
        lost += sum(len(verdict.lost) for verdict in verdicts)
        tell(suite, verdicts)

    print()
    print_table([HEADS, *rows])
    print(f"\nLost: {lost}" + (f" (not run: {', '.join(unavailable)})" if unavailable else ""))
    return 1 if lost or unavailable else 0


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="tests/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=NAMES, help="a suite (repeatable; all by default)")
    parser.add_argument("--module", action="append", default=[], help="a module's name or pattern (repeatable)")
    parser.add_argument("--loop", default="everloop:new_event_loop", help="module:factory of the loop under test")
    parser.add_argument("--jobs", type=int, default=2, help="modules to run at the same time")
    parser.add_argument("--no-exclude", dest="exclude", action="store_false", help="run what is excluded, too")
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE, help="where suites and logs are kept")
    return parser.parse_args(arguments)


def judge_all(suite, ours, options):
    """The verdicts on the modules of a suite, in their order."""
    modules = suite.modules(options.module)
    shutil.rmtree(suite.log, ignore_errors=True)
    suite.log.mkdir(parents=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda module: judge(suite, module, ours), modules))


def tell(suite, verdicts):
    """Prints what is wrong, and exclusions that nothing needs."""
    for kind in ("lost", "unsteady", "nobody_s"):
        for verdict in verdicts:
            for test, message in getattr(verdict, kind).items():
                lines = [line for line in message.strip().splitlines() if line.strip()]
                print(f"\n{kind.replace('_', chr(39))}: {test}\n  {lines[0]}")
                if kind != "nobody_s":
                    print("\n".join(f"    {line}" for line in lines[1:][-12:]))
    print(f"\n{suite.name}: logs in {suite.log}", flush=True)


def row(name, verdicts, seconds):
    outcomes = sum((verdict.outcomes for verdict in verdicts), collections.Counter())
    lost, unsteady, nobody_s = (
        sum(len(getattr(verdict, kind)) for verdict in verdicts) for kind in ("lost", "unsteady", "nobody_s")
    )
    not_passed = outcomes.total() - outcomes["passed"] - outcomes["skipped"]
    return (
        name,
        outcomes["passed"],
        sum(verdict.on_a_loop for verdict in verdicts),
        outcomes["skipped"],
        max(0, not_passed - lost - unsteady - nobody_s),
        sum(len(verdict.excluded) for verdict in verdicts),
        lost,
        unsteady,
        nobody_s,
        round(seconds),
    )


def print_table(rows):
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    main()
