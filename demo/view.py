"""What a person sees: one table that stays in its place on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.freshness import Freshness
from demo.replay import Progress

_LINE_EVERY_S = 5.0


class View:
    """Shows how the loop is doing. ``begin`` and ``end`` frame the time in which the table is on the screen."""

    def __init__(self, console: Console, first: int, end: int) -> None:
        self._console, self._first, self._end = console, first, end
        self._live: Live | None = None
        self._line_at_s = 0.0

    def begin(self) -> None:
        """Start showing."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()

    def end(self) -> None:
        """Stop; the last table stays. Safe to repeat."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(
        self,
        progress: Progress,
        status: Mapping[str, Any],
        freshness: Freshness,
        *,
        accepted_per_s: float,
        has_oracle: bool,
    ) -> None:
        """Show how things stand now. ``status``: what the recommender told last."""
        rows = figures(progress, status, freshness, accepted_per_s=accepted_per_s, has_oracle=has_oracle)
        if self._live is not None:
            done, total = progress.position - self._first, max(self._end - self._first, 1)
            bar = ProgressBar(total=total, completed=done, width=60)
            self._live.update(Group(_table(rows), Text(f" stream: {done:,} of {total:,} events"), bar))
        elif time.monotonic() >= self._line_at_s:
            self._line_at_s = time.monotonic() + _LINE_EVERY_S
            self._console.print(" · ".join(f"{name}: {value}" for name, value in rows))


def figures(
    progress: Progress,
    status: Mapping[str, Any],
    freshness: Freshness,
    *,
    accepted_per_s: float,
    has_oracle: bool,
) -> list[tuple[str, str]]:
    """Return name and text of every figure, in order."""
    report = (status.get("trainer") or {}).get("report", {})
    delay, recall = freshness.figures(), report.get("recall10", {})
    answers: Mapping[str, int] = status.get("answers_by_source") or {}
    total = max(sum(answers.values()), 1)
    served = [f"served {_recall(progress.hits / progress.scored if progress.scored else None)}"]
    if has_oracle and progress.scored:
        served.append(f"oracle {_recall(progress.oracle_hits / progress.scored)}")
    return [
        (
            "events",
            f"{progress.sent:,} accepted ({accepted_per_s:,.0f}/s), {report.get('events_learned', 0):,} learned "
            f"({report.get('learned_per_s', 0.0):,.0f}/s), lag {report.get('lag', 0):,}",
        ),
        (
            "not learned",
            ", ".join(
                f"{report.get(name, 0):,} {name.replace('_', ' ')}"
                for name in ("non_positives", "repeats", "duplicates", "dead_letters")
            )
            + f"; {progress.rejected} refused before the log",
        ),
        (
            "event to answer",
            f"own {_ms(delay, 'own')}; learned and in the index {_ms(delay, 'learned')}",
        ),
        ("recall@10 from outside", f"{', '.join(served)} ({progress.scored:,} asked before the event)"),
        (
            "recall@10 trainer",
            f"served {_recall(recall.get('served'))}, popularity {_recall(recall.get('popularity'))}, "
            f"decayed popularity {_recall(recall.get('popularity_decayed'))}, "
            f"transitions {_recall(recall.get('transitions'))}",
        ),
        ("users", _size(report, "user")),
        ("items", _size(report, "item")),
        (
            "answers",
            ", ".join(f"{source} {100 * count / total:.0f} %" for source, count in sorted(answers.items())) or "none",
        ),
        ("errors 5xx", f"{status.get('answers_5xx', 0)}"),
    ]


def say_list(console: Console, title: str, answer: Mapping[str, Any], before: Sequence[str] = ()) -> None:
    """Print a list of recommendations; items that were not in ``before`` are marked when there is a before."""
    console.print()
    console.print(Text(f"{title} (source: {answer['source']})", style="bold"))
    for place, item in enumerate(answer["items"], start=1):
        is_new = bool(before) and item["item_id"] not in before
        style = "green" if is_new else ""
        line = Text.assemble(
            (f" {'+' if is_new else ' '} {place:2d}. {item['title'] or item['item_id']}", style),
            (f"  {item['reason']}", "dim"),
        )
        console.print(line, no_wrap=True, overflow="ellipsis", soft_wrap=False)


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(title="Learning from every event", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def _recall(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ms(delay: Mapping[str, float | None], name: str) -> str:
    median, worst = delay[f"freshness_{name}_p50_ms"], delay[f"freshness_{name}_p99_ms"]
    return "–" if median is None or worst is None else f"{median:.0f} ms (p99 {worst:.0f})"


def _size(report: Mapping[str, Any], side: str) -> str:
    if f"{side}s" not in report:
        return "–"
    return f"{report[f'{side}s']:,} of {report[f'{side}_capacity']:,} rows, grown {report[f'{side}_growths']} times"
