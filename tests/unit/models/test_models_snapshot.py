import numpy as np
import pytest

from models.snapshot import (
    FingerprintMismatch,
    SnapshotState,
    SnapshotStore,
    flatten,
    generations,
    offsets_of,
    part_of,
    positions_of,
)


def state(epoch: int, seq: int, fingerprint: str = "f") -> SnapshotState:
    tensors = {
        "a": np.arange(seq, dtype=np.float32),
        "b": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    }
    return SnapshotState(epoch, seq, fingerprint, {"user_events:0": seq}, tensors, {"ids": ["x", "é"], "n": seq})


def assert_same(found: SnapshotState | None, expected: SnapshotState) -> None:
    assert found is not None
    assert (found.epoch, found.seq, found.offsets, found.records) == (
        expected.epoch,
        expected.seq,
        expected.offsets,
        expected.records,
    )
    assert found.tensors.keys() == expected.tensors.keys()
    for name, array in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], array)
        assert found.tensors[name].dtype == array.dtype


def test_what_is_written_is_read(tmp_path):
    store = SnapshotStore(tmp_path)
    assert store.load_newest() is None
    store.write(state(1, 5))
    assert_same(SnapshotStore(tmp_path).load_newest("f"), state(1, 5))


def test_the_newest_is_by_epoch_then_seq_and_three_are_kept(tmp_path):
    store = SnapshotStore(tmp_path)
    for epoch, seq in ((2, 1), (1, 900), (1, 7), (2, 0), (1, 8)):
        store.write(state(epoch, seq))
    assert_same(store.load_newest(), state(2, 1))
    manifests = sorted(path.name for path in store.directory.glob("*.manifest.json"))
    assert [name[:21] for name in manifests] == [
        "00000001-000000000900",
        "00000002-000000000000",
        "00000002-000000000001",
    ]
    assert len(list(store.directory.iterdir())) == 9


def test_an_adopted_snapshot_is_the_newest_of_the_new_epoch_and_outlives_the_old_name(tmp_path):
    store = SnapshotStore(tmp_path)
    store.write(state(1, 5))
    store.adopt(4)
    # A trainer of the old epoch that still writes can no longer be the newest.
    for seq in (6, 7, 8, 9):
        store.write(state(1, seq))
    found = store.load_newest()
    assert found is not None
    assert (found.epoch, found.seq, found.records["n"]) == (4, 5, 5)


@pytest.mark.parametrize("suffix", [".tensors.safetensors", ".records.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_a_damaged_one_is_passed_over(tmp_path, suffix, damage, caplog):
    store = SnapshotStore(tmp_path)
    store.write(state(1, 5))
    store.write(state(1, 6))
    [path] = store.directory.glob(f"*000006{suffix}")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    assert_same(store.load_newest(), state(1, 5))
    assert "passing over" in caplog.text


@pytest.mark.parametrize("text", [b"", b"{", b'{"format": 99}', b"\xff"])
def test_a_manifest_that_is_none_is_passed_over(tmp_path, text):
    store = SnapshotStore(tmp_path)
    store.write(state(1, 5))
    (store.directory / "00000009-000000000001.manifest.json").write_bytes(text)
    assert_same(store.load_newest(), state(1, 5))


def test_what_a_crash_left_behind_is_no_snapshot_and_goes_with_the_next(tmp_path):
    store = SnapshotStore(tmp_path)
    store.write(state(1, 5))
    (store.directory / "00000001-000000000006.tensors.safetensors.tmp").write_bytes(b"half")
    (store.directory / "00000001-000000000006.tensors.safetensors").write_bytes(b"whole, but no manifest")
    assert_same(store.load_newest(), state(1, 5))
    store.write(state(1, 7))
    assert not list(store.directory.glob("*000006*"))


def test_other_settings_are_refused(tmp_path):
    store = SnapshotStore(tmp_path)
    store.write(state(1, 5, "these"))
    with pytest.raises(FingerprintMismatch, match="those"):
        store.load_newest("those")


def test_the_newest_generation_is_taken_unless_one_is_named(tmp_path):
    SnapshotStore(tmp_path, 1).write(state(1, 5))
    SnapshotStore(tmp_path, 2).write(state(2, 6))
    assert generations(tmp_path) == [1, 2]
    assert_same(SnapshotStore(tmp_path).load_newest(), state(2, 6))
    assert_same(SnapshotStore(tmp_path, 1).load_newest(), state(1, 5))


def test_names_go_there_and_back():
    positions = {("user_events", 0): 5, ("a:b", 11): 0}
    assert positions_of(offsets_of(positions.items())) == positions
    arrays = {"learner": {"x": np.ones(1)}, "intake": {"x": np.zeros(2)}}
    flat = flatten(arrays)
    assert part_of(flat, "intake")["x"].tolist() == [0, 0]
    assert part_of(flat, "learner").keys() == {"x"}
