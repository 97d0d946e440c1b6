"""Approximate search for large tables: faiss's inverted lists, probed as widely as the recall asks for."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from faiss_server.exact_search import RowFilter, Rows, search_exactly
from stores.ports import Vectors

# Lists per square root of the rows, and training points per list.
LISTS_PER_ROOT = 2.0
TRAINING_POINTS_PER_LIST = 48
TRAINING_ROUNDS = 8
# Beyond this share of the lists exact search is nearly as fast: the table has no structure that lists can use. A single
# query that needs more than others may look into the larger share.
MAX_PROBED_SHARE, WIDEST_SHARE = 0.2, 0.35
RECALL_AT = 10
# The recall promised is .99. It is measured on a sample, on which the first number of lists that is good enough is
# taken: what other queries find is a little less.
MIN_RECALL = 0.997


class ApproximateSearch:
    """Rows in inverted lists, with a hashtable from row to place so that one can be taken out and put back.

    The popularity columns of all rows change every second, which takes long to write into thousands of lists. So that
    is done a few lists at a time (``refresh``), and whoever searches scores the rows that were found by the table.

    ``nprobe``: lists that a search looks into. ``recall``: recall@10 as it was measured last.
    """

    def __init__(self, lists: Any, nprobe: int) -> None:
        self._lists = lists
        self.nprobe = nprobe
        self.recall = 0.0
        self._next_stale = 0
        self._stale_lists = 0

    @property
    def kind(self) -> str:
        """How it searches, in words."""
        return f"ivf {self._lists.nlist} lists, {self.nprobe} probed"

    @property
    def max_nprobe(self) -> int:
        """The most lists worth probing."""
        return max(1, int(self._lists.nlist * MAX_PROBED_SHARE))

    @property
    def widest(self) -> int:
        """The most lists that a single query may look into."""
        return max(1, int(self._lists.nlist * WIDEST_SHARE))

    def search(self, queries: Vectors, k: int, nprobe: int | None = None, allowed: RowFilter | None = None) -> Rows:
        """Return the rows found, (q, k), best first; those at the end are -1 where too few were found.

        ``nprobe``: lists to look into if not ``self.nprobe``. ``allowed``: only these rows are found.
        """
        parameters = faiss.SearchParametersIVF(  # type: ignore[call-arg]
            nprobe=nprobe or self.nprobe, sel=None if allowed is None else allowed.selector
        )
        rows: Rows = self._lists.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)[1]
        return rows

    def put(self, rows: Rows, columns: Vectors) -> None:
        """Add or overwrite rows, each at most once: ``columns`` is (n, c) float32. Safe to repeat."""
        if len(rows):
            # Adding a row that is there would keep both.
            self.remove(rows)
            values = np.ascontiguousarray(columns, dtype=np.float32)
            if values.shape != (len(rows), self._lists.d):
                raise ValueError(f"{len(rows)} rows of {self._lists.d} columns have another shape than {values.shape}")
            # Past faiss's own Python, which takes half as long as the adding of one row.
            self._lists.add_with_ids_c(len(rows), faiss.swig_ptr(values), faiss.swig_ptr(rows))

    def remove(self, rows: Rows) -> None:
        """Take rows out; those that are not in are left out. Safe to repeat."""
        if len(rows):
            self._lists.remove_ids(faiss.IDSelectorArray(rows))

    def popularity_changed(self) -> None:
        """Note that every list has to be refreshed."""
        self._stale_lists = self._lists.nlist

    def refresh(self, columns: Vectors, most: int) -> bool:
        """Write the popularity columns of the table, (rows, c), into at most so many lists; True when some are left."""
        lists, width = self._lists.invlists, self._lists.d
        for _ in range(min(most, self._stale_lists)):
            number, self._next_stale = self._next_stale, (self._next_stale + 1) % self._lists.nlist
            size = lists.list_size(number)
            if size:
                # The pointers hold until the next row is added.
                rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * width * 4)
                codes.view(np.float32).reshape(size, width)[:, -2:] = columns[rows, -2:]
            self._stale_lists -= 1
        return self._stale_lists > 0

    def hits(self, queries: Vectors, truth: Rows, nprobe: int) -> int:
        """Return how many of ``truth``, (q, 10) rows found exactly, the queries, (q, c), find when probing so many."""
        found = self.search(queries, truth.shape[1], nprobe)
        return sum(np.intersect1d(right, mine).size for right, mine in zip(truth, found, strict=True))

    def wider(self, nprobe: int) -> int | None:
        """Return a quarter more lists to probe; ``None`` when that is more than is worth it."""
        if nprobe >= self.max_nprobe:
            return None
        return min(nprobe + max(1, nprobe // 4), self.max_nprobe)

    def use(self, nprobe: int, recall: float) -> None:
        """Probe so many lists from now on; ``recall`` is what was measured with them."""
        self.nprobe, self.recall = nprobe, recall


def build(values: Vectors, rows: Rows) -> ApproximateSearch:
    """Return lists of these rows, at least one, whose columns ``values``, (n, c) float32, are copied."""
    count, width = values.shape
    # faiss cannot train more lists than it has rows.
    nlist = max(1, min(count, int(LISTS_PER_ROOT * count**0.5)))
    quantizer = faiss.IndexFlatIP(width)
    lists = faiss.IndexIVFFlat(quantizer, width, nlist, faiss.METRIC_INNER_PRODUCT)
    lists.cp.niter = TRAINING_ROUNDS
    lists.cp.min_points_per_centroid = 1
    lists.cp.max_points_per_centroid = TRAINING_POINTS_PER_LIST
    lists.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
    lists.train(values)
    lists.add_with_ids(values, rows)
    return ApproximateSearch(lists, nprobe=1)


def truth_of(columns: Vectors, rows: Rows, queries: Vectors) -> Rows:
    """Return the rows of the best 10 among ``rows`` for each of these queries, (q, 10), exactly."""
    if len(rows) == len(columns):
        return search_exactly(columns, queries, RECALL_AT)[1]
    allowed = np.zeros(len(columns), dtype=np.bool_)
    allowed[rows] = True
    return search_exactly(columns, queries, RECALL_AT, RowFilter(allowed))[1]
