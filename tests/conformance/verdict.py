"""The verdict on a module: which tests the stock loop passes and the loop under test does not.

The loop under test runs the whole module. The stock loop runs what was not passed there, or not even found. Where the
two differ the test is run again on both, alone and in its module. There the tests that neither loop passes are left
out: the garbage collector finds what those leave behind, a socket for one, in some other test. The test is

    lost        if the stock loop passes every time, and ours never does alone or never does in its module;
    unsteady    if the stock loop passes every time and ours sometimes does not: a bug to be looked at;
    nobody's    if the stock loop does not pass every time. Then the test says nothing.
"""

import collections
import dataclasses

from running import STOCK, run_module

TIMES_ALONE = 3
TIMES_IN_MODULE = 2
MOST_WEIGHED = 40  # of a module; where more differ, the loop is broken and chance has no part in it


@dataclasses.dataclass
class Verdict:
    module: str
    outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # of all tests on our loop
    on_a_loop: int = 0  # tests that made a loop under test
    excluded: dict[str, str] = dataclasses.field(default_factory=dict)
    lost: dict[str, str] = dataclasses.field(default_factory=dict)  # the test, and what it said
    unsteady: dict[str, str] = dataclasses.field(default_factory=dict)
    nobody_s: dict[str, str] = dataclasses.field(default_factory=dict)


def judge(suite, module, ours):
    """Runs a module, and gives the verdict."""
    run = run_module(suite, module, ours)
    verdict = Verdict(module, excluded=run.excluded)
    verdict.outcomes.update(result.outcome for result in run.tests.values())
    verdict.on_a_loop = sum(result.loops > 0 for result in run.tests.values())

    passed = [test for test in run.tests if run.passes(test)]
    if passed and len(passed) == len(run.tests) and not run.broken:
        return verdict
    stock = run_module(suite, module, STOCK, known=passed)
    suspects = [test for test in stock.tests if stock.passes(test) and not run.passes(test)]
    hopeless = [test for test in stock.tests if not stock.passes(test) and not run.passes(test)]
    weighed = weigh(suite, module, ours, suspects, hopeless) if len(suspects) <= MOST_WEIGHED else {}
    for test in suspects:
        kind, runs = weighed.get(test, ("lost", "not run again"))
        result = run.tests.get(test)
        message = f"{result.outcome}: {result.message}" if result else "not found"
        getattr(verdict, kind)[test] = f"({runs}) {message}"
    if run.broken and not stock.broken:
        verdict.lost[module] = "broken: " + "\n".join(run.broken)
    return verdict


def weigh(suite, module, ours, suspects, hopeless):
    """Runs tests again that only the stock loop passed; returns (kind, how often each loop passed it) for each.

    The `hopeless` ones, which no loop passes, are left out.
    """
    if not suspects:
        return {}

    # each alone
    alone = {test: ([], []) for test in suspects}
    for test in suspects:
        for _ in range(TIMES_ALONE):
            for loop, passes in zip((ours, STOCK), alone[test], strict=True):
                passes.append(run_module(suite, module, loop, only=test).passes(test))

    # and in its module, if it depends on that
    in_module = {test: ([], []) for test in suspects}
    if any(any(by_ours) for by_ours, _ in alone.values()):
        for _ in range(TIMES_IN_MODULE):
            for position, loop in enumerate((ours, STOCK)):
                run = run_module(suite, module, loop, known=hopeless)
                for test in suspects:
                    in_module[test][position].append(run.passes(test))

    weighed = {}
    for test in suspects:
        (ours_alone, stock_alone), (ours_there, stock_there) = alone[test], in_module[test]
        if not all(stock_alone + stock_there):
            kind = "nobody_s"
        elif not any(ours_alone) or (ours_there and not any(ours_there)):
            kind = "lost"
        else:
            kind = "unsteady"
        counts = (f"{sum(passes)}/{len(passes)}" for passes in (ours_alone, ours_there, stock_alone, stock_there))
        weighed[test] = kind, "passed alone {}, in its module {}; on the stock loop {}, {}".format(*counts)
    return weighed
