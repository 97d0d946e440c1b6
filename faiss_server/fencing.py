"""Which writes the index accepts: the stamps of DESIGN §6."""

from __future__ import annotations

from stores.ports import Gap, StaleEpoch, Stamp


class BadStamp(ValueError):
    """A stamp that no write can have."""


class Fence:
    """Where the index stands in the trainer's sequence of writes.

    A new boot stands nowhere: its first write must be a whole table. So must the first write of a newer epoch, whose
    trainer may have gone back to a snapshot and learned something else since.

    Attributes
    ----------
    epoch, seq
        Where it stands; 0, 0 before the first whole table.
    loaded
        A whole table came in this boot.
    behind
        A write was refused because it came from further on; the whole table is on its way.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.seq = 0
        self.loaded = False
        self.behind = False

    def admits(self, stamp: Stamp) -> bool:
        """Return whether this write is to be done; False: it is done already. Raises ``StaleEpoch`` or ``Gap``."""
        self.refuse_older(stamp)
        if stamp.to_seq <= stamp.from_seq or stamp.from_seq < 0:
            raise BadStamp(f"a write goes forward, not from {stamp.from_seq} to {stamp.to_seq}")
        if self.loaded and stamp.epoch == self.epoch:
            if stamp.from_seq == self.seq:
                return True
            if stamp.to_seq == self.seq:
                return False
        raise self.gap(stamp, "it does not follow")

    def gap(self, stamp: Stamp, why: str) -> Gap:
        """Return the refusal of a write, and remember that the index is behind when it came from further on."""
        if (stamp.epoch, stamp.to_seq) > (self.epoch, self.seq):
            self.behind = True
        return Gap(
            f"the index stands at epoch {self.epoch}, seq {self.seq}; refused the write of epoch {stamp.epoch} "
            f"from {stamp.from_seq} to {stamp.to_seq}: {why}"
        )

    def refuse_older(self, stamp: Stamp) -> None:
        """Raise ``StaleEpoch`` for a write of an older epoch."""
        if stamp.epoch < self.epoch:
            raise StaleEpoch(f"the index has seen epoch {self.epoch}, newer than {stamp.epoch}")

    def advance(self, stamp: Stamp) -> None:
        """Stand where this write, now done, leads to."""
        self.seq = stamp.to_seq
        self.behind = False

    def restart(self, stamp: Stamp) -> None:
        """Stand where this whole table, now loaded, leads to."""
        self.epoch = stamp.epoch
        self.loaded = True
        self.advance(stamp)
