"""The plugin for pytest: a test that blocks the event loop fails, with the report as its message.

Every run of pytest imports this where everloop is installed. It is a package of its own, so that everloop itself is
imported only once somebody asks for it: by `--everloop-block`, the ini option `everloop_block`, the marker
`everloop_block`, `--everloop`, `--everloop-autojump`, or the fixture `everloop_autojump`.
"""

import math
from collections.abc import Generator, Iterator

import pytest

__all__: list[str] = []

OFF = ("", "off", "none")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("everloop")
    group.addoption(
        "--everloop-block",
        metavar="SECONDS",
        help="fail each test in which a step of an everloop blocks for so long (off: none)",
    )
    group.addoption(
        "--everloop",
        action="store_true",
        help="have asyncio make everloops: for pytest-asyncio, anyio's plugin, unittest and asyncio.run in tests",
    )
    group.addoption(
        "--everloop-autojump",
        action="store_true",
        help="let the time of everloops jump to the next timer while there is nothing to do, in all tests",
    )
    parser.addini("everloop_block", "the same as --everloop-block", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Tells of the marker, refuses what is no limit, and has asyncio make everloops if that is asked for."""
    config.addinivalue_line(
        "markers",
        "everloop_block(seconds): fail this test if a step of an everloop blocks for so long; None: whatever blocks",
    )
    _limit_of_run(config)
    if config.getoption("--everloop"):
        from everloop.takeover import make_everloops

        make_everloops()
    if config.getoption("--everloop-autojump"):
        from everloop.autojump import autojump

        jumps = autojump()
        jumps.__enter__()
        config.add_cleanup(lambda: jumps.__exit__(None, None, None))


@pytest.fixture
def everloop_autojump() -> Iterator[None]:
    """Lets the time of everloops that begin to run in this test jump to the next timer while there is nothing to do."""
    from everloop.autojump import autojump

    with autojump():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Sets the fixtures of a test up inside `everloop.no_blocking()`."""
    return (yield from _watched(item, " while fixtures were set up"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Runs the test inside `everloop.no_blocking()`."""
    return (yield from _watched(item, ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Tears its fixtures down inside `everloop.no_blocking()`."""
    return (yield from _watched(item, " while fixtures were torn down"))


def _watched(item: pytest.Item, when: str) -> Generator[None]:
    seconds = _limit_of(item)
    if seconds is None:
        return (yield)
    import everloop

    try:
        with everloop.no_blocking(seconds):
            return (yield)
    except everloop.BlockingError as error:
        report = str(error)
    pytest.fail(f"a step blocked the event loop{when}; the limit is {seconds:g} s\n\n{report}", pytrace=False)


def _limit_of(item: pytest.Item) -> float | None:
    """The limit for a test: that of its nearest marker, else that of the run."""
    marker = item.get_closest_marker("everloop_block")
    if marker is None:
        return _limit_of_run(item.config)
    if len(marker.args) != 1 or marker.kwargs:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.everloop_block takes a number of seconds, or None")
    [value] = marker.args
    return None if value is None else _seconds(f"{item.nodeid}: @pytest.mark.everloop_block", value)


def _limit_of_run(config: pytest.Config) -> float | None:
    option, name = config.getoption("--everloop-block"), "--everloop-block"
    if option is None:
        option, name = config.getini("everloop_block"), "the ini option everloop_block"
    return None if str(option).strip().lower() in OFF else _seconds(name, option)


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds > 0:  # NaN is refused, too
        raise pytest.UsageError(f"{name} must be a positive number of seconds, not {value!r}")
    return seconds
