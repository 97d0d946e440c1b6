from __future__ import annotations

import faiss
import numpy as np
import pytest

from faiss_server.exact_search import (
    SEQUENTIAL_QUERIES,
    RowFilter,
    inner_products,
    inner_products_at,
    prepare,
    search_exactly,
)

N, C = 500, 19


@pytest.fixture
def columns() -> np.ndarray:
    prepare(C)
    return np.random.default_rng(0).normal(size=(N, C)).astype(np.float32)


@pytest.mark.parametrize("count", [1, SEQUENTIAL_QUERIES, SEQUENTIAL_QUERIES + 1, 50])
def test_the_best_are_found_whichever_way_faiss_takes(columns, count):
    queries = np.random.default_rng(1).normal(size=(count, C)).astype(np.float32)
    scores, rows = search_exactly(columns, queries, 7)
    expected = queries @ columns.T
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :7], rtol=1e-4, atol=1e-4)


def test_what_was_written_in_place_is_found_at_once(columns):
    query = np.ones((1, C), np.float32)
    columns[123] = 100.0
    assert search_exactly(columns, query, 1)[1].tolist() == [[123]]
    columns[123] = -100.0
    assert search_exactly(columns, query, N)[1][0, -1] == 123


def test_only_allowed_rows_are_found_and_missing_ones_are_minus_one(columns):
    allowed = np.zeros(N, np.bool_)
    allowed[[3, 7, 499]] = True
    queries = np.random.default_rng(1).normal(size=(5, C)).astype(np.float32)
    rows = search_exactly(columns, queries, 10, RowFilter(allowed))[1]
    assert {*map(tuple, np.sort(rows, axis=1)[:, -3:])} == {(3, 7, 499)}
    assert np.count_nonzero(rows == -1) == 5 * 7


def test_no_more_rows_than_there_are(columns):
    query = np.ones((1, C), np.float32)
    assert search_exactly(columns, query, 10**9)[1].shape == (1, N)
    assert search_exactly(columns[:0], query, 5)[1].shape == (1, 0)
    assert search_exactly(columns, query[:0], 5)[1].shape == (0, 5)


def test_shapes_that_do_not_fit_are_refused_by_name_before_faiss_reads_foreign_memory(columns):
    with pytest.raises(ValueError, match="do not fit"):
        search_exactly(columns, np.ones((1, C + 1), np.float32), 5)
    with pytest.raises(ValueError, match="does not fit"):
        inner_products_at(columns, np.arange(3), np.ones(C + 1, np.float32))
    for row in (-1, N):
        with pytest.raises(IndexError):
            inner_products_at(columns, np.array([0, row]), np.ones(C, np.float32))
    with pytest.raises(ValueError, match="does not fit"):
        inner_products(columns, np.ones(C - 1, np.float32))


def test_inner_products_are_the_products(columns):
    vector = np.random.default_rng(1).normal(size=C).astype(np.float32)
    np.testing.assert_allclose(inner_products(columns, vector), columns @ vector, rtol=1e-4, atol=1e-5)
    rows = np.array([7, 0, N - 1, 7])
    np.testing.assert_allclose(inner_products_at(columns, rows, vector), columns[rows] @ vector, rtol=1e-4, atol=1e-5)
    assert inner_products_at(columns, rows[:0], vector).shape == (0,)
    assert inner_products(columns[:0], vector).shape == (0,)


def test_faiss_runs_on_one_thread_and_counts_its_threshold_in_floats(columns):
    assert faiss.omp_get_max_threads() == 1
    assert faiss.cvar.distance_compute_blas_threshold == SEQUENTIAL_QUERIES * C + 1
