"""Arrays that grow without being copied: their address range is reserved once, memory comes as rows are touched."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# The most rows an array can ever have: enough for every user of a large site, and far from the end of 47-bit addresses.
MAX_ROWS = 1 << 26

# From so many bytes on an array asks for pages of 2 MB: whoever walks through it or jumps about in it waits less for
# the addresses of pages (an exact search takes a quarter less, learning at 300,000 rows a tenth). Smaller arrays would
# only waste memory.
LARGE_BYTES = 8 << 20

# Python 3.11's mmap has no name for it. Reserving is then no promise of memory, whatever the overcommit heuristic says.
_NORESERVE = 0x4000 if sys.platform == "linux" else 0


class GrowableArray:
    """Rows of one shape and type, zero until written, that never move in memory.

    ``rows`` is the (capacity, *row_shape) view; views taken earlier stay valid and see the same memory.
    """

    def __init__(self, capacity: int, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        kind = np.dtype(dtype)
        width = int(np.prod(row_shape, dtype=np.int64))  # 0 for a table of no columns, which still counts its rows
        reserved, rows = _reserve(max(kind.itemsize * width, 1), MAX_ROWS, capacity)
        self._reserved, self._row_bytes = reserved, kind.itemsize * width
        self._all: NDArray[Any] = np.frombuffer(reserved, kind, count=rows * width).reshape(rows, *row_shape)
        self.rows = self._all[:0]
        self.grow(capacity)

    @property
    def capacity(self) -> int:
        """Rows that may be used."""
        return len(self.rows)

    def grow(self, capacity: int) -> None:
        """Raise the capacity; old rows keep their bits and their place. ``ValueError`` beyond what was reserved."""
        if capacity > len(self._all):
            raise ValueError(f"a table can have {len(self._all)} rows, not {capacity}")
        if capacity > self.capacity:
            self.rows = self._all[:capacity]
            if capacity * self._row_bytes >= LARGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
                with suppress(OSError):  # a kernel without large pages
                    self._reserved.madvise(mmap.MADV_HUGEPAGE, 0, capacity * self._row_bytes)


def _reserve(row_bytes: int, rows: int, least_rows: int) -> tuple[mmap.mmap, int]:
    """Reserve addresses for as many rows as the system allows (a limit on address space may forbid the most)."""
    while True:
        try:
            return mmap.mmap(-1, row_bytes * rows, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE), rows
        except OSError:
            if rows // 4 < max(least_rows, 1):
                raise
            rows //= 4


def grown_capacity(capacity: int, needed: int) -> int:
    """Return the capacity after one growth: 10 % more, or as much as is needed."""
    return max(capacity + capacity // 10, needed)
