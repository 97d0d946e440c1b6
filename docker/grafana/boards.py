"""The boards: for who runs it, for who asks whether it learns, for the product owner, and under the old names."""

from __future__ import annotations

from docker.grafana.panels import Board, Panel
from docker.grafana.series import each, named, original, quantiles, share, sum_by, summed
from models.evaluation import METHODS
from stores.metric_catalogue import CATALOGUE

OPERATIONS = Board(
    "operations",
    "Recommender: is it well?",
    (
        (
            "Events",
            (
                Panel(
                    "Events per second",
                    (
                        named("accepted over the API", "events_posted", "rate"),
                        named("taken from the log", "events_accepted", "rate"),
                        named("learned", "events_learned", "rate"),
                    ),
                    "ops",
                ),
                Panel("Lag", (named("events not yet learned", "lag_events"),), about="Should fall back to about 0."),
                Panel(
                    "Events not learned, per second",
                    (
                        named("history or negative feedback only", "non_positives", "rate"),
                        named("repeats", "repeats", "rate"),
                        named("duplicates", "duplicates", "rate"),
                    ),
                    "ops",
                    kind="areas",
                ),
            ),
        ),
        (
            "Freshness and state",
            (
                Panel(
                    "From an event to what follows from it",
                    (
                        *quantiles("own answers reflect it", "own_freshness_seconds"),
                        *quantiles("the index holds the moved vector", "learned_freshness_seconds"),
                        *quantiles("a new item can be found", "item_freshness_seconds"),
                    ),
                    "s",
                ),
                Panel("Snapshot age", (named("newest snapshot", "snapshot_age_seconds"),), "s"),
                Panel("Outbox: rows that a store has not acknowledged", (each("outbox_rows", "store"),)),
                Panel(
                    "Tables",
                    (
                        named("users", "table_size", side="user"),
                        named("users, capacity", "table_capacity", side="user"),
                        named("items", "table_size", side="item"),
                        named("items, capacity", "table_capacity", side="item"),
                        named("items in the index", "index_items"),
                    ),
                ),
                Panel("Table growths", (each("table_growths", "side", "count"),), kind="steps"),
                Panel(
                    "Writing what was learned, p99",
                    (
                        named("users", "users_write_seconds", "upper_99"),
                        named("items", "items_write_seconds", "upper_99"),
                        named("index", "index_write_seconds", "upper_99"),
                    ),
                    "s",
                ),
            ),
        ),
        (
            "Serving",
            (
                Panel(
                    "Latency of the recommender",
                    (
                        *quantiles("recommendations", "request_seconds", route="/v1/recommendations"),
                        *quantiles("events", "request_seconds", route="/v1/events"),
                    ),
                    "s",
                ),
                Panel("Latency of the faiss server", quantiles("search", "index_search_seconds"), "s"),
                Panel(
                    "Latency of the trainer",
                    (*quantiles("learning a batch", "learn_seconds"), *quantiles("flush", "flush_seconds")),
                    "s",
                ),
                Panel(
                    "Answers per second, by source", (each("recommendations", "source", "rate"),), "ops", kind="areas"
                ),
                Panel("Requests per second, by status", (sum_by("requests", "status", "rate"),), "ops"),
                Panel("Waiting for dependencies, p99", (each("dependency_seconds", "dependency", "upper_99"),), "s"),
            ),
        ),
        (
            "Trouble",
            (
                Panel("Dead letters", (each("dead_letters", "reason", "count"),), kind="areas"),
                Panel(
                    "Circuit breakers",
                    (each("breaker_state", "dependency"),),
                    about="0 closed, 1 half open, 2 open.",
                    kind="steps",
                    most=2,
                ),
                Panel(
                    "Failures",
                    (
                        summed("writes that a store refused", "store_failures"),
                        summed("calls that failed or came too late", "dependency_failures"),
                        summed("answers made without a dependency", "degraded"),
                        named("events lost from the log", "events_lost"),
                        named("served lists not logged", "served_records_dropped"),
                        named("requests refused", "requests_refused"),
                    ),
                ),
            ),
        ),
    ),
)

LEARNING = Board(
    "learning",
    "Recommender: does it learn?",
    (
        (
            "Before every event was learned",
            (
                Panel(
                    "recall@10 of what is served, and of the live baselines",
                    tuple(named(order, "recall_at_10", order=order, window="recent") for order in METHODS),
                    "percentunit",
                    "Over the newest 5,000 scored positives. Served must stand above popularity.",
                    columns=12,
                ),
                Panel(
                    "precision@10 of what is served, and of the live baselines",
                    tuple(named(order, "precision_at_10", order=order, window="recent") for order in METHODS),
                    "percentunit",
                    "One positive is sought at a time, so at most 10 %.",
                    columns=12,
                ),
                Panel(
                    "recall@10 by segment", (each("recall_at_10_by_segment", "segment", order="served"),), "percentunit"
                ),
                Panel("Merge weights", (each("merge_weight", "feature", history="longer"),), "none"),
                Panel(
                    "Index against trainer",
                    (named("largest difference of a score", "index_score_difference"),),
                    "none",
                ),
            ),
        ),
        (
            "Of what people saw",
            (
                Panel(
                    "On-line hit rate, by source",
                    (each("served_hit_rate", "source"),),
                    "percentunit",
                    "Share of served lists of which an item was taken up within half an hour.",
                ),
                Panel(
                    "On-line hit rate, by position",
                    (each("served_hit_rate_by_position", "position"),),
                    "percentunit",
                    kind="bars",
                ),
                Panel(
                    "Hit rate of the last ten minutes",
                    (share("served lists with a hit", "served_lists_hit", "served_lists"),),
                    "percentunit",
                ),
                Panel(
                    "Share of the catalogue that is shown",
                    (
                        named("newest lists", "coverage_at_10", order="served", window="recent"),
                        named("all lists", "coverage_at_10", order="served", window="total"),
                    ),
                    "percentunit",
                ),
                Panel("Lists served, by source", (each("served_lists", "source", "rate"),), "ops", kind="areas"),
                Panel("Events behind the figures", (named("scored positives", "events_scored", window="total"),)),
            ),
        ),
    ),
)

PRODUCT = Board(
    "product",
    "Recommender: what do people do?",
    (
        (
            "People",
            (
                Panel("Events by type, per second", (each("events_by_type", "type", "rate"),), "ops", kind="areas"),
                Panel(
                    "Ratings, per second",
                    (each("ratings", "value", "rate"),),
                    "ops",
                    "By the rating that was given.",
                    kind="areas",
                ),
                Panel(
                    "Known users and items",
                    (named("users", "table_size", side="user"), named("items", "table_size", side="item")),
                ),
            ),
        ),
        (
            "Items",
            (
                Panel(
                    "Popularity by category",
                    (each("category_popularity", "category"),),
                    "percentunit",
                    "Share of a day's demand for the most wanted items; the ten largest categories.",
                    kind="areas",
                    columns=12,
                ),
                Panel(
                    "Top items now",
                    (each("top_item_popularity", "position"),),
                    "percentunit",
                    "How much of a day's demand the first ten places have; the link says which items they are.",
                    kind="bars",
                    columns=12,
                    link=("Which they are", "http://127.0.0.1:8000/v1/popular?k=10"),
                ),
            ),
        ),
        (
            "Recommendations",
            (
                Panel(
                    "Answers per second, by source", (each("recommendations", "source", "rate"),), "ops", kind="areas"
                ),
                Panel("On-line hit rate, by source", (each("served_hit_rate", "source"),), "percentunit"),
                Panel("Lists with a hit, per second", (summed("lists", "served_lists_hit", "rate"),), "ops"),
            ),
        ),
    ),
)

ORIGINAL_NAMES = Board(
    "original_names",
    "Recommender: under the names of the original system",
    (
        (
            "Quality",
            tuple(
                Panel(str(metric.alias), (original(metric.name),), "percentunit", metric.doc, columns=12)
                for metric in CATALOGUE.values()
                if metric.alias and metric.kind == "gauge"
            ),
        ),
        (
            "Durations",
            tuple(
                Panel(str(metric.alias), (original(metric.name),), "ms", metric.doc, columns=6)
                for metric in CATALOGUE.values()
                if metric.alias and metric.kind == "timing"
            ),
        ),
    ),
)

BOARDS = (OPERATIONS, LEARNING, PRODUCT, ORIGINAL_NAMES)
