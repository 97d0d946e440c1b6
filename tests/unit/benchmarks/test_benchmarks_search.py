from __future__ import annotations

import asyncio

import numpy as np
import pytest

pytest.importorskip("hnswlib", reason="benchmarks.search wants requirements-bench.txt")
pytest.importorskip("usearch", reason="benchmarks.search wants requirements-bench.txt")

from benchmarks import search_writes
from benchmarks.search import Searched, bars_of, recall
from benchmarks.search_rivals import Flat, Hnswlib, Usearch
from benchmarks.search_worlds import learn, noise, replicated, simulated
from benchmarks.search_writes import EVENTS_PER_S, Write, latencies_s, trainer_writes
from faiss_server.item_index import ItemIndex
from stores.ports import Stamp


@pytest.fixture(scope="module")
def learned():
    return learn(simulated(300, 200), 20, 10)


def test_what_is_learned_can_be_searched_by_the_queries_that_belong_to_it(learned):
    index = ItemIndex()
    index.replace(learned.rows, Stamp(1, 0, 1))
    answers = index.search(learned.queries)
    assert all(len(answer.item_ids) == 10 for answer in answers)
    assert any(query.lifted for query in learned.queries)


def test_copies_come_after_the_items_themselves_and_are_none_of_them(learned):
    n = len(learned.rows.item_ids)
    rows = replicated(learned.rows, 3 * n + 7)
    assert rows.item_ids[:n] == learned.rows.item_ids and len(set(rows.item_ids)) == 3 * n + 7
    for copied, own in zip(
        (rows.vectors, rows.contexts, rows.popularity),
        (learned.rows.vectors, learned.rows.contexts, learned.rows.popularity),
        strict=True,
    ):
        np.testing.assert_array_equal(copied[:n], own)
        assert not (copied[n : 2 * n] == own).all(axis=1).any()
        assert np.abs(copied[n : 2 * n] - own).std() < 0.5 * own.std()


def test_rivals_find_what_is_exact_when_they_look_wide(learned):
    columns = np.ascontiguousarray(np.hstack([learned.rows.vectors, learned.rows.popularity]))
    queries = [query.vector for query in learned.queries]
    truth = [Flat(columns).search(query, 10, 0) for query in queries]
    assert recall(truth, truth) == 1.0
    for kind in (Hnswlib, Usearch):
        rival = kind(columns)
        assert recall([rival.search(query, 10, max(rival.widths)) for query in queries], truth) > 0.9


def test_the_trainer_sends_what_it_learned_and_popularity_every_second():
    writes = trainer_writes(4000)
    assert [write.at_s for write in writes] == sorted(write.at_s for write in writes)
    assert sum(write.rows is None for write in writes) in (4, 5)
    rows = sum(len(write.rows) for write in writes if write.rows is not None) / 4
    assert rows > EVENTS_PER_S / 2


def test_searches_are_timed_while_writes_come(monkeypatch):
    monkeypatch.setattr(search_writes, "RECORDED_S", 0.6)
    rows, queries = noise(500, 8, 5, 3)
    index = ItemIndex()
    index.replace(rows, Stamp(1, 0, 1))
    writes = [Write(0.0, [1, 2, 3]), Write(0.1, None)]
    found = asyncio.run(latencies_s(index, queries, rows, writes))
    assert len(found) > 100 and min(found) > 0
    assert index.status().seq == 3


def test_every_bar_is_held_against_its_figure():
    one = Searched("a", *[None] * 3)  # type: ignore[arg-type]
    one.figures = {
        "recall10": 0.995,
        "times_faster_than_flat": 6.0,
        "excluding_ratio": 1.6,
        "upsert_us": 20.0,
        "p99_ratio": 1.2,
    }
    bars = {bar.name: bar.met for bar in bars_of({"a": one, "b": one}, [("a", 5.0)], "b")}
    assert bars == {
        "a_recall10": True,
        "a_times_faster_than_flat": True,
        "a_excluding_ratio": False,
        "a_upsert_us": True,
        "a_p99_under_writes_ratio": True,
        "b_recall10": True,
    }
