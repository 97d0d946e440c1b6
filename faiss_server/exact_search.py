"""Exact search: faiss's own brute force over the memory of the table.

The table is searched where it lies, so a row that was overwritten is found as it is now, nothing is copied when the
table grows, and there is no second copy to keep in step.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stores.ports import Vectors

Rows = NDArray[np.int64]

# faiss searches one query at a time up to this many, and more of them as one matrix product: measured at 100,000 rows,
# the product costs 2.7 ms for one query against 1.1, 3.5 against 4.2 for four, 10 against 34 for thirty-two.
SEQUENTIAL_QUERIES = 3


def prepare(columns: int) -> None:
    """Set faiss up for this process and for queries of so many columns.

    One thread: the server has one event loop, and a forked or crowded process may hang or collapse in OpenMP.
    Since faiss 1.15 the threshold below which it takes queries one at a time counts floats, not queries.
    """
    faiss.omp_set_num_threads(1)
    faiss.cvar.distance_compute_blas_threshold = SEQUENTIAL_QUERIES * columns + 1


class RowFilter:
    """Which rows may be found, in the form that faiss asks for while it searches."""

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        # faiss keeps a pointer into this array.
        self._bits = np.packbits(allowed, bitorder="little")
        self.selector: Any = faiss.IDSelectorBitmap(self._bits)  # type: ignore[call-arg, arg-type]


def inner_products(columns: Vectors, vector: Vectors) -> Vectors:
    """Return the inner product of ``vector``, (c,) float32, with every row of ``columns``, (n, c) contiguous: (n,).

    numpy's own product would wake a second thread, which waits busily; on busy cores that costs more than it saves.
    """
    if vector.shape != columns.shape[1:]:
        raise ValueError(f"a vector of shape {vector.shape} does not fit columns of shape {columns.shape}")
    products = np.empty(len(columns), dtype=np.float32)
    if len(columns):
        pointer = faiss.swig_ptr
        product: Any = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]
        product(pointer(products), pointer(vector), pointer(columns), columns.shape[1], len(columns))
    return products


def inner_products_at(columns: Vectors, rows: Rows, vector: Vectors) -> Vectors:
    """Return the inner product of ``vector``, (c,) float32, with these rows of ``columns``: (len(rows),).

    The rows are read where they lie, nothing is copied. ``IndexError`` for one that is not there.
    """
    if vector.shape != columns.shape[1:]:
        raise ValueError(f"a vector of shape {vector.shape} does not fit columns of shape {columns.shape}")
    products = np.empty(len(rows), dtype=np.float32)
    if len(rows):
        if rows.min() < 0 or rows.max() >= len(columns):
            raise IndexError(f"rows beyond the {len(columns)} there are")
        pointer = faiss.swig_ptr
        product: Any = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
        product(pointer(products), pointer(vector), pointer(columns), pointer(rows), columns.shape[1], 1, len(rows))
    return products


def search_exactly(
    columns: Vectors, queries: Vectors, k: int, allowed: RowFilter | None = None
) -> tuple[Vectors, Rows]:
    """Return the scores and rows of the best k by inner product, best first.

    Parameters
    ----------
    columns
        (n, c) float32, contiguous.
    queries
        (q, c) float32.
    k
        At most n hits are returned per query.
    allowed
        Only these rows are found; they are then searched one query at a time.

    Returns
    -------
    scores, rows
        (q, min(k, n)) float32 and int64; where fewer exist, the rows at the end are -1.
    """
    # faiss itself is not told the shapes of what it reads: a mistake here would read foreign memory.
    if queries.ndim != 2 or columns.ndim != 2 or queries.shape[1] != columns.shape[1]:
        raise ValueError(f"queries of shape {queries.shape} do not fit columns of shape {columns.shape}")
    k = min(k, len(columns))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    if k and len(queries):
        pointer = faiss.swig_ptr
        faiss.knn_inner_product(
            pointer(queries),
            pointer(columns),
            columns.shape[1],
            len(queries),
            len(columns),
            k,
            pointer(scores),
            pointer(rows),
            None if allowed is None else allowed.selector,
        )
    return scores, rows
