"""Ask a real Graphite every question of every board and rule: ``python -m docker.grafana.check URL [--minutes 60]``.

Exit code 1 when one of them is refused or answered with nothing; after a run of the whole loop none should be.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator

from docker.grafana.alerts import RULES
from docker.grafana.boards import BOARDS

_TIMEOUT_S = 20.0


def questions() -> Iterator[tuple[str, str]]:
    """Yield (where it stands, the query), all of them."""
    for board in BOARDS:
        for panel in board.panels():
            for target in panel.targets:
                yield f"{board.uid}: {panel.title}", target
    for rule in RULES:
        for name, query in rule.queries.items():
            yield f"alert {rule.uid}: {name}", query.expression()


def points(graphite: str, target: str, minutes: int) -> int:
    """Return how many points Graphite's render API has for a query. Raises ``OSError`` when it refuses."""
    asked = urllib.parse.urlencode({"target": target, "from": f"-{minutes}min", "format": "json"})
    with urllib.request.urlopen(f"{graphite}/render?{asked}", timeout=_TIMEOUT_S) as answer:
        series = json.load(answer)
    return sum(value is not None for one in series for value, _ in one["datapoints"])


def unanswered(graphite: str, minutes: int) -> list[str]:
    """Return a line for every query that is refused or has no data."""
    wrong = []
    for place, target in questions():
        try:
            found = points(graphite, target, minutes)
        except (OSError, ValueError) as error:
            wrong.append(f"{place}: {target}: {error}")
        else:
            if not found:
                wrong.append(f"{place}: {target}: no data")
    return wrong


def main() -> int:
    """Print what has no answer; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docker.grafana.check", description=__doc__)
    parser.add_argument("graphite", help="such as http://127.0.0.1:18080")
    parser.add_argument("--minutes", type=int, default=60, help="how far back (60)")
    options = parser.parse_args()
    wrong = unanswered(options.graphite.rstrip("/"), options.minutes)
    asked = len(list(questions()))
    print("\n".join([*wrong, f"{asked - len(wrong)} of {asked} queries of boards and alerts have data"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
