from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.start_world import write_world
from demo import processes
from demo.stack import stores_of
from incremental_training.recovery import _restore
from incremental_training.settings import TrainerSettings
from models.model_settings import ModelSettings
from models.settings import load
from models.snapshot import SnapshotStore

USERS, ITEMS = 4000, 3000


def test_a_trainer_goes_on_from_the_snapshot_written(tmp_path: Path):
    env = processes.environment(tmp_path, {}, stores_of("embedded", tmp_path))
    write_world(env, USERS, ITEMS)
    snapshot = SnapshotStore(tmp_path / "snapshots").load_newest(ModelSettings().fingerprint())
    assert snapshot is not None
    learner, intake = _restore(snapshot, load(TrainerSettings, env), ModelSettings())
    assert (len(learner.users), len(learner.items)) == (USERS, ITEMS)
    last_user, last_item = USERS - 1, ITEMS - 1
    assert len(learner.seen(last_user)) >= learner.positives_of(last_user) > 0
    assert intake.as_of(last_user)
    assert len(learner.neighbours(last_item)[0]) > 0
    # And learns.
    before = learner.user_embedding(last_user)
    learner.learn([last_user], [last_item], [1.0], [1], [ITEMS])
    assert not np.array_equal(learner.user_embedding(last_user), before)
