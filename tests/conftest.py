"""What is said at the end: ledgers, and aloud which servers were not up and how many tests that cost."""

from __future__ import annotations

from collections import Counter

import pytest

# What the reason of a test that needs a server, or a browser, says when it is not there.
NOT_UP = "make services-up"
NO_BROWSER = "apt-get install chromium"
_skipped: Counter[str] = Counter()
_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outage-s", type=float, default=5.0, help="how long tests/services keep a server away")
    parser.addoption("--screenshots", help="tests/browser keeps pictures of the page in this folder")
    parser.addoption("--all-servers", action="store_true", help="a test skipped for want of a server is a failure")


def say_at_the_end(config: pytest.Config, line: str) -> None:
    """Have a line printed after all tests, whether or not output is captured."""
    config.stash.setdefault(_LINES, []).append(line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    reason = (
        report.longrepr[2].removeprefix("Skipped: ") if report.skipped and isinstance(report.longrepr, tuple) else ""
    )
    if NOT_UP in reason or NO_BROWSER in reason:
        _skipped[reason] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and session.config.getoption("--all-servers"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_LINES, []):
        terminalreporter.write_line(line)
    if not _skipped:
        return
    terminalreporter.section("NOT TESTED: servers and browsers that are not there", sep="!", red=True, bold=True)
    for reason, count in _skipped.most_common():
        terminalreporter.write_line(f"{count:5} tests skipped: {reason}", red=True)
