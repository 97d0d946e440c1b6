"""What a run of the demo comes to: the figures of ``summary.json``, and whether it was a success."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from demo.freshness import Freshness
from demo.replay import Progress

_COUNTERS = ("events_learned", "non_positives", "repeats", "duplicates", "dead_letters")
_TABLES = ("users", "items", "user_growths", "item_growths")


def summarise(
    progress: Progress,
    status: Mapping[str, Any],
    freshness: Freshness,
    *,
    errors_5xx: int,
    has_oracle: bool,
    stack: str,
    learner_sha256: str | None,
    install_seconds: float | None,
    seconds: float,
) -> dict[str, Any]:
    """Return the summary; ``status`` is the recommender's last one. Figures nobody could measure are ``None``."""
    report = (status.get("trainer") or {}).get("report", {})
    recall10 = report.get("recall10", {})
    oracle = {"recall10_oracle": _share(progress.oracle_hits, progress.scored)} if has_oracle else {}
    return {
        "events_accepted": progress.accepted,
        **{name: report.get(name) for name in _COUNTERS},
        **{name: report.get(name) for name in _TABLES},
        "recall10_served": _share(progress.hits, progress.scored),
        "recall10_model": _rounded(recall10.get("served")),
        "recall10_popularity": _rounded(recall10.get("popularity")),
        **oracle,
        **freshness.figures(),
        "recommendations_served": sum((status.get("answers_by_source") or {}).values()),
        "errors_5xx": max(errors_5xx, status.get("answers_5xx") or 0),
        "stack": stack,
        "learner_sha256": learner_sha256,
        "install_seconds": install_seconds,
        "seconds": round(seconds, 1),
    }


def process_faults(exit_codes: Mapping[str, int | None]) -> list[str]:
    """Return which processes did not end cleanly."""
    return [
        f"process {name} ended with {'no code' if code is None else f'code {code}'}"
        for name, code in exit_codes.items()
        if code != 0
    ] or ([] if exit_codes else ["no process ran"])


def learning_faults(summary: Mapping[str, Any]) -> list[str]:
    """Return what speaks against everything having been learned that should have been; of a drained stream."""
    if not summary["events_learned"]:
        return ["nothing was learned"]
    left_out = sum(summary[name] for name in _COUNTERS[1:])
    if summary["events_learned"] != summary["events_accepted"] - left_out:
        return [
            f"the events do not add up: {summary['events_learned']} learned, but {summary['events_accepted']} accepted "
            f"less {left_out} left out for a reason is {summary['events_accepted'] - left_out}"
        ]
    return []


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write it as JSON, atomically."""
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    part.replace(path)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
