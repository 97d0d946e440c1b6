"""The program: what it leaves behind, and what it refuses."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from initial_training.__main__ import main
from models.learner import Learner
from models.model_settings import ModelSettings
from models.settings import load
from models.snapshot import SnapshotStore, part_of
from stores.adapters import open_event_log, open_item_reader, open_user_reader, open_user_writer
from stores.ports import ITEMS


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("events", "users", "items"):
        monkeypatch.setenv(f"{name.upper()}_URL", f"sqlite:///{tmp_path}/{name}.db")
    # Port 9 is "discard": nobody listens, so the index is a server that has not been started yet.
    monkeypatch.setenv("INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SNAPSHOT_DIR", str(tmp_path / "snapshots"))
    monkeypatch.setenv("MODEL_DIMENSION", "8")
    monkeypatch.setenv("MODEL_NEGATIVES", "8")
    return tmp_path


def write_log(path, world, *, times=True):
    lines = ["user,item,time,title" if times else "user,item,title"]
    for number, positive in enumerate(world):
        time = f"{1_500_000_000 + 60 * number}," if times else ""
        lines.append(f"{positive.user_id},{positive.item_id},{time}Title of {positive.item_id}")
    path.write_text("\n".join(lines))
    return path


COLUMNS = "user=user,item=item,time=time,title=title"


def restored() -> Learner:
    settings = load(ModelSettings, os.environ)
    state = SnapshotStore(snapshots()).load_newest(settings.fingerprint())
    assert state is not None and state.offsets == {}
    return Learner.from_state(settings, part_of(state.tensors, "learner"), state.records["learner"])


def snapshots() -> Path:
    return Path(os.environ["SNAPSHOT_DIR"])


def test_it_leaves_a_snapshot_a_curve_and_full_stores(places, world, capsys):
    log = write_log(places / "log.csv", world)
    assert main(["--data", str(log), "--columns", COLUMNS, "--until", "0.5"]) == 0
    learner = restored()
    assert learner.events_learned == len(world.split(0.5)[0])
    root = snapshots()
    assert (root / "learning_curve-000001.csv").exists() and (root / "learning_curve-000001.png").exists()

    async def look():
        users, items = open_user_reader(os.environ["USERS_URL"]), open_item_reader(os.environ["ITEMS_URL"])
        user_id = learner.users.id(0)
        document = (await users.get_many([user_id]))[user_id].document
        assert document is not None
        np.testing.assert_array_equal(document.embedding, learner.user_embedding(0))
        assert document.seen == [learner.items.id(item) for item in learner.seen(0).tolist()]
        assert (await items.get_many(["i3"]))["i3"].title == "Title of i3"
        popular = await items.popular("popular", 10)
        assert len(popular) == 10 and popular == sorted(popular, key=lambda entry: -entry[1])
        assert await items.neighbours([popular[0][0]])
        await users.close()
        await items.close()

    asyncio.run(look())
    events = open_event_log(os.environ["EVENTS_URL"])
    assert sum(events.end_offsets(ITEMS).values()) == 80
    events.close()
    assert "published" in capsys.readouterr().err


def test_what_is_no_positive_is_remembered_as_seen_and_a_rejection_as_hidden(places, world, monkeypatch):
    log = places / "log.csv"
    kinds = ["view", "buy", "hide"]
    rows = [f"{p.user_id},{p.item_id},{number},{kinds[number % 3]}" for number, p in enumerate(world)]
    log.write_text("\n".join(["user,item,time,type", *rows]))
    monkeypatch.setenv("POSITIVE_EVENTS", "buy:1.0")
    assert main(["--data", str(log), "--columns", "user=user,item=item,time=time,type=type"]) == 0
    learner = restored()
    for number, positive in enumerate(world):
        user, item = learner.users.row(positive.user_id), learner.items.row(positive.item_id)
        assert learner.has_seen(user, item)
        assert (item in learner.hidden(user)) == (kinds[number % 3] == "hide")
    assert learner.events_learned == sum(number % 3 == 1 for number in range(len(world)))


def test_training_anew_begins_a_new_generation_under_a_higher_epoch(places, world):
    log = write_log(places / "log.csv", world.split(0.2)[0])
    for generation in (1, 2):
        assert main(["--data", str(log), "--columns", COLUMNS]) == 0
        store = SnapshotStore(snapshots())
        assert store.generation == generation
    assert store.load_newest().epoch > SnapshotStore(snapshots(), 1).load_newest().epoch


def test_data_without_times_trains_a_batch_model_and_says_so(places, world, capsys):
    log = write_log(places / "log.csv", world, times=False)
    columns = COLUMNS.replace("time=time,", "")
    assert main(["--data", str(log), "--columns", columns]) == 0
    assert "no time" in capsys.readouterr().err
    learner = restored()
    assert np.abs(learner.user_table.weights[:40]).max() > 0
    assert not learner.context_table.weights.any()
    with pytest.raises(SystemExit) as refused:
        main(["--data", str(log), "--columns", columns, "--until", "0.5"])
    assert refused.value.code == 2


def test_a_dry_run_leaves_nothing(places, world, capsys):
    log = write_log(places / "log.csv", world)
    before = sorted(places.rglob("*"))
    assert main(["--data", str(log), "--columns", COLUMNS, "--dry-run"]) == 0
    assert sorted(places.rglob("*")) == before
    assert "dry run" in capsys.readouterr().err


def test_divergence_ends_with_code_1_and_no_snapshot(places, world, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_LEARNING_RATE", "1e38")
    log = write_log(places / "log.csv", world)
    assert main(["--data", str(log), "--columns", COLUMNS]) == 1
    assert "diverged" in capsys.readouterr().err
    assert not list(snapshots().rglob("*"))


def test_it_refuses_to_train_under_a_living_trainer(places, world, capsys):
    log = write_log(places / "log.csv", world)
    trainer = open_user_writer(os.environ["USERS_URL"])
    trainer.acquire_lease("a trainer")
    assert main(["--data", str(log), "--columns", COLUMNS]) == 3
    trainer.close()
    assert "stop the trainer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "nowhere.csv"],
        ["--data", "{log}", "--columns", "user=user"],
        ["--data", "{log}", "--columns", COLUMNS, "--until", "1.5"],
        ["--data", "{log}", "--columns", COLUMNS, "--device", "abacus"],
        ["--data", "{log}", "--columns", COLUMNS + ",type_name=dislike"],
    ],
)
def test_what_it_cannot_use_ends_with_code_2(places, world, arguments):
    log = write_log(places / "log.csv", world)
    with pytest.raises(SystemExit) as refused:
        main([argument.format(log=log) for argument in arguments])
    assert refused.value.code == 2
