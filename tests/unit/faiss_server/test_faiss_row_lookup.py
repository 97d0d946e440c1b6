from __future__ import annotations

import numpy as np
import pytest

from faiss_server.row_lookup import RowLookup


@pytest.mark.parametrize("at_once", [1, 7, 1000, 5000])
def test_every_id_leads_to_its_row_and_others_to_none(at_once):
    ids = [f"item-{row}" for row in range(5000)]
    lookup = RowLookup()
    for start in range(0, len(ids), at_once):
        part = ids[start : start + at_once]
        lookup.add(part, np.arange(start, start + len(part)))
        assert lookup.rows(ids[: start + 3]).tolist() == list(range(min(start + 3, start + len(part))))
    chosen = np.random.default_rng(0).integers(0, 5000, 300)
    asked = [name for row in chosen.tolist() for name in (ids[row], f"other-{row}", "")]
    assert lookup.rows(asked).tolist() == chosen.tolist()
    assert lookup.rows([]).tolist() == RowLookup().rows(ids).tolist() == []


def test_ids_that_meet_at_one_place_stand_beside_one_another():
    class SameHash(str):
        def __hash__(self) -> int:
            return int(self) << 40

        def __eq__(self, other: object) -> bool:
            return str(self) == str(other)

    ids = [SameHash(n) for n in range(20)]  # one first place for all
    lookup = RowLookup()
    lookup.add(ids[:15], np.arange(15))
    lookup.add(ids[15:], np.arange(15, 20))
    assert lookup.rows(ids[::-1]).tolist() == list(range(20))[::-1]
