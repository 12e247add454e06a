"""python -m conformance_unittest MODULE: runs one module of unittest's tests, and reports each of them."""

import faulthandler
import gc
import importlib
import sys
import traceback
import unittest

import conformance_child


class Result(unittest.TestResult):
    def __init__(self, reporter):
        super().__init__()
        self.reporter = reporter
        self.outcome, self.message = "passed", ""

    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.message = "passed", ""
        self.reporter.begin(test.id())

    def stopTest(self, test):
        super().stopTest(test)
        self.reporter.end(test.id(), self.outcome, self.message)

    def addError(self, test, error):
        super().addError(test, error)
        if isinstance(test, unittest.TestCase):
            self.fail(error)
        else:  # setUpClass or setUpModule
            self.reporter.tell("broken", message=text_of(error))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.fail(error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.fail(error)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.outcome, self.message = "failed", "unexpected success"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self.outcome == "passed":
            self.outcome, self.message = "skipped", reason

    def fail(self, error):
        if self.outcome != "failed":
            self.outcome, self.message = "failed", text_of(error)


def text_of(error):
    return "".join(traceback.format_exception(*error))


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def main(name):
    faulthandler.enable()
    reporter = conformance_child.Reporter()
    if name.startswith("test."):
        from test import support

        support.use_resources = []  # as `python -m test` without -u
    try:
        module = importlib.import_module(name)
    except unittest.SkipTest as reason:
        reporter.tell("module skipped", message=str(reason))
    except BaseException:
        reporter.tell("broken", message=traceback.format_exc())
    else:
        tests = list(flat(unittest.defaultTestLoader.loadTestsFromModule(module)))
        selected = [tests[index] for index in reporter.select([test.id() for test in tests])]
        unittest.TestSuite(selected).run(Result(reporter))
        gc.collect()  # what a finalizer complains about belongs in the log
    reporter.tell("finished")


if __name__ == "__main__":  # multiprocessing (spawn) imports this file again
    main(sys.argv[1])
