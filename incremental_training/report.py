"""The trainer's figures: for the serving state, which people see, and as gauges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from incremental_training.index_check import Differences, largest_differences
from incremental_training.intake import Intake
from models.catalogue import Catalogue
from models.evaluation import LIST_LENGTH
from models.ranking import FEATURES, HISTORIES
from stores.ports import (
    ITEMS,
    USER_EVENTS,
    Clock,
    EventLog,
    ItemIndexWriter,
    Metrics,
    StoreUnavailable,
    TopicPartition,
    popular_name,
)
from stores.publication import WRITE_SECONDS, Publisher

# Prequential figures and the gauges they go to.
QUALITY = {
    "recall1": "recall_at_1",
    "recall5": "recall_at_5",
    "recall10": "recall_at_10",
    "recall20": "recall_at_20",
    "ndcg10": "ndcg_at_10",
    "mrr": "mrr",
}
# Gauges by position go so far down the list.
GAUGED_POSITIONS = 20
# The usual reasons of dead letters.
BAD_REASONS = ("not_json", "not_an_object", "too_large", "bad_user_id", "bad_item_id", "bad_type", "bad_timestamp")


class Reporter:
    """Makes the report, about once a second; a figure that a store must be asked for keeps its last value meanwhile."""

    def __init__(
        self,
        intake: Intake,
        publisher: Publisher,
        catalogue: Catalogue,
        log: EventLog,
        *,
        clock: Clock,
        metrics: Metrics,
        measured: Callable[[], Mapping[str, float]],
    ) -> None:
        # ``measured`` reads back what ``metrics`` recorded: the trainer has no port of its own that could be asked.
        self._measured = measured
        self._intake, self._publisher, self._catalogue, self._log = intake, publisher, catalogue, log
        self._clock, self._metrics = clock, metrics
        self._snapshot_at_s = clock.monotonic_s()
        self._lag = 0
        self._last_s = clock.monotonic_s()
        self._last_learned = intake.counters.events_learned
        self._per_s = 0.0
        self._differences: Differences | None = None
        # What was counted before this process began, a snapshot tells; the metrics of this process begin at nothing.
        self._counted, self._counted_growths = self._counts(), self._growths()
        self._counted_lists = {x: (shown, hits) for x, (shown, hits) in intake.outcomes.counts.by_source.items()}
        self._cached: dict[str, Any] = {}
        # Told at once: a board shows that nothing has failed, not that nothing is known.
        for reason in BAD_REASONS:
            metrics.count("dead_letters", 0, reason=reason)
        metrics.count("events_lost", 0)
        for store in WRITE_SECONDS:
            metrics.count("store_failures", 0, store=store)

    def snapshot_written(self, seconds: float) -> None:
        """Note that a snapshot was finished just now and how long it took to write."""
        self._snapshot_at_s = self._clock.monotonic_s()
        self._metrics.timing("snapshot_seconds", seconds)

    def check_index(self, index: ItemIndexWriter) -> None:
        """Compare scores of the index with the trainer's own; an index that does not answer is not compared."""
        with suppress(StoreUnavailable, ValueError):
            self._differences = largest_differences(
                self._intake.learner, index, self._intake.scored_users, self._publisher.item_rows
            )
        if self._differences is not None:
            self._metrics.gauge("index_score_difference", self._differences.published)
            self._metrics.gauge("content_score_difference", self._differences.learned)

    def report(self, positions: Mapping[TopicPartition, int]) -> dict[str, Any]:
        """Return counters, sizes and quality by name; JSON-able."""
        now_s = self._clock.monotonic_s()
        # The costly part once a second; the counters in every report, so that what is published adds up.
        if not self._cached or now_s - self._last_s >= 1.0:
            self._cached = self._slow_figures(positions, now_s)
        learner = self._intake.learner
        return (
            self._cached
            | msgspec.to_builtins(self._intake.counters)
            | {
                "users": len(learner.users),
                "items": len(learner.items),
                "user_capacity": learner.user_capacity,
                "item_capacity": learner.item_capacity,
                "settled": self._publisher.settled,
                "user_growths": learner.user_growths,
                "item_growths": learner.item_growths,
            }
        )

    def _slow_figures(self, positions: Mapping[TopicPartition, int], now_s: float) -> dict[str, Any]:
        learned, evaluator = self._intake.counters.events_learned, self._intake.evaluator
        if now_s > self._last_s:
            self._per_s = (learned - self._last_learned) / (now_s - self._last_s)
        self._last_s, self._last_learned = now_s, learned
        with suppress(StoreUnavailable):
            self._lag = sum(end - positions.get(place, 0) for place, end in self._log.end_offsets(USER_EVENTS).items())
        totals, window = evaluator.totals(), evaluator.window()
        figures = {
            "epoch": self._publisher.epoch,
            "learned_per_s": self._per_s,
            "lag": self._lag,
            "newest_event_s": self._intake.windows.newest_s,
            "items_read": {str(x.partition): offset for x, offset in positions.items() if x.topic == ITEMS},
            "snapshot_age_s": now_s - self._snapshot_at_s,
            "scored": evaluator.scored,
            "recall10": totals["recall10"],
            "ndcg10": totals["ndcg10"],
            "recall10_window": window["recall10"],
            "coverage10": evaluator.coverage10(),
            "diversity10": evaluator.diversity10(),
            "precision10": evaluator.precision10(),
            "segments": evaluator.segments(),
            "not_above_popularity": evaluator.alarm(),
            "merge_weights": {
                history: dict(zip(FEATURES, weights, strict=True))
                for history, weights in zip(HISTORIES, self._intake.learner.merges.weights.tolist(), strict=True)
            },
            "catalogue_items": len(self._catalogue),
            "index_score_difference": self._differences and self._differences.published,
            "content_score_difference": self._differences and self._differences.learned,
            "outcomes": msgspec.to_builtins(self._intake.outcomes.counts),
            "outbox": {name: len(rows) for name, rows in vars(self._publisher.outbox).items()},
        }
        self._gauge(figures, totals, window)
        return figures | {"metrics": dict(self._measured())}

    def _gauge(self, figures: dict[str, Any], totals: dict[str, Any], window: dict[str, Any]) -> None:
        metrics, learner, evaluator = self._metrics, self._intake.learner, self._intake.evaluator
        for label, by_metric in (("total", totals), ("recent", window)):
            for metric, name in QUALITY.items():
                for order, value in by_metric[metric].items():
                    metrics.gauge(name, value, order=order, window=label)
            for order, value in by_metric["recall10"].items():
                metrics.gauge("precision_at_10", value / LIST_LENGTH, order=order, window=label)
        metrics.gauge("coverage_at_10", figures["coverage10"], order="served", window="total")
        metrics.gauge("coverage_at_10", evaluator.coverage10(window=True), order="served", window="recent")
        metrics.gauge("events_scored", figures["scored"], window="total")
        for segment, values in figures["segments"].items():
            metrics.gauge("recall_at_10_by_segment", values["recall10"], order="served", segment=segment)
        metrics.gauge("served_below_popularity", float(figures["not_above_popularity"]))
        for side, size, capacity in (
            ("user", len(learner.users), learner.user_capacity),
            ("item", len(learner.items), learner.item_capacity),
        ):
            metrics.gauge("table_size", size, side=side)
            metrics.gauge("table_capacity", capacity, side=side)
        metrics.gauge("catalogue_items", figures["catalogue_items"])
        metrics.gauge("catalogue_bytes", self._catalogue.content_bytes)
        metrics.gauge("lag_events", figures["lag"])
        metrics.gauge("epoch", figures["epoch"])
        metrics.gauge("snapshot_age_seconds", figures["snapshot_age_s"])
        outbox = figures["outbox"]
        metrics.gauge("outbox_rows", outbox["users"] + outbox["users_sent"], store="users")
        metrics.gauge("outbox_rows", outbox["items"] + outbox["background"], store="index")
        metrics.gauge("outbox_rows", outbox["edges"], store="items")
        for history, weights in figures["merge_weights"].items():
            for feature, weight in weights.items():
                metrics.gauge("merge_weight", weight, feature=feature, history=history)
        self._gauge_outcomes()
        wanted = self._intake.lists().get(popular_name("popular", "day"), [])
        self._intake.demand.tell(metrics, wanted, self._intake.windows.category_of)
        self._count()

    def _gauge_outcomes(self) -> None:
        counts = self._intake.outcomes.counts
        for source, (shown, hits) in counts.by_source.items():
            self._metrics.gauge("served_hit_rate", hits / shown, source=source)
            shown_before, hits_before = self._counted_lists.get(source, (0, 0))
            self._metrics.count("served_lists", shown - shown_before, source=source)
            self._metrics.count("served_lists_hit", hits - hits_before, source=source)
            self._counted_lists[source] = (shown, hits)
        for position, (shown, hits) in enumerate(counts.by_position[:GAUGED_POSITIONS], start=1):
            self._metrics.gauge("served_hit_rate_by_position", hits / shown, position=str(position))

    def _count(self) -> None:
        """Pass on how much every counter rose since the last time."""
        counts = self._counts()
        for name, value in counts.items():
            self._metrics.count(name, value - self._counted[name])
        for side, value in self._growths().items():
            self._metrics.count("table_growths", value - self._counted_growths[side], side=side)
        self._counted, self._counted_growths = counts, self._growths()

    def _counts(self) -> dict[str, int]:
        counters = self._intake.counters
        return {
            "events_accepted": counters.events_seen,
            "events_learned": counters.events_learned,
            "non_positives": counters.non_positives,
            "repeats": counters.repeats,
            "duplicates": counters.duplicates,
            "late_events": counters.late,
            "future_events": counters.future,
        }

    def _growths(self) -> dict[str, int]:
        return {"user": self._intake.learner.user_growths, "item": self._intake.learner.item_growths}
