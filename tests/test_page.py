"""The live page in a browser: headless Chromium runs it, and its document is looked at."""

import asyncio
import html
import re
import shutil
import subprocess

import pytest

import everloop

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# It runs as root too, and asks nobody but the page.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture
def document_of(tmp_path):
    """What a browser shows at an address once a page has run for some seconds of its own time, which costs none."""

    def look(address, seconds):
        profile = f"--user-data-dir={tmp_path}/profile"
        budget = f"--virtual-time-budget={seconds * 1000}"
        command = [CHROMIUM, *OPTIONS, profile, budget, "--dump-dom", f"http://{address}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=25)
        assert "</html>" in done.stdout, done.stderr
        return done.stdout.partition("<script>")[0]

    return look


def points(document):
    """The samples of each chart."""
    return [len(found.split()) for found in re.findall(r'<polyline points="([^"]*)"', document)]


def test_the_page_is_drawn_and_grows_while_the_loop_is_blocked(listen, loop, document_of, reports):
    address = listen("127.0.0.1:0")[0]
    shown = []

    async def blocks():
        # This blocks the loop for as long as the browser takes.
        shown.append(document_of(address, 1))
        shown.append(document_of(address, 4))

    loop.run_until_complete(blocks())
    first, second = shown
    assert f"everloop {everloop.__version__}".split()[1] in first
    assert "MainThread" in first
    assert re.search(r'<p class="bad">blocked for [\d.]+ m?s: ', second)
    [busy, delay], [more_busy, more_delay] = points(first), points(second)
    assert 1 <= busy == delay < more_busy == more_delay

    async def looks():
        return await asyncio.to_thread(document_of, address, 1)

    after = loop.run_until_complete(looks())
    assert '<p class="bad">' not in after
    # The ten worst of the process, in which other tests have blocked, too.
    lines = [(line["file"], line["line"]) for line in everloop.statistics()["blocked_lines"]]
    worst = [f"{file}:{line}" if file else "all others" for file, line in lines[:10]]
    assert re.findall(r"<code>(.*?)</code><br>", html.unescape(after)) == worst
    assert __file__ in [file for file, _ in lines]


def test_the_page_says_that_no_loop_runs(listen, loop, document_of):
    address = listen("127.0.0.1:0")[0]
    assert "No loop runs." in document_of(address, 1)
