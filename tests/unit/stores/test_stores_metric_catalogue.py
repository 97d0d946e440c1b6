import re

import pytest

from stores.metric_catalogue import CATALOGUE, GRAPHITE_STATS, Metric, graphite_alias_path, graphite_path, statsd_name

ROOMS = {"initial_training", "incremental_training", "faiss_server", "recommender_server"}
# What the original system sent to StatsD.
ORIGINAL = {
    *("training_time", "faiss_update_time", "mongo_update_time", "redis_update_time", "recommender_latency"),
    *("faiss_vector_search_latency", "faiss_id_search_latency", "faiss_update_latency", "faiss_reload_latency"),
    *("recall@10", "precision@10"),
}


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE)
def test_a_metric_is_declared_completely(metric: Metric):
    for name in (metric.name, *metric.labels):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert "le" not in metric.labels
    assert not metric.name.endswith(("_total", "_sum", "_count", "_bucket"))
    assert metric.name.endswith("_seconds") == (metric.unit == "seconds")
    assert metric.name.endswith("_bytes") == (metric.unit == "bytes")
    assert metric.kind != "timing" or metric.unit == "seconds"
    assert metric.doc.endswith(".")
    assert "\n" not in metric.doc
    assert metric.rooms
    assert set(metric.rooms) <= ROOMS
    assert set(metric.alias_labels) <= set(metric.labels)


def test_every_name_of_the_original_system_has_its_place():
    aliases = [metric.alias for metric in CATALOGUE.values() if metric.alias]
    assert sorted(aliases) == sorted(ORIGINAL)
    assert ORIGINAL.isdisjoint(CATALOGUE)


def test_no_name_is_declared_twice():
    for name, metric in CATALOGUE.items():
        assert metric.name == name
    shown = [f"{x.name}_total" if x.kind == "counter" else x.name for x in CATALOGUE.values()]
    assert len(set(shown)) == len(shown)


def test_a_path_in_graphite_follows_the_kind():
    assert graphite_path("lag_events") == "stats.gauges.recommender.lag_events"
    assert graphite_path("events_learned") == "stats.counters.recommender.events_learned.count"
    assert graphite_path("events_learned", stat="rate", prefix="shop") == "stats.counters.shop.events_learned.rate"
    assert graphite_path("learn_seconds", stat="upper_99") == "stats.timers.recommender.learn_seconds.upper_99"


def test_a_label_is_one_element_of_the_path_in_the_order_of_the_catalogue():
    labels = {"window": "recent", "order": "served"}
    assert graphite_path("recall_at_10", labels) == "stats.gauges.recommender.recall_at_10.served.recent"
    assert graphite_path("recall_at_10", {"order": "*"}) == "stats.gauges.recommender.recall_at_10.*.*"
    assert statsd_name("recall_at_10", ("served", "recent"), "") == "recall_at_10.served.recent"


@pytest.mark.parametrize(
    "value", ["", ".", "a.b", "a:1|c", "a\nb:1|c", "{a,b}", "*", "ü €", "x" * 1000, "a;tag=b", "../x"]
)
def test_no_label_value_leaves_its_element(value: str):
    name = statsd_name("dead_letters", (value,))
    assert re.fullmatch(r"recommender\.dead_letters\.[A-Za-z0-9_-]{1,100}", name)


def test_an_alias_stands_where_the_original_system_had_it():
    assert graphite_alias_path("learn_seconds") == "stats.timers.training_time.mean"
    assert graphite_alias_path("request_seconds", "upper_99") == "stats.timers.recommender_latency.upper_99"
    assert graphite_alias_path("recall_at_10") == "stats.gauges.recall10"
    with pytest.raises(KeyError):
        graphite_alias_path("lag_events")


def test_what_is_not_declared_has_no_path():
    for name, labels, stat in (
        ("no_such_metric", {}, ""),
        ("lag_events", {"side": "users"}, ""),
        ("lag_events", {}, "count"),
        ("events_learned", {}, "mean"),
        ("learn_seconds", {}, "upper_95"),
    ):
        with pytest.raises(KeyError):
            graphite_path(name, labels, stat)
    for name, metric in CATALOGUE.items():
        for stat in ("", *GRAPHITE_STATS[metric.kind]):
            assert graphite_path(name, stat=stat).startswith("stats.")
