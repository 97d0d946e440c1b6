"""Every metric of the system, declared once: what may be counted, gauged and timed, and what it means.

Names are Prometheus-safe and are the names in StatsD too. Durations are in seconds (``_seconds``), sizes in bytes
(``_bytes``); in Prometheus text a counter gets ``_total``. ``alias`` is the name that the original system sent to
StatsD for the same figure, so that dashboards made for it go on working: an alias has no prefix, and a timing under it
is in milliseconds, as it was there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["counter", "gauge", "timing"]

TRAINER = "incremental_training"
RECOMMENDER = "recommender_server"
INDEX = "faiss_server"


@dataclass(frozen=True)
class Metric:
    """One metric.

    ``labels``: names of its labels; every recording gives all of them. ``alias_labels``: the label values for which
    ``alias`` stands; empty when it stands for all.
    """

    name: str
    kind: Kind
    unit: str
    doc: str
    rooms: tuple[str, ...]
    labels: tuple[str, ...] = ()
    alias: str | None = None
    alias_labels: Mapping[str, str] = field(default_factory=dict)


def _counter(name: str, unit: str, room: str, doc: str, *labels: str) -> Metric:
    return Metric(name, "counter", unit, doc, (room,), labels)


def _gauge(name: str, unit: str, room: str, doc: str, *labels: str) -> Metric:
    return Metric(name, "gauge", unit, doc, (room,), labels)


def _timing(name: str, room: str, doc: str, *labels: str, alias: str | None = None) -> Metric:
    return Metric(name, "timing", "seconds", doc, (room,), labels, alias)


def _quality(name: str, doc: str, alias: str | None = None) -> Metric:
    # ``order`` is what was measured (served, context, popularity, …), ``window`` is ``total`` or ``recent``.
    served = {"order": "served", "window": "recent"} if alias else {}
    return Metric(name, "gauge", "ratio", doc, (TRAINER,), ("order", "window"), alias, served)


_DECLARED = (
    # What became of every event: accepted = learned + non_positives + repeats + duplicates + dead_letters.
    _counter("events_accepted", "events", TRAINER, "Events that the trainer took from the log."),
    _counter("events_learned", "events", TRAINER, "Positives learned."),
    _counter("non_positives", "events", TRAINER, "Events kept as history or as negative feedback only."),
    _counter("repeats", "events", TRAINER, "Positives of a pair of user and item consumed before."),
    _counter("duplicates", "events", TRAINER, "Events whose event_id was seen before."),
    _counter("dead_letters", "events", TRAINER, "Events set aside, by reason.", "reason"),
    _counter("events_lost", "events", TRAINER, "Events gone from the log before they were learned (--on-gap=skip)."),
    _counter("late_events", "events", TRAINER, "Events much older than their arrival; counted among the others too."),
    _counter("future_events", "events", TRAINER, "Events ahead of the clock; counted among the others too."),
    _timing("item_freshness_seconds", TRAINER, "From an item record's acceptance until the index holds its vector."),
    _timing(
        "content_seconds", TRAINER, "Learning the map from content to vectors and predicting with it, in a thread."
    ),
    _counter("content_failures", "failures", TRAINER, "Maps from content that could not be learned."),
    _gauge("catalogue_items", "items", TRAINER, "Items whose records are held in memory."),
    _gauge("catalogue_bytes", "bytes", TRAINER, "Contents of these items."),
    _counter("items_consumed", "records", TRAINER, "Records taken from topic items."),
    # What people do and want, for the product owner's board; see incremental_training/demand.py.
    _counter(
        "events_by_type", "events", TRAINER, "Events by their type, duplicates left out; rare ones as other.", "type"
    ),
    _counter("ratings", "events", TRAINER, "Ratings by value, in halves from 0 to 10.", "value"),
    _gauge(
        "category_popularity",
        "ratio",
        TRAINER,
        "Share of a day's demand for the most wanted items; the ten largest categories.",
        "category",
    ),
    _gauge(
        "top_item_popularity",
        "ratio",
        TRAINER,
        "Share of a day's demand for the most wanted items that each of the first ten has.",
        "position",
    ),
    # Quality, measured before learning.
    _quality("recall_at_1", "Prequential recall among the first item."),
    _quality("recall_at_5", "Prequential recall among the first 5."),
    _quality("recall_at_10", "Prequential recall among the first 10.", alias="recall@10"),
    _quality("recall_at_20", "Prequential recall among the first 20."),
    _quality("precision_at_10", "Prequential precision among the first 10 (recall / 10).", alias="precision@10"),
    _quality("ndcg_at_10", "Prequential NDCG among the first 10."),
    _quality("mrr", "Prequential mean reciprocal rank."),
    _quality("coverage_at_10", "Share of known items that appeared among the first 10."),
    _gauge("recall_at_10_by_segment", "ratio", TRAINER, "Recall among the first 10 by segment.", "order", "segment"),
    _gauge("events_scored", "events", TRAINER, "Events behind the quality figures.", "window"),
    _gauge("served_below_popularity", "bool", TRAINER, "1 while the served order does not beat decayed popularity."),
    _gauge("index_score_difference", "score", TRAINER, "Largest difference of a sampled score, index against trainer."),
    _gauge(
        "content_score_difference", "score", TRAINER, "Largest difference of a sampled score, with content and without."
    ),
    _gauge("merge_weight", "weight", TRAINER, "Merge weight of a feature, by length of history.", "feature", "history"),
    # What became of the lists that were served to known users: a hit is a positive within half an hour.
    _gauge("served_hit_rate", "ratio", TRAINER, "Share of served lists with a hit, by source.", "source"),
    _gauge(
        "served_hit_rate_by_position",
        "ratio",
        TRAINER,
        "Share of items served at a position that were hit.",
        "position",
    ),
    _counter("served_lists", "lists", TRAINER, "Lists served to known users, by source.", "source"),
    _counter("served_lists_hit", "lists", TRAINER, "Lists served that had a hit, by source.", "source"),
    # The trainer's state.
    _gauge("table_size", "rows", TRAINER, "Rows used.", "side"),
    _gauge("table_capacity", "rows", TRAINER, "Rows allocated.", "side"),
    _counter("table_growths", "growths", TRAINER, "Times that a table grew.", "side"),
    _gauge("lag_events", "events", TRAINER, "Events in the log not yet learned."),
    _gauge("epoch", "epoch", TRAINER, "Fencing number of the running trainer."),
    _gauge("outbox_rows", "rows", TRAINER, "Rows changed and not yet acknowledged by a store.", "store"),
    _gauge("snapshot_age_seconds", "seconds", TRAINER, "Time since the newest snapshot was finished."),
    _timing("snapshot_seconds", TRAINER, "Writing one snapshot."),
    _timing("learn_seconds", TRAINER, "Learning one batch of events.", alias="training_time"),
    _timing("flush_seconds", TRAINER, "One flush, all stores."),
    _timing("index_write_seconds", TRAINER, "Writing to the index, in one flush.", alias="faiss_update_time"),
    _timing("users_write_seconds", TRAINER, "Writing to the user store, in one flush.", alias="mongo_update_time"),
    _counter("users_published", "documents", TRAINER, "User documents written to the user store."),
    _timing("items_write_seconds", TRAINER, "Writing to the item store, in one flush.", alias="redis_update_time"),
    _counter("store_failures", "failures", TRAINER, "Calls that a store, or the log, did not answer.", "store"),
    _timing("learned_freshness_seconds", TRAINER, "From an event's acceptance until the index holds the moved vector."),
    # Serving.
    _timing("request_seconds", RECOMMENDER, "Answering one request, by route.", "route", alias="recommender_latency"),
    _counter("requests", "requests", RECOMMENDER, "Requests by route and HTTP status.", "route", "status"),
    _gauge("requests_in_flight", "requests", RECOMMENDER, "Requests being answered."),
    _counter("requests_refused", "requests", RECOMMENDER, "Requests refused over the concurrency limit."),
    _counter("access_refused", "requests", RECOMMENDER, "Requests refused for want of a key or its scope.", "reason"),
    _counter("recommendations", "answers", RECOMMENDER, "Recommendations served, by source.", "source"),
    _counter("degraded", "answers", RECOMMENDER, "Answers made without a dependency, by dependency.", "dependency"),
    _counter("stale_answers", "answers", RECOMMENDER, "Answers that could not wait for the state asked for."),
    _counter("served_records_dropped", "records", RECOMMENDER, "Served answers that the log could not keep up with."),
    _counter("events_posted", "events", RECOMMENDER, "Events that the log acknowledged over the API."),
    _counter("events_refused", "events", RECOMMENDER, "Events refused at the API, by reason.", "reason"),
    _timing("own_freshness_seconds", RECOMMENDER, "From an event's acceptance until the user's answers reflect it."),
    _timing("dependency_seconds", RECOMMENDER, "Waiting for a dependency.", "dependency"),
    _counter("dependency_failures", "failures", RECOMMENDER, "Calls that failed or came too late.", "dependency"),
    _gauge("breaker_state", "state", RECOMMENDER, "Circuit breaker: 0 closed, 1 half open, 2 open.", "dependency"),
    # The index.
    _timing("index_search_seconds", INDEX, "One batched search by vector.", alias="faiss_vector_search_latency"),
    _timing("index_similar_seconds", INDEX, "One batched search by item.", alias="faiss_id_search_latency"),
    _timing("index_upsert_seconds", INDEX, "One upsert.", alias="faiss_update_latency"),
    _timing("index_replace_seconds", INDEX, "Loading the whole table.", alias="faiss_reload_latency"),
    _timing("index_popularity_seconds", INDEX, "Overwriting the popularity columns."),
    _timing("index_rebuild_seconds", INDEX, "Building the approximate index in the background."),
    _gauge("index_items", "items", INDEX, "Items that can be found."),
    _gauge("index_rows", "rows", INDEX, "Rows held, deleted ones included."),
    _gauge("index_seq", "flushes", INDEX, "Flush that the index stands at."),
    _counter("index_gaps", "writes", INDEX, "Writes refused because the index stood elsewhere."),
    _counter("index_stale_epochs", "writes", INDEX, "Writes refused from an older trainer."),
)

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _DECLARED}

# The first element of every name that is sent to StatsD, where METRICS_URL names no other.
STATSD_PREFIX = "recommender"
# Where a StatsD daemon with ``legacyNamespace: false`` puts what it was sent, and what it makes of a kind, the first
# being what a panel wants unless it says otherwise. The quantiles are those of ``percentThreshold: [50, 90, 99]``.
_FOLDERS: dict[Kind, str] = {"counter": "counters", "gauge": "gauges", "timing": "timers"}
GRAPHITE_STATS: dict[Kind, tuple[str, ...]] = {
    "counter": ("count", "rate"),
    "gauge": (),
    "timing": ("mean", "median", "upper_50", "upper_90", "upper_99", "upper", "lower", "count", "count_ps", "sum"),
}
_MAX_LABEL_LENGTH = 100


def label_values(name: str, kind: Kind, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the label values in the order of the catalogue.

    Raises ``KeyError`` when the catalogue does not declare this name, this kind of it, or just these labels.
    """
    metric = CATALOGUE[name]
    if metric.kind != kind:
        raise KeyError(f"{name} is a {metric.kind}, not a {kind}")
    if len(labels) != len(metric.labels):
        raise KeyError(f"{name} has the labels {metric.labels}, not {tuple(labels)}")
    return tuple([labels[label] for label in metric.labels])


def statsd_name(name: str, values: Sequence[str], prefix: str = STATSD_PREFIX) -> str:
    """Return the dotted name that StatsD is sent: prefix, metric, one element per label value.

    Whatever a label value holds, it stays one element, and no pattern of Graphite's.
    """
    return ".".join((*((prefix,) if prefix else ()), name, *map(_element, values)))


def graphite_path(name: str, labels: Mapping[str, str] | None = None, stat: str = "", *, prefix: str = "") -> str:
    """Return the path of a series in Graphite, as a panel asks for it.

    ``labels``: a label left out, or ``*``, matches all its values. ``stat``: one of ``GRAPHITE_STATS``, else the first
    of its kind. ``prefix``: else ``STATSD_PREFIX``. Raises ``KeyError`` for what the catalogue does not declare.
    """
    metric = CATALOGUE[name]
    if unknown := set(labels or {}) - set(metric.labels):
        raise KeyError(f"{name} has no labels {sorted(unknown)}")
    given = [(labels or {}).get(label, "*") for label in metric.labels]
    elements = ["*" if value == "*" else _element(value) for value in given]
    return _in_graphite(metric, ".".join((prefix or STATSD_PREFIX, name, *elements)), stat)


def graphite_alias_path(name: str, stat: str = "") -> str:
    """Return the path of a metric's alias. StatsD leaves out the sign in ``recall@10``. Raises ``KeyError``."""
    metric = CATALOGUE[name]
    if metric.alias is None:
        raise KeyError(f"{name} has no alias")
    return _in_graphite(metric, re.sub(r"[^A-Za-z0-9_.-]", "", metric.alias), stat)


def _in_graphite(metric: Metric, dotted: str, stat: str) -> str:
    stats = GRAPHITE_STATS[metric.kind]
    if stat and stat not in stats:
        raise KeyError(f"{stat!r} is not made of a {metric.kind}; {stats} are")
    path = f"stats.{_FOLDERS[metric.kind]}.{dotted}"
    return f"{path}.{stat or stats[0]}" if stats else path


def _element(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", value)[:_MAX_LABEL_LENGTH] or "_"
