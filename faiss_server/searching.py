"""Searches over one table: by inner product, exactly or with the lists that stand beside it, and by cosine.

For one thread, as ``ItemIndex``, which owns it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from faiss_server.approximate_search import ApproximateSearch
from faiss_server.exact_search import (
    SEQUENTIAL_QUERIES,
    RowFilter,
    Rows,
    inner_products,
    inner_products_at,
    search_exactly,
)
from faiss_server.item_table import EXTRA_COLUMNS, MAX_NUMBER, ItemTable
from faiss_server.recent_queries import RecentQueries
from stores.ports import MAX_HITS, Candidates, Query, Vectors

# A batch is searched as one, with so many hits more, when no query of it excludes more than this; and what excludes
# more is searched exactly.
MAX_EXTRA_HITS = 600
# So many hits more are asked of lists where something is excluded; when they do not do, so many times the lists.
SPARE_HITS, WIDER = 30, 4
# Neighbours by cosine are chosen among this many times as many candidates by inner product.
SIMILAR_CANDIDATES = 10
SIMILAR_MIN_CANDIDATES = 500


class BadQuery(ValueError):
    """A query that cannot be answered; the message says why."""


class Searching:
    """What is asked of one table.

    Attributes
    ----------
    table
        What is searched.
    approximate
        What large tables are searched with, once it is built and as long as it is good enough; else ``None``.
    recent_queries
        What was asked last of all rows.
    """

    def __init__(self, table: ItemTable) -> None:
        self.table = table
        self.approximate: ApproximateSearch | None = None
        self.recent_queries = RecentQueries()

    def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """Answer several queries, in order. Raises ``BadQuery``."""
        if not queries:
            return []
        recent = self._places([query.recent for query in queries])
        lifted = self._places([query.lifted for query in queries])
        vectors = np.stack([self._folded(query, rows) for query, rows in zip(queries, recent, strict=True)])
        wanted = [_Wanted(query, self.table, rows) for query, rows in zip(queries, lifted, strict=True)]
        everywhere = [place for place, query in enumerate(queries) if query.within is None]
        hits: dict[int, tuple[Rows, Vectors]] = {}
        if everywhere:
            self.recent_queries.keep(vectors[everywhere])
            found = self._best(vectors[everywhere], [wanted[place] for place in everywhere])
            hits = dict(zip(everywhere, found, strict=True))
        answers = []
        for place, (query, vector, one) in enumerate(zip(queries, vectors, wanted, strict=True)):
            rows, scores = hits[place] if place in hits else self._first(one, *self._ranked(vector, one.within))
            if query.lifted:
                rows, scores = self._lifted(one, vector, rows, scores)
            answers.append(Candidates(self.table.item_ids(rows), scores))
        return answers

    def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        """Return, per known item, the k items nearest by cosine of the item vectors, best first.

        The item vector is head * item embedding, the first d columns: neither bias nor popularity makes items alike.
        Raises ``BadQuery``.
        """
        _check_k(k)
        answers: dict[str, list[tuple[str, float]]] = {}
        for item_id in item_ids:
            for row in self.table.rows_of([item_id]).tolist():
                answers[item_id] = self._nearest(row, k)
        return answers

    def vectors(self, item_ids: Sequence[str]) -> tuple[list[str], Vectors]:
        """Return the known ones of these items and their item vectors at length 1, (n, d)."""
        rows = self.table.rows_of(item_ids)
        norms = self.table.norms[rows, None]
        found = np.zeros((len(rows), self.table.dimension), dtype=np.float32)
        np.divide(self.table.columns[rows, : self.table.dimension], norms, out=found, where=norms > 0)
        return self.table.item_ids(rows), found

    def _folded(self, query: Query, recent: Rows) -> Vectors:
        """Return the query with the contexts of its recent items, -1 for one that never came, added: (d + 3,)."""
        d = self.table.dimension
        if query.vector.shape != (d + EXTRA_COLUMNS,):
            raise BadQuery(f"a query of dimension {d} has shape ({d + EXTRA_COLUMNS},), not {query.vector.shape}")
        if len(query.recent) != len(query.recent_weights):
            raise BadQuery(f"{len(query.recent)} recent items have {len(query.recent_weights)} weights")
        _check_k(query.k)
        vector = np.array(query.vector, dtype=np.float32)
        if len(recent):
            came = recent >= 0
            # What overflows is refused below.
            with np.errstate(over="ignore", invalid="ignore"):
                weights = np.array(query.recent_weights, dtype=np.float32)[came]
                vector[:d] += weights @ self.table.contexts[recent[came]]
        # Written so that NaN fails too.
        if not np.abs(vector).max(initial=0.0) <= MAX_NUMBER:
            raise BadQuery(f"a query holds a number that is not finite, or beyond {MAX_NUMBER:g}")
        return vector

    def _places(self, item_ids: Sequence[Sequence[str]]) -> list[Rows]:
        """Return the rows of each list of items, -1 for one that never came; all are looked up together."""
        rows = self.table.places_of(list(itertools.chain.from_iterable(item_ids)))
        return np.split(rows, np.cumsum([len(of_query) for of_query in item_ids])[:-1])

    def _best(self, vectors: Vectors, wanted: list[_Wanted]) -> list[tuple[Rows, Vectors]]:
        if self.approximate is not None:
            return self._best_in_lists(self.approximate, vectors, wanted)
        most = max(one.k for one in wanted)
        extra = max(len(one.excluded) for one in wanted) + self.table.deleted
        if len(wanted) > SEQUENTIAL_QUERIES and extra <= MAX_EXTRA_HITS:
            scores, found = search_exactly(self.table.columns, vectors, most + extra)
            return [self._first(one, *pair) for one, *pair in zip(wanted, found, scores, strict=True)]
        return [self._best_alone(one, vector) for one, vector in zip(wanted, vectors, strict=True)]

    def _best_in_lists(
        self, approximate: ApproximateSearch, vectors: Vectors, wanted: list[_Wanted]
    ) -> list[tuple[Rows, Vectors]]:
        # What is deleted is not in the lists. What is excluded is seldom among the best: then it leaves by name, which
        # costs a fifth of keeping it from being found.
        most = max(one.k + (SPARE_HITS if one.query.exclude else 0) for one in wanted)
        found = approximate.search(vectors, max(most, 1))
        hits = []
        for one, vector, candidates in zip(wanted, vectors, found, strict=True):
            rows, scores = self._without_excluded(one, *self._ranked(vector, candidates))
            if len(rows) < one.k and 0 < len(one.query.exclude) <= MAX_EXTRA_HITS:
                # Those that come next lie in more lists than the best.
                wide = min(WIDER * approximate.nprobe, approximate.widest)
                candidates = approximate.search(vector[None], max(one.k, 1), wide, self._allowed(one))[0]
                rows, scores = self._ranked(vector, candidates)
            # The lists that were searched may hold too few.
            enough = len(rows) >= one.k
            hits.append((rows[: one.k], scores[: one.k]) if enough else self._best_alone(one, vector))
        return hits

    def _without_excluded(self, wanted: _Wanted, rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
        if not wanted.query.exclude:
            return rows, scores
        item_ids = self.table.item_ids(rows)
        excluded = set(item_ids).intersection(wanted.query.exclude)
        kept = [place for place, item_id in enumerate(item_ids) if item_id not in excluded]
        return rows[kept], scores[kept]

    def _allowed(self, wanted: _Wanted) -> RowFilter:
        mask = self.table.alive.copy()
        mask[wanted.excluded] = False
        return RowFilter(mask)

    def _best_alone(self, wanted: _Wanted, vector: Vectors) -> tuple[Rows, Vectors]:
        allowed = self._allowed(wanted) if len(wanted.excluded) or self.table.deleted else None
        scores, rows = search_exactly(self.table.columns, vector[None], wanted.k, allowed)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]

    def _ranked(self, vector: Vectors, rows: Rows) -> tuple[Rows, Vectors]:
        """Return ``rows``, -1 left out, by their score in the table (in lists, popularity may be a little old)."""
        rows = rows[rows >= 0]
        scores = inner_products_at(self.table.columns, rows, vector)
        order = np.argsort(-scores, kind="stable")
        return rows[order], scores[order]

    def _first(self, wanted: _Wanted, rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
        """Return the first k of these hits that may be found."""
        if len(wanted.excluded) or self.table.deleted:
            kept = _others(self.table.alive, rows, wanted.excluded)
            rows, scores = rows[kept], scores[kept]
        return rows[: wanted.k], scores[: wanted.k]

    def _lifted(self, wanted: _Wanted, vector: Vectors, rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
        """Return the best k when lifts count; ``rows``: the best k without, beyond which only lifted ones can come."""
        kept = _others(self.table.alive, rows, wanted.lifted)
        lifted_scores = inner_products_at(self.table.columns, wanted.lifted, vector) + wanted.lifts
        rows = np.concatenate([wanted.lifted, rows[kept]])
        scores = np.concatenate([lifted_scores, scores[kept]])
        order = np.argsort(-scores, kind="stable")[: wanted.k]
        return rows[order], scores[order]

    def _nearest(self, row: int, k: int) -> list[tuple[str, float]]:
        table, d = self.table, self.table.dimension
        # Without bias and popularity.
        vector = np.zeros(d + EXTRA_COLUMNS, dtype=np.float32)
        vector[:d] = table.columns[row, :d]
        if self.approximate is None:
            rows = np.flatnonzero(table.alive)
            products = inner_products(table.columns, vector)[rows]
        else:
            count = min(max(k * SIMILAR_CANDIDATES, SIMILAR_MIN_CANDIDATES), len(table))
            rows = self.approximate.search(vector[None], count)[0]
            rows = rows[rows >= 0]
            products = inner_products_at(table.columns, rows, vector)
        rows, products = rows[rows != row], products[rows != row]
        sizes = table.norms[rows] * table.norms[row]
        cosines = np.divide(products, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        if k < len(rows):
            chosen = np.argpartition(-cosines, k)[:k]
            rows, cosines = rows[chosen], cosines[chosen]
        order = np.lexsort((rows, -cosines))
        return list(zip(table.item_ids(rows[order]), cosines[order].tolist(), strict=True))


class _Wanted:
    """What one query asks for, in rows."""

    def __init__(self, query: Query, table: ItemTable, lifted: Rows) -> None:
        self.query, self._table = query, table
        self.within = table.rows_of(list(dict.fromkeys(query.within))) if query.within else _NO_ROWS
        self.lifted, self.lifts = _NO_ROWS, _NO_LIFTS
        if query.lifted:
            self._lift(query, table, lifted)
        self.k = query.k
        if self.k > table.items - len(query.exclude):  # so many may not exist
            self.k = min(self.k, table.items - len(np.unique(self.excluded)))

    @cached_property
    def excluded(self) -> Rows:
        """Rows that are not to be found, some perhaps twice."""
        return self._table.rows_of(self.query.exclude) if self.query.exclude else _NO_ROWS

    def _lift(self, query: Query, table: ItemTable, rows: Rows) -> None:
        if len(set(query.lifted)) != len(query.lifts) or len(query.lifted) != len(query.lifts):
            raise BadQuery(f"{len(query.lifted)} lifted items, each named once, have {len(query.lifts)} lifts")
        lifts = np.array(query.lifts, dtype=np.float32)
        # Written so that NaN fails too.
        if not (lifts.min() >= 0 and lifts.max() <= MAX_NUMBER):
            raise BadQuery(f"a lift is not between 0 and {MAX_NUMBER:g}")
        came = rows >= 0
        if not came.all():
            rows, lifts = rows[came], lifts[came]
        found = _others(table.alive, rows, self.excluded)
        if query.within is not None:
            found &= np.isin(rows, self.within)
        self.lifted, self.lifts = rows[found], lifts[found]


_NO_ROWS: Rows = np.empty(0, dtype=np.int64)
_NO_LIFTS: Vectors = np.empty(0, dtype=np.float32)


def _others(alive: NDArray[np.bool_], rows: Rows, these: Rows) -> NDArray[np.bool_]:
    """Say which of ``rows`` are alive and none of ``these``, which all are alive; -1 is the last row here."""
    # For a moment these count as deleted: cheaper than comparing two lists of rows.
    alive[these] = False
    others: NDArray[np.bool_] = alive[rows]
    alive[these] = True
    return others


def _check_k(k: int) -> None:
    if not 1 <= k <= MAX_HITS:
        raise BadQuery(f"k must be between 1 and {MAX_HITS}, not {k}")
