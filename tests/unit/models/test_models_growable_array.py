import subprocess
import sys

import numpy as np
import pytest

from models.growable_array import LARGE_BYTES, MAX_ROWS, GrowableArray, grown_capacity


def test_rows_are_zero_until_written_and_stay_where_they_are():
    array = GrowableArray(3, (2,), np.float32)
    before = array.rows
    before[:] = [[1, 2], [3, 4], [5, 6]]
    array.grow(5)
    assert array.rows.tolist() == [[1, 2], [3, 4], [5, 6], [0, 0], [0, 0]]
    before[0, 0] = 9
    assert array.rows[0, 0] == 9 and array.rows.flags.c_contiguous
    array.grow(2)
    assert array.capacity == 5


def test_more_rows_than_addresses_were_reserved_for_are_refused():
    with pytest.raises(ValueError, match="rows"):
        GrowableArray(1, (), np.int8).grow(MAX_ROWS + 1)


def test_growing_is_by_ten_percent_or_by_what_is_needed():
    assert grown_capacity(100, 101) == 110
    assert grown_capacity(5, 6) == 6
    assert grown_capacity(100, 500) == 500


def test_under_a_limit_on_addresses_fewer_are_reserved():
    check = """
import resource
import numpy as np
from models.growable_array import GrowableArray
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
arrays = [GrowableArray(1000, (64,), np.float32) for _ in range(3)]
for array in arrays:
    array.grow(100_000)
    array.rows[-1] = 1
"""
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_rows_stay_as_they_are_when_the_array_becomes_a_large_one():
    array = GrowableArray(1000, (64,), np.float32)
    view = array.rows
    view[:] = np.arange(1000)[:, None]
    for capacity in (LARGE_BYTES // 256, LARGE_BYTES // 256 + 1, 3 * LARGE_BYTES // 256 + 7):
        array.grow(capacity)
        assert (array.rows[:1000] == np.arange(1000)[:, None]).all() and not array.rows[1000:].any()
    assert np.shares_memory(view, array.rows)
