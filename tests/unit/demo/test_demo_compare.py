from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo import compare
from models.snapshot import SnapshotState, SnapshotStore


def write(demo: Path, *, seq: int = 1, **changes: Any) -> Path:
    state = SnapshotState(
        epoch=1,
        seq=seq,
        fingerprint="f",
        offsets={},
        tensors={
            "learner.head": changes.get("head", np.ones(3, np.float32)),
            "evaluator.window": changes.get("window", np.zeros(2)),
        },
        records={"learner": {"item_ids": changes.get("item_ids", ["a", "b"])}, "outbox": changes.get("outbox", {})},
    )
    SnapshotStore(demo / "snapshots").write(state)
    return demo


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, compare.SAME),
        ({"window": np.ones(2), "outbox": {"users": [1]}, "seq": 7}, compare.SAME),
        ({"head": np.array([1, 1, np.nextafter(np.float32(1), np.float32(2))], np.float32)}, compare.DIFFERENT),
        ({"head": np.ones((3, 1), np.float32)}, compare.DIFFERENT),
        ({"item_ids": ["b", "a"]}, compare.DIFFERENT),
    ],
)
def test_only_what_was_learned_counts_and_every_bit_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], code: int
) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other", **change)
    monkeypatch.setattr("sys.argv", ["compare", str(one), str(other)])
    assert compare.main() == code
    assert (compare.learner_sha256(one) == compare.learner_sha256(other)) == (code == compare.SAME)


def test_a_run_without_a_snapshot_is_no_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path / "none"), str(write(tmp_path / "one"))])
    assert compare.main() == compare.NOTHING
    assert compare.learner_sha256(tmp_path / "none") is None
