"""The plugin for pytest: a test that blocks the loop fails with the report; nothing is imported until that is asked."""

import textwrap

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    import asyncio, time
    import pytest

    async def block():
        time.sleep(0.3)

    def run(main):
        import everloop
        everloop.run(main)

    def test_blocks():
        run(block())

    def test_waits():
        run(asyncio.sleep(0.01))

    @pytest.mark.everloop_block(None)
    def test_may_block():
        run(block())

    @pytest.mark.everloop_block(60)
    def test_may_block_for_long():
        run(block())

    def test_fails_anyway():
        run(block())
        assert 1 + 1 == 3
"""


@pytest.fixture
def pytest_with_plugin(pytester, monkeypatch):
    """Runs pytest with the plugin, in a process of its own."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(source, *options):
        pytester.makepyfile(textwrap.dedent(source))
        return pytester.runpytest_subprocess("-p", "everloop_pytest", "-p", "no:cacheprovider", *options)

    return run


def test_it_is_off_until_asked_and_imports_nothing(pytest_with_plugin):
    ran = pytest_with_plugin("""
        import sys

        def test():
            assert "everloop" not in sys.modules and "everloop_pytest" in sys.modules
    """)
    ran.assert_outcomes(passed=1)


def test_a_test_that_blocks_fails_with_the_report_as_its_message(pytest_with_plugin):
    ran = pytest_with_plugin(TESTS, "--everloop-block=0.05", "-W", "error")
    ran.assert_outcomes(passed=3, failed=2)
    ran.stdout.fnmatch_lines(
        [
            "*_ test_blocks _*",
            "a step blocked the event loop; the limit is 0.05 s",
            "",
            "warning[[]blocked[]]: the event loop was blocked for * ms by time.sleep",
            "  --> test_a_test_that_blocks_*.py:* in block *",
            "*time.sleep(0.3)",
            "*= help: *",
            "*_ test_fails_anyway _*",
            "E*everloop.no_blocking() has seen besides:",
        ]
    )


FIXTURES = """
    import asyncio, time
    import pytest

    @pytest.fixture
    def blocks_at_first():
        run(block())

    @pytest.fixture
    def blocks_at_last():
        yield
        run(block())

    async def block():
        time.sleep(0.3)

    def run(main):
        import everloop
        everloop.run(main)

    def test_set_up(blocks_at_first):
        pass

    def test_torn_down(blocks_at_last):
        pass

    @pytest.mark.everloop_block(None)
    def test_may_block(blocks_at_first, blocks_at_last):
        pass
"""


def test_fixtures_are_watched_too(pytest_with_plugin):
    ran = pytest_with_plugin(FIXTURES, "--everloop-block=0.05")
    ran.assert_outcomes(passed=2, errors=2)
    ran.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_set_up*",
            "a step blocked the event loop while fixtures were set up; the limit is 0.05 s",
            "*ERROR at teardown of test_torn_down*",
            "a step blocked the event loop while fixtures were torn down; the limit is 0.05 s",
            "warning[[]blocked[]]: the event loop was blocked for * ms by time.sleep",
        ]
    )


HOURS = """
    import asyncio
    import pytest

    def hours():
        async def main():
            loop = asyncio.get_running_loop()
            begin = loop.time()
            await asyncio.wait({asyncio.create_task(asyncio.sleep(3600 * hour)) for hour in (1, 2, 3)})
            return round((loop.time() - begin) / 3600)
        return asyncio.run(main())
"""


def test_the_clock_jumps_where_that_is_asked_for(pytest_with_plugin):
    asks = "\n    def test(everloop_autojump):\n        assert hours() == 3\n"
    pytest_with_plugin(HOURS + asks, "--everloop").assert_outcomes(passed=1)
    asks = asks.replace("everloop_autojump", "")
    pytest_with_plugin(HOURS + asks, "--everloop", "--everloop-autojump").assert_outcomes(passed=1)


def test_a_file_of_settings_and_a_marker_can_ask_for_it(pytest_with_plugin, pytester):
    pytester.makeini("[pytest]\neverloop_block = 0.05\n")
    pytest_with_plugin(TESTS).assert_outcomes(passed=3, failed=2)
    pytest_with_plugin(TESTS, "--everloop-block=off").assert_outcomes(passed=4, failed=1)
    pytester.makeini("[pytest]\n")
    source = TESTS.replace("everloop_block(60)", "everloop_block(0.05)")
    pytest_with_plugin(source).assert_outcomes(passed=3, failed=2)


@pytest.mark.parametrize("value", ["fast", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(pytest_with_plugin, value):
    ran = pytest_with_plugin("def test(): pass", f"--everloop-block={value}")
    ran.stderr.fnmatch_lines([f"*--everloop-block must be a positive number of seconds, not '{value}'"])


@pytest.mark.parametrize("arguments", ["", "'fast'", "1, 2", "seconds=1"])
def test_a_marker_that_says_no_limit_is_refused(pytest_with_plugin, arguments):
    ran = pytest_with_plugin(f"""
        import pytest

        @pytest.mark.everloop_block({arguments})
        def test():
            pass
    """)
    assert ran.ret != 0
    ran.stdout.fnmatch_lines(["*@pytest.mark.everloop_block *"])


ASYNC = """
    import asyncio, time, unittest
    import everloop
    import pytest

    @pytest.fixture
    async def value():
        return type(asyncio.get_running_loop())

    class Test(unittest.IsolatedAsyncioTestCase):
        async def test(self):
            assert type(asyncio.get_running_loop()) is everloop.EventLoop

    def test_run():
        async def main():
            return type(asyncio.get_running_loop())
        assert asyncio.run(main()) is everloop.EventLoop

    @pytest.mark.{marker}
    async def test_loop(value):
        assert value is type(asyncio.get_running_loop()) is everloop.EventLoop

    @pytest.mark.{marker}
    async def test_blocks():
        time.sleep(0.3)
"""


def test_async_tests_run_on_everloop(pytest_with_plugin, pytester):
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'")
    ran = pytest_with_plugin(ASYNC.format(marker="anyio"), "--everloop", "--everloop-block=0.05")
    ran.assert_outcomes(passed=3, failed=1)
    ran.stdout.fnmatch_lines(["*by time.sleep*"])
