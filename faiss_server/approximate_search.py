"""Approximate search for large tables: faiss's inverted lists, probed as widely as the recall asks for."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from faiss_server.exact_search import SEQUENTIAL_QUERIES, RowFilter, Rows, search_exactly
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
# So many rows are overwritten in the lists that they are in, and put into the nearest ones later, so many at a time.
FEW_ROWS, REASSIGNED_ROWS = SEQUENTIAL_QUERIES, 64


class ApproximateSearch:
    """Rows in inverted lists, with a hashtable from row to place so that one can be overwritten, or taken out.

    A row is in the list whose mean is nearest to it, and a query looks into those lists whose means it scores highest:
    by directions, as faiss itself clusters for inner products, rows of all lengths share a list, and two to four times
    as many lists have to be looked into.

    The popularity columns of all rows change every second, which takes long to write into thousands of lists. So that
    is done a few lists at a time (``refresh``), and whoever searches scores the rows that were found by the table.

    ``means``: faiss's index of the mean of every list, by distance. ``nprobe``: lists that a search looks into.
    ``recall``: recall@10 as it was measured last.
    """

    def __init__(self, lists: Any, means: Any, nprobe: int) -> None:
        self._lists, self._means = lists, means
        # Made once: each time they are asked of faiss it makes an object in Python.
        self._places, self._entries = lists.direct_map, lists.invlists
        # The means as queries are compared with them, in faiss's own memory: those of popularity follow the rows.
        quantizer: Any = faiss.downcast_index(lists.quantizer)
        self._looked_at = faiss.rev_swig_ptr(quantizer.get_xb(), lists.nlist * lists.d).reshape(lists.nlist, lists.d)
        self.use(nprobe, 0.0)
        self._next_stale = 0
        self._stale_lists = 0
        # Rows that were overwritten where they were.
        self._moved: set[int] = set()

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
        parameters = self._parameters
        if nprobe is not None or allowed is not None:
            selector = None if allowed is None else allowed.selector
            parameters = faiss.SearchParametersIVF(nprobe=nprobe or self.nprobe, sel=selector)  # type: ignore[call-arg]
        values = self._values(queries, len(queries))
        scores, rows = np.empty((len(values), k), np.float32), np.empty((len(values), k), np.int64)
        pointer = faiss.swig_ptr
        self._lists.search_c(len(values), pointer(values), k, pointer(scores), pointer(rows), parameters)
        return rows

    def put(self, rows: Rows, columns: Vectors) -> None:
        """Add or overwrite rows, each at most once: ``columns`` is (n, c) float32. Safe to repeat."""
        values = self._values(columns, len(rows))
        if len(rows) <= FEW_ROWS:
            # Of the time that a row alone took, looking for the nearest list was three quarters.
            new = [place for place, row in enumerate(rows.tolist()) if not self._overwrite(row, values[place])]
            if not new:
                return
            rows, values = rows[new], values[new]
        self._assign(rows, values)

    def _assign(self, rows: Rows, values: Vectors) -> None:
        """Put rows into the lists that are nearest to them."""
        # Adding a row that is there would keep both.
        self.remove(rows)
        nearest = self._means.search(values, 1)[1]
        pointer = faiss.swig_ptr
        self._lists.add_core(len(rows), pointer(values), pointer(rows), pointer(nearest))

    def remove(self, rows: Rows) -> None:
        """Take rows out; those that are not in are left out. Safe to repeat."""
        if len(rows):
            self._lists.remove_ids(faiss.IDSelectorArray(rows))
            self._moved.difference_update(rows.tolist())

    def _overwrite(self, row: int, values: Vectors) -> bool:
        """Overwrite a row in the list that it is in; False when it is in none."""
        try:
            place = self._places.get(row)
        except RuntimeError:
            return False
        self._entries.update_entry(place >> 32, place & 0xFFFF_FFFF, row, faiss.swig_ptr(values.view(np.uint8)))
        self._moved.add(row)
        return True

    def _values(self, columns: Vectors, count: int) -> Vectors:
        values = np.ascontiguousarray(columns, dtype=np.float32)
        # faiss itself is not told the shapes of what it reads.
        if values.shape != (count, self._lists.d):
            raise ValueError(f"{count} rows of {self._lists.d} columns have another shape than {values.shape}")
        return values

    def popularity_changed(self) -> None:
        """Note that every list has to be refreshed."""
        self._stale_lists = self._lists.nlist

    def refresh(self, columns: Vectors, most: int) -> bool:
        """Write the popularity columns of the table, (rows, c), into at most so many lists; True when some are left.

        Meanwhile rows that were overwritten are put into the lists that are nearest to them now.
        """
        if self._stale_lists and self._moved:
            rows = np.array([self._moved.pop() for _ in range(min(REASSIGNED_ROWS, len(self._moved)))], np.int64)
            self._assign(rows, columns[rows])
        lists, width = self._entries, self._lists.d
        for _ in range(min(most, self._stale_lists)):
            number, self._next_stale = self._next_stale, (self._next_stale + 1) % self._lists.nlist
            size = lists.list_size(number)
            if size:
                # The pointers hold until the next row is added.
                rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * width * 4)
                popularity = columns[rows, -2:]
                codes.view(np.float32).reshape(size, width)[:, -2:] = popularity
                self._looked_at[number, -2:] = popularity.sum(axis=0) / size
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
        self._parameters = faiss.SearchParametersIVF(nprobe=nprobe)  # type: ignore[call-arg]


def build(values: Vectors, rows: Rows) -> ApproximateSearch:
    """Return lists of these rows, at least one, whose columns ``values``, (n, c) float32, are copied."""
    count, width = values.shape
    # faiss cannot train more lists than it has rows.
    nlist = max(1, min(count, int(LISTS_PER_ROOT * count**0.5)))
    clustering: Any = faiss.Kmeans(
        width,
        nlist,
        niter=TRAINING_ROUNDS,
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_POINTS_PER_LIST,
    )
    clustering.train(values)
    means, quantizer = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    means.add(clustering.centroids)
    quantizer.add(clustering.centroids)
    lists = faiss.IndexIVFFlat(quantizer, width, nlist, faiss.METRIC_INNER_PRODUCT)
    lists.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
    lists.is_trained = True
    approximate = ApproximateSearch(lists, means, nprobe=1)
    approximate.put(rows, values)
    return approximate


def truth_of(columns: Vectors, rows: Rows, queries: Vectors) -> Rows:
    """Return the rows of the best 10 among ``rows`` for each of these queries, (q, 10), exactly."""
    if len(rows) == len(columns):
        return search_exactly(columns, queries, RECALL_AT)[1]
    allowed = np.zeros(len(columns), dtype=np.bool_)
    allowed[rows] = True
    return search_exactly(columns, queries, RECALL_AT, RowFilter(allowed))[1]
