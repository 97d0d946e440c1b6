"""What a trainer of many users left behind when it was stopped: its snapshot, and the stores beside it.

A small world is learned for real, by the trainer's own intake; then every array of its state is repeated until it is
as large as asked for, and written by the snapshot's own writer. So all that a state holds is there, whatever is added
to it, and a million users take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.search_worlds import simulated
from incremental_training.intake import Intake
from incremental_training.settings import TrainerSettings
from models.evaluation import PrequentialEvaluator
from models.items import Item, encode_item
from models.learner import Learner
from models.model_settings import ModelSettings
from models.settings import load
from models.snapshot import SnapshotState, SnapshotStore, flatten
from stores.adapters import open_event_log, open_item_writer, open_user_writer
from stores.outbox import Outbox
from stores.ports import ITEMS, USER_EVENTS, Entry, Record, UserDocument, version_of

BASE_ITEMS, BASE_SESSIONS, SESSIONS_PER_USER = 2_000, 3_000, 2
APPENDED_AT_ONCE, WRITTEN_USERS = 5_000, 1_000
# What an item of a shop is described by: some hundred bytes.
TEXT = "Sturdy, well made and much liked by those who have it; comes in a box with everything that it needs. " * 2

Arrays = Mapping[str, NDArray[Any]]


def write_world(env: Mapping[str, str], users: int, items: int) -> None:
    """Write a snapshot of so many users and items, topic ``items`` and the item store, where ``env`` says they are."""
    settings = load(TrainerSettings, env)
    _write_items(settings, items)
    model = load(ModelSettings, env)
    learner = Learner(model)
    intake = _learned(learner, settings)
    parts = {"learner": learner.state(), "intake": intake.state(), "evaluator": intake.evaluator.state()}
    learned, facts = parts["learner"]
    lengths = _lengths(learned, len(learner.users), len(learner.items), users, items)
    facts |= {
        "user_ids": [f"user-{row}" for row in range(users)],
        "item_ids": [f"item-{row}" for row in range(items)],
        "user_capacity": max(users, facts["user_capacity"]),
        "item_capacity": max(items, facts["item_capacity"]),
    }
    larger = {
        part: {name: _repeated(array, lengths) for name, array in arrays.items()} for part, (arrays, _) in parts.items()
    }
    state = SnapshotState(
        epoch=1,
        seq=1,
        fingerprint=model.fingerprint(),
        offsets={f"{ITEMS}:0": items},
        tensors=flatten(larger),
        records={part: facts for part, (_, facts) in parts.items()} | {"outbox": Outbox().record()},
    )
    SnapshotStore(Path(settings.snapshot_dir)).write(state)
    _write_users(settings, state.tensors)


def _write_users(settings: TrainerSettings, tensors: Arrays) -> None:
    """Write the documents of the first users: enough to answer some."""
    store = open_user_writer(settings.users_url)
    epoch = store.acquire_lease("benchmark")
    embeddings, rings = tensors["learner.user_embeddings"], tensors["learner.recent_rings"]
    documents = []
    for row in range(WRITTEN_USERS):
        recent = [f"item-{item}" for item in rings[row, :10].tolist()]
        documents.append(
            UserDocument(f"user-{row}", embeddings[row], recent, recent, [], {}, version=version_of(epoch, 1))
        )
    store.upsert(documents)
    store.close()


def _learned(learner: Learner, settings: TrainerSettings) -> Intake:
    intake = Intake(
        learner,
        PrequentialEvaluator(learner),
        settings.decoder(),
        evaluate_every=50,
        dedup_window=settings.dedup_window,
        bad_window=settings.bad_events_window,
        bad_share=settings.bad_events_share,
    )
    records = []
    for offset, (user_id, item_id, *_) in enumerate(simulated(BASE_ITEMS, BASE_SESSIONS, SESSIONS_PER_USER)):
        at_s = 1.7e9 + offset
        value = msgspec.json.encode({"user_id": user_id, "item_id": item_id, "type": "like", "timestamp": at_s})
        records.append(Record(USER_EVENTS, 0, offset, key=user_id, value=value, arrival_s=at_s))
    assert not intake.take(records)
    return intake


def _lengths(arrays: Arrays, users: int, items: int, more_users: int, more_items: int) -> dict[int, int]:
    """Return how long each array is to be, by how long it is: one entry per user, item, consumed pair and edge."""
    pairs, edges = int(arrays["seen_sizes"].sum()), int(arrays["transition_degrees"].sum())
    consumed = int(_to_length(arrays["seen_sizes"], more_users).sum())
    linked = int(_to_length(arrays["transition_degrees"], more_items).sum())
    lengths = {users: more_users, items: more_items, pairs: consumed, edges: linked}
    assert len(lengths) == 4, "a small world in which users, items, pairs and edges are equally many"
    return lengths


def _repeated(array: NDArray[Any], lengths: Mapping[int, int]) -> NDArray[Any]:
    length = lengths.get(len(array)) if array.ndim else None
    return array if length is None else _to_length(array, length)


def _to_length(array: NDArray[Any], length: int) -> NDArray[Any]:
    return np.resize(array, (length, *array.shape[1:]))


def _write_items(settings: TrainerSettings, items: int) -> None:
    log, store = open_event_log(settings.events_url), open_item_writer(settings.items_url)
    records = [
        Item(
            f"item-{row}", title=f"Item number {row}", category=f"Category {row % 40}", price=1.0 + row % 90, text=TEXT
        )
        for row in range(items)
    ]
    for start in range(0, items, APPENDED_AT_ONCE):
        part = records[start : start + APPENDED_AT_ONCE]
        log.append(ITEMS, [Entry(item.item_id, encode_item(item)) for item in part])
        store.put_many(part)
    log.close()
    store.close()
