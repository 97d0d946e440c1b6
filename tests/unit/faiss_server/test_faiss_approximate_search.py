from __future__ import annotations

import numpy as np
import pytest

from faiss_server.approximate_search import ApproximateSearch, build, truth_of
from faiss_server.item_table import ItemTable, table_of
from stores.ports import ItemRows
from tests.unit.faiss_server.index_worlds import learned_rows, subset, user_queries

N = 3000


@pytest.fixture
def table() -> ItemTable:
    return table_of(learned_rows(N))


@pytest.fixture
def lists(table: ItemTable) -> ApproximateSearch:
    lists = build(table.columns.copy(), np.arange(N))
    lists.use(10_000, 1.0)  # all of them
    return lists


def _check_that_it_finds_what_the_table_has(lists: ApproximateSearch, table: ItemTable) -> None:
    queries = user_queries(20)
    truth = truth_of(table.columns, np.flatnonzero(table.alive), queries)
    assert lists.hits(queries, truth, 10_000) == truth.size
    every = lists.search(queries[:1], N + 10)[0]
    assert sorted(every[every >= 0]) == np.flatnonzero(table.alive).tolist()


def test_all_lists_together_find_what_exact_search_finds(lists, table):
    _check_that_it_finds_what_the_table_has(lists, table)


def test_a_row_put_again_is_there_once_with_its_new_numbers(lists, table):
    changed = np.arange(0, N, 7)
    list(table.put(subset(learned_rows(N, seed=9), changed)))
    for _ in range(2):
        lists.put(changed, table.columns[changed])
    _check_that_it_finds_what_the_table_has(lists, table)


def test_removed_rows_are_gone_and_can_come_back(lists, table):
    gone = table.delete([f"i{row}" for row in range(0, N, 3)])
    for _ in range(2):
        lists.remove(gone)
    _check_that_it_finds_what_the_table_has(lists, table)
    list(table.put(subset(learned_rows(N), gone[:50])))
    lists.put(gone[:50], table.columns[gone[:50]])
    _check_that_it_finds_what_the_table_has(lists, table)


def test_a_row_put_alone_is_there_once_and_comes_into_the_nearest_list_with_the_popularity(lists, table):
    query = user_queries(1)
    [best] = truth_of(table.columns, np.arange(N), query)[0, :1]
    [worst] = truth_of(table.columns, np.arange(N), -query)[0, :1]
    twin = subset(learned_rows(N), np.array([best]))
    list(table.put(ItemRows([f"i{worst}"], twin.vectors, twin.contexts, twin.popularity)))
    for _ in range(2):
        lists.put(np.array([worst]), table.columns[[worst]])
    _check_that_it_finds_what_the_table_has(lists, table)
    assert lists.hits(query, np.array([[best, worst]]), 1) == 1
    lists.popularity_changed()
    while lists.refresh(table.columns, 30):
        pass
    assert lists.hits(query, np.array([[best, worst]]), 1) == 2
    _check_that_it_finds_what_the_table_has(lists, table)


def test_a_row_put_alone_and_removed_stays_away(lists, table):
    lists.put(np.array([5]), table.columns[[5]])
    lists.remove(table.delete(["i5"]))
    lists.popularity_changed()
    lists.refresh(table.columns, 30)
    _check_that_it_finds_what_the_table_has(lists, table)


def test_popularity_reaches_every_list_a_few_at_a_time(lists, table):
    assert not lists.refresh(table.columns, 5)
    list(table.put_popularity(np.random.default_rng(3).normal(0, 5, (N, 2)).astype(np.float32)))
    lists.popularity_changed()
    steps = 1
    while lists.refresh(table.columns, 5):
        steps += 1
    assert steps > 10
    _check_that_it_finds_what_the_table_has(lists, table)


def test_popularity_that_changes_again_while_it_is_written_is_written_again(lists, table):
    for seed in (3, 4):
        list(table.put_popularity(np.random.default_rng(seed).normal(0, 5, (N, 2)).astype(np.float32)))
        lists.popularity_changed()
        lists.refresh(table.columns, 30)
    while lists.refresh(table.columns, 30):
        pass
    _check_that_it_finds_what_the_table_has(lists, table)


def test_probing_widens_up_to_what_is_worth_it(lists):
    nprobe, tried = 1, [1]
    while (nprobe := lists.wider(nprobe)) is not None:
        tried.append(nprobe)
    assert tried == sorted(set(tried))
    assert tried[-1] == lists.max_nprobe
