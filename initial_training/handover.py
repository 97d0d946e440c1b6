"""Handing over what was learned: the first snapshot of a generation, then every store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.catalogue import Catalogue
from models.item_content import ItemContent
from models.items import Item, encode_item
from models.learner import Learner
from models.snapshot import SnapshotState, SnapshotStore, flatten, generations
from stores.outbox import Outbox
from stores.ports import (
    ITEMS,
    Clock,
    Entry,
    EventLog,
    ItemWriter,
    Metrics,
    UserWriter,
)
from stores.publication import Publisher

# What the stores have not taken by then, the trainer publishes when it starts: the snapshot's outbox holds it all.
PUBLISH_TIMEOUT_S = 60.0
PAUSE_S = 0.1
ITEMS_AT_ONCE = 1000


@dataclass(frozen=True)
class Stores:
    """Everything outside that is published to."""

    log: EventLog
    users: UserWriter
    items: ItemWriter


def next_generation(root: Path) -> SnapshotStore:
    """Return the store of a generation that does not exist yet."""
    return SnapshotStore(root, max(generations(root), default=0) + 1)


def epoch_above_snapshots(root: Path, epoch: int) -> int:
    """Return an epoch no smaller than this one and above that of any snapshot: a new user store forgets its epochs."""
    previous = SnapshotStore(root).load_newest()
    return epoch if previous is None else max(epoch, previous.epoch + 1)


def write_first_snapshot(snapshots: SnapshotStore, learner: Learner, epoch: int) -> None:
    """Write the snapshot that the trainer starts from: everything in its outbox, no event of the log learned yet."""
    arrays, facts = learner.state()
    # The tables start as large as the history needs; from here on they grow with those who come.
    facts |= {
        "user_capacity": len(learner.users),
        "item_capacity": len(learner.items),
        "user_growths": 0,
        "item_growths": 0,
    }
    snapshots.write(
        SnapshotState(
            epoch=epoch,
            seq=0,
            fingerprint=learner.settings.fingerprint(),
            offsets={},
            tensors=flatten({"learner": arrays}),
            records={"learner": facts, "outbox": Outbox.of_everything(learner).record()},
        )
    )


def publish(
    learner: Learner, catalogue: Mapping[str, Item], stores: Stores, *, epoch: int, clock: Clock, metrics: Metrics
) -> bool:
    """Publish metadata (to topic ``items`` and the item store), users, popular lists and edges.

    Returns whether every store has everything; what is missing is left to the trainer. Safe to repeat, but for the
    records of topic ``items``, of which the last per item counts. Raises ``StoreUnavailable`` for the log and the item
    store, ``StaleEpoch``.
    """
    items = list(catalogue.values())
    for start in range(0, len(items), ITEMS_AT_ONCE):
        part = items[start : start + ITEMS_AT_ONCE]
        stores.log.append(ITEMS, [Entry(item.item_id, encode_item(item)) for item in part])
        stores.items.put_many(part)
    publisher = Publisher(
        learner,
        # Vectors from content are the index's alone, and the trainer's to make.
        ItemContent(Catalogue()),
        Outbox.of_everything(learner),
        users=stores.users,
        items=stores.items,
        # The trainer begins with giving the index the whole table, whenever its server comes up.
        index=None,
        epoch=epoch,
        seq=0,
        as_of=lambda user: {},
        clock=clock,
        metrics=metrics,
    )
    deadline_s = clock.monotonic_s() + PUBLISH_TIMEOUT_S
    publisher.flush({}, dict, idle=True)
    while (publisher.outbox.users or publisher.outbox.edges) and clock.monotonic_s() < deadline_s:
        clock.sleep(PAUSE_S)
        publisher.flush({}, dict, idle=True)
    return not (publisher.outbox.users or publisher.outbox.edges)
