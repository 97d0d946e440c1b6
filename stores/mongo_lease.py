"""The lease of the one trainer in MongoDB, and the fence that keeps out whoever held it before.

Collection ``trainers`` has one document per epoch, the greatest epoch counts: ``{_id: epoch, owner, held, beats}``.
Who inserts the next epoch has the lease: of two that try at once, ``_id`` lets one through, on every server. The holder
counts ``beats`` up from a thread of his own. A killed one's stop, so whoever wants the lease watches them for
``LEASE_S`` by his own clock; nobody's wall clock matters.

A holder that only paused, or was cut off, for so long comes back to find a greater epoch: every write of his asks for
it first. Between that question and his write a new trainer may still begin; then the versions of the documents decide,
and what he wrote into those that the new one has not written yet is written again: the new one replays all of it.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec
from pymongo.errors import DuplicateKeyError

from stores.mongo_connection import Connection
from stores.ports import LeaseHeld, StaleEpoch, StoreUnavailable

BEAT_S = 0.5
# So long after the last beat a holder counts as dead: a trainer can start again about 3 s after it was killed.
LEASE_S = 3.0

_TRAINERS = "trainers"


class _Trainer(msgspec.Struct, frozen=True):
    """What is stored for an epoch. ``held``: whether somebody has the lease, or had it when he was killed."""

    epoch: int = msgspec.field(name="_id")
    owner: str
    held: bool
    beats: int


class MongoLease:
    """The lease as one process sees it; threads do not share it."""

    def __init__(self, connection: Connection, *, lease_s: float = LEASE_S) -> None:
        self._connection = connection
        self._lease_s = lease_s
        self._owner = ""
        self._epoch: int | None = None
        self._ending = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self, owner: str) -> int:
        """Return a new epoch, greater than any before; waits up to ``lease_s`` for signs of life of a holder.

        Raises ``LeaseHeld``, ``StoreUnavailable``.
        """
        newest = self._newest()
        if newest is not None and newest.held:
            newest = self._outlive(newest)
        epoch = newest.epoch + 1 if newest else 1
        if not self._insert(_Trainer(epoch, owner, held=True, beats=0)):
            raise LeaseHeld("another trainer was faster")
        self._owner, self._epoch = owner, epoch
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()
        return epoch

    def fence(self, epoch: int) -> bool:
        """Refuse an epoch older than the store has seen, and remember a newer one.

        Returns whether the epoch is new here. Raises ``StaleEpoch``, ``StoreUnavailable``.
        """
        newest = self._newest()
        seen = newest.epoch if newest else 0
        if epoch == seen:
            return False
        # A holder whose snapshots remember a greater epoch than an emptied store takes his lease along.
        if epoch < seen or not self._insert(_Trainer(epoch, self._owner, held=self._epoch is not None, beats=0)):
            raise StaleEpoch(f"epoch {epoch} is older than {seen}, which this store has seen")
        if self._epoch is not None:
            self._epoch = epoch
        return True

    def release(self) -> None:
        """Let another trainer have it at once. Safe to repeat."""
        if self._beating is None:
            return
        self._ending.set()
        self._beating.join()
        self._beating = None
        # Unreleased, it runs out.
        with suppress(StoreUnavailable), self._connection.collection(_TRAINERS) as trainers:
            trainers.update_one({"_id": self._epoch}, {"$set": {"held": False}})

    def _newest(self) -> _Trainer | None:
        with self._connection.collection(_TRAINERS) as trainers:
            newest = next(trainers.find(sort=[("_id", -1)], limit=1), None)
        return msgspec.convert(newest, _Trainer) if newest else None

    def _insert(self, trainer: _Trainer) -> bool:
        """Begin an epoch and say whether it is the greatest; older ones are removed."""
        with self._connection.collection(_TRAINERS) as trainers:
            try:
                trainers.insert_one(msgspec.to_builtins(trainer))
            except DuplicateKeyError:
                return False
            newest = self._newest()
            # Two ahead of us: the epoch we inserted may have come and gone meanwhile.
            if newest is None or newest.epoch > trainer.epoch:
                return False
            trainers.delete_many({"_id": {"$lt": trainer.epoch}})
        return True

    def _outlive(self, holder: _Trainer) -> _Trainer | None:
        """Return what stands once a lease was let go or has run out. Raises ``LeaseHeld`` at a sign of life."""
        pause = threading.Event()
        for _ in range(round(self._lease_s / BEAT_S * 2)):
            pause.wait(BEAT_S / 2)
            newest = self._newest()
            if newest is None or not newest.held:
                return newest
            if newest != holder:
                raise LeaseHeld(f"the lease is held by {newest.owner or 'another trainer'}, epoch {newest.epoch}")
        return holder

    def _beat(self) -> None:
        while not self._ending.wait(BEAT_S):
            epoch = self._epoch
            # The store may be down for a while; whoever wants the lease cannot ask for it then either.
            with suppress(StoreUnavailable), self._connection.collection(_TRAINERS) as trainers:
                lives = trainers.update_one({"_id": epoch}, {"$inc": {"beats": 1}}).matched_count
                if not lives and epoch == self._epoch:
                    return  # taken: the next write is told so
