import re

import pytest

from stores.metric_catalogue import CATALOGUE, Metric

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
