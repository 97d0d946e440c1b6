"""What ``benchmarks.search`` holds the index against: faiss's exact search, and two libraries of graphs.

A graph by inner product as it is finds a third of what it should (measured: .38 of the best ten, however wide it looks,
for popularity makes norms differ much). So the graphs get the usual reduction of inner product to distance, by one more
column (Bachrach et al., RecSys 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import faiss
import hnswlib
import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from stores.ports import Vectors

Rows = NDArray[np.int64]

# Both libraries' own defaults but for the width of the graph, which is 16 in both.
CONNECTIONS, EF_CONSTRUCTION = 16, 128
# How widely a search looks, from fast to exact.
WIDTHS = (16, 32, 64, 128, 256, 512)


class Rival(Protocol):
    """Something that finds rows by inner product; for one query at a time and one thread."""

    name: str
    widths: Sequence[int]

    def search(self, query: Vectors, k: int, width: int) -> Rows:
        """Return the rows found, (k,)."""


class Flat:
    """faiss's brute force; what is exact."""

    name, widths = "faiss flat", (0,)

    def __init__(self, columns: Vectors) -> None:
        self._index = faiss.IndexFlatIP(columns.shape[1])
        self._index.add(columns)

    def search(self, query: Vectors, k: int, width: int) -> Rows:
        """Return the best rows."""
        return self._index.search(query[None], k)[1][0]


def _for_distances(columns: Vectors) -> Vectors:
    """Return (n, c + 1) vectors all as long as the longest: the nearest to a query are those of the largest product."""
    squares = (columns**2).sum(axis=1)
    return np.column_stack([columns, np.sqrt(squares.max() - squares)])


def _to_distances(query: Vectors) -> Vectors:
    return np.append(query, np.float32(0))


class Hnswlib:
    """Graphs by hnswlib, built by two threads."""

    name, widths = "hnswlib", WIDTHS

    def __init__(self, columns: Vectors) -> None:
        self._index: Any = hnswlib.Index("l2", columns.shape[1] + 1)
        self._index.init_index(len(columns), ef_construction=EF_CONSTRUCTION, M=CONNECTIONS)
        self._index.add_items(_for_distances(columns), num_threads=2)
        self._index.set_num_threads(1)

    def search(self, query: Vectors, k: int, width: int) -> Rows:
        """Return the rows found, looking at so many candidates."""
        self._index.set_ef(width)
        return self._index.knn_query(_to_distances(query), k)[0][0].astype(np.int64)


class Usearch:
    """Graphs by usearch, built by two threads."""

    name, widths = "usearch", WIDTHS

    def __init__(self, columns: Vectors) -> None:
        self._index = Index(
            ndim=columns.shape[1] + 1,
            metric="l2sq",
            dtype="f32",
            connectivity=CONNECTIONS,
            expansion_add=EF_CONSTRUCTION,
        )
        self._index.add(np.arange(len(columns)), _for_distances(columns), threads=2)

    def search(self, query: Vectors, k: int, width: int) -> Rows:
        """Return the rows found, looking at so many candidates."""
        self._index.expansion_search = width
        return self._index.search(_to_distances(query), k, threads=1).keys.astype(np.int64)
