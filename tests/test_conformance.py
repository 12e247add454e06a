"""CPython's own tests of asyncio lose nothing on everloop. `make conformance` runs other people's suites as well."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

CONFORMANCE = pathlib.Path(__file__).with_name("conformance")
SECONDS = 600  # one minute when nothing is lost; each loss costs some more, since it is tried again


@pytest.mark.patience(SECONDS + 30)
@pytest.mark.skipif(importlib.util.find_spec("test.test_asyncio") is None, reason="this CPython came without its tests")
@pytest.mark.parametrize("rescue", ["", "1"], ids=["plain", "rescue"])
def test_nothing_is_lost_of_cpython_s_own_tests(rescue, tmp_path):
    process = subprocess.run(
        [sys.executable, CONFORMANCE, "--suite", "cpython", "--cache", tmp_path],
        env={**os.environ, "EVERLOOP_RESCUE": rescue},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert process.returncode == 0, process.stdout
