"""What is said at the end: ledgers, and aloud which servers were not up and how many tests that cost."""

from __future__ import annotations

from collections import Counter

import pytest

# What the reason of a test that needs a server says when it is not there.
NOT_UP = "make services-up"
_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outage-s", type=float, default=5.0, help="how long tests/services keep a server away")


def say_at_the_end(config: pytest.Config, line: str) -> None:
    """Have a line printed after all tests, whether or not output is captured."""
    config.stash.setdefault(_LINES, []).append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_LINES, []):
        terminalreporter.write_line(line)
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if NOT_UP in reason:
            reasons[reason] += 1
    if not reasons:
        return
    terminalreporter.section("NOT TESTED: servers that are not up", sep="!", red=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} tests skipped: {reason}", red=True)
