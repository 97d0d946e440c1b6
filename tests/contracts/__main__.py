"""``python -m tests.contracts``: every contract against every adapter and the servers that are up, as a table.

``make contracts`` calls it. The exit code is 1 when a test failed; a server that is not up is said, not failed.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from services.registered import SERVERS
from services.server import NotHealthy

HERE = Path(__file__).resolve().parent
HEADINGS = ("contract", "adapter", "server", "passed", "failed", "skipped", "")


class Row(NamedTuple):
    """One class of tests: which contract, kept by which adapter. ``technology``: the first word of the adapter."""

    contract: str
    adapter: str
    technology: str
    test_class: str


class Table:
    """Counts what becomes of the tests; a plugin of pytest."""

    def __init__(self) -> None:
        self.counts: dict[Row, Counter[str]] = {}
        self._rows: dict[str, Row] = {}

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Find the row of every test."""
        for item in items:
            row = _row(item)
            self._rows[item.nodeid] = row
            self.counts.setdefault(row, Counter())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once, by the worst of its parts."""
        if report.failed:
            self.counts[self._rows[report.nodeid]]["failed"] += 1
        elif report.skipped or report.when == "call":
            self.counts[self._rows[report.nodeid]][report.outcome] += 1

    def lines(self, versions: dict[str, str]) -> list[str]:
        """Return the table as text. ``versions``: of the servers, by technology."""
        cells = [HEADINGS, *(_cells(row, counts, versions) for row, counts in sorted(self.counts.items()))]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def main() -> int:
    """Run the contracts; return the exit code."""
    table = Table()
    code = pytest.main([str(HERE), *sys.argv[1:]], plugins=[table])
    print("\n" + "\n".join(table.lines(_versions())))
    return int(code != pytest.ExitCode.OK)


def _row(item: pytest.Item) -> Row:
    test_class = getattr(item, "cls", None)
    contracts = (
        [kind.__name__ for kind in test_class.__mro__ if kind.__name__.endswith("Contract")] if test_class else []
    )
    adapter = item.path.stem.removeprefix("test_")
    return Row(
        contract=contracts[-1].removesuffix("Contract") if contracts else "(its own)",
        adapter=adapter,
        technology=adapter.partition("_")[0],
        test_class=test_class.__name__.removeprefix("Test") if test_class else "",
    )


def _cells(row: Row, counts: Counter[str], versions: dict[str, str]) -> tuple[str, ...]:
    ran = counts["passed"] + counts["failed"]
    state = "FAILED" if counts["failed"] else "passed" if counts["passed"] else "not available"
    return (
        row.contract,
        f"{row.adapter} ({row.test_class})" if row.test_class else row.adapter,
        versions.get(row.technology, "in this process"),
        *(str(counts[outcome]) if ran else "" for outcome in ("passed", "failed", "skipped")),
        state,
    )


def _versions() -> dict[str, str]:
    versions = {"sqlite": f"SQLite {sqlite3.sqlite_version}", "faiss": "our own, in a thread"}
    for kind in SERVERS:
        try:
            versions[kind.name] = f"{kind.name} {kind().healthy()}"
        except NotHealthy:
            versions[kind.name] = f"{kind.name}: down"
    return versions


if __name__ == "__main__":
    sys.exit(main())
