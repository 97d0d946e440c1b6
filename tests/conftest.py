"""Says aloud, at the end, which servers were not up and how many tests that cost."""

from __future__ import annotations

from collections import Counter

import pytest

# What the reason of a test that needs a server says when it is not there.
NOT_UP = "make services-up"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
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
