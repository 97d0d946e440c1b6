from pathlib import Path

import pytest

from stores.file_lease import FileLease
from stores.ports import LeaseHeld, StoreUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.lease"


def test_every_lease_has_a_greater_epoch(path):
    lease = FileLease(path)
    epochs = []
    for _ in range(3):
        epochs.append(lease.acquire("me", above=0))
        lease.release()
        lease.release()
    assert epochs == [1, 2, 3]
    assert FileLease(path).acquire("me", above=40) == 41


def test_the_holder_is_named(path):
    holder = FileLease(path)
    holder.acquire("trainer-7 on this host", above=0)
    for lease in (FileLease(path), holder):
        with pytest.raises(LeaseHeld, match="trainer-7 on this host"):
            lease.acquire("other", above=0)
    holder.release()


def test_a_lease_that_was_refused_costs_no_epoch(path):
    holder, other = FileLease(path), FileLease(path)
    holder.acquire("holder", above=0)
    with pytest.raises(LeaseHeld):
        other.acquire("other", above=0)
    holder.release()
    assert other.acquire("other", above=0) == 2
    other.release()


@pytest.mark.parametrize("content", [b"nonsense", b"12", b"x" * 600])
def test_a_damaged_lease_is_not_guessed_at(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="does not hold an epoch"):
        FileLease(path).acquire("me", above=0)


def test_a_place_that_cannot_be_opened_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable):
        FileLease(tmp_path / "no folder" / "users.lease").acquire("me", above=0)
