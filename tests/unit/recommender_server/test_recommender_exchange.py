"""Everything out and in again: nothing is lost, and the model learned from imported events is the same bit by bit."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from recommender_fakes import ExactIndex, RunningClock, World, in_loop, serving

from models.snapshot import SnapshotStore
from stores.adapters import open_async_event_log, open_item_reader, open_user_reader
from stores.ports import USER_EVENTS, Entry
from stores.publication import nothing_fails
from tests.chaos.crash_world import MODEL, CrashWorld, some_events

NDJSON = {"Content-Type": "application/x-ndjson"}


class Deployed(World):
    """A world whose log and stores are those of a trainer's world."""

    def __init__(self, trained: CrashWorld) -> None:
        super().__init__(items=0)
        self.log = open_async_event_log(trained.settings.events_url, timeout_s=10.0)  # type: ignore[assignment]
        self.users = open_user_reader(trained.settings.users_url, timeout_s=10.0)  # type: ignore[assignment]
        self.items = open_item_reader(trained.settings.items_url, timeout_s=10.0)  # type: ignore[assignment]
        self.index = ExactIndex()


def _export(world: CrashWorld) -> dict[str, str]:
    async def export() -> dict[str, str]:
        async with serving(Deployed(world), RunningClock(), **_PATIENT) as client:
            return {
                kind: (await client.simulate_get(f"/v1/export/{kind}")).text for kind in ("items", "users", "events")
            }

    return asyncio.run(export())


def _import(world: CrashWorld, **bodies: str) -> dict[str, Any]:
    async def take() -> dict[str, Any]:
        async with serving(Deployed(world), RunningClock(), max_batch=70, **_PATIENT) as client:
            answers = {}
            for kind, body in bodies.items():
                answer = await client.simulate_post(f"/v1/import/{kind}", body=body, headers=NDJSON)
                answers[kind] = json.loads(answer.text.splitlines()[-1])
            return answers

    return asyncio.run(take())


_PATIENT = {"item_budget_ms": 5_000.0, "user_budget_ms": 5_000.0, "log_budget_ms": 5_000.0, "deadline_ms": 20_000.0}


def _learned(world: CrashWorld) -> dict[str, Any]:
    snapshot = SnapshotStore(Path(world.settings.snapshot_dir)).load_newest(MODEL.fingerprint())
    assert snapshot is not None
    tensors = {name: array.tobytes() for name, array in snapshot.tensors.items() if name.startswith("learner.")}
    return tensors | {"ids": snapshot.records["learner"]["user_ids"], "windows": snapshot.records["intake"]["windows"]}


def test_a_round_trip_of_events_and_items_leads_to_the_same_model(tmp_path: Path):
    first, second = CrashWorld(tmp_path / "first"), CrashWorld(tmp_path / "second")
    first.folder.mkdir()
    second.folder.mkdir()
    foreign = {"user_id": "u1", "item_id": "i1", "type": "view", "ontology": {"a": [1, None]}, "timestamp": 1.7e9}
    first.append([*some_events(300, seed=4), Entry("u1", json.dumps(foreign).encode())], items=40)
    assert first.run(nothing_fails)
    out = _export(first)
    assert len(out["events"].splitlines()) > 290
    summaries = _import(second, items=out["items"], events=out["events"])
    for kind, summary in summaries.items():
        assert (summary["accepted"], summary["complete"]) == (len(out[kind].splitlines()), True)
    assert second.run(nothing_fails)
    assert _learned(second) == _learned(first)
    again = _export(second)
    assert again["items"] == out["items"]
    assert again["users"] == out["users"]
    assert again["events"] == out["events"]


def test_a_round_trip_of_histories_keeps_what_was_seen_liked_and_hidden(tmp_path: Path):
    first, second = CrashWorld(tmp_path / "first"), CrashWorld(tmp_path / "second")
    first.folder.mkdir()
    second.folder.mkdir()
    first.append(some_events(300, seed=4), items=10)
    assert first.run(nothing_fails)
    users = _export(first)["users"]
    assert '"hidden":["' in users
    for _ in range(2):  # importing can be repeated
        assert _import(second, users=users)["users"]["rejected"] == 0
    assert second.run(nothing_fails)
    assert _export(second)["users"] == users


@in_loop
async def test_events_keep_the_name_and_the_time_they_were_learned_under():
    world = World()
    world.log.topics[USER_EVENTS] = [
        Entry("u", b'{"user_id": "u", "item_id": "i", "type": "like", "event_id": null}'),
        Entry("u", b"rubbish"),
        Entry("u", b"[1]"),
        Entry("u", b'{"uuid": "u", "event_id": "e", "timestamp": 5}'),
    ]
    async with serving(world) as client:
        lines = [json.loads(x) for x in (await client.simulate_get("/v1/export/events")).text.splitlines()]
    assert lines == [
        {"user_id": "u", "item_id": "i", "type": "like", "event_id": "user_events:0:0", "timestamp": 1e9},
        {"uuid": "u", "event_id": "e", "timestamp": 5},
    ]


@in_loop
async def test_bad_lines_are_told_and_their_neighbours_taken():
    world = World()
    good = {"user_id": "new", "recent": ["i001"], "seen": ["i000", "i001"], "hidden": []}
    bad = [{"user_id": ""}, {"user_id": "x", "seen": "i"}, {"user_id": "x", "vector": [1]}, [], {"recent": []}]
    bad += [{"user_id": "x", "seen": [""]}]
    body = "\n".join(map(json.dumps, [*bad, good]))
    async with serving(world) as client:
        answer = await client.simulate_post("/v1/import/users", body=body, headers=NDJSON)
        *results, summary = map(json.loads, answer.text.splitlines())
        assert [result["status"] for result in results] == ["rejected"] * len(bad) + ["accepted"]
        assert summary["complete"]
        events = [json.loads(entry.value) for entry in world.log.topics[USER_EVENTS]]
        assert [(event["type"], event["item_id"]) for event in events] == [
            ("imported", "i000"), ("imported", "i001"), ("buy", "i001"),
        ]  # fmt: skip
        event = {"user_id": "new", "type": "forget", "timestamp": 1.0}
        answer = await client.simulate_post("/v1/import/events", body=json.dumps(event), headers=NDJSON)
        assert json.loads(answer.text.splitlines()[-1])["accepted"] == 1
        assert (await client.simulate_get("/v1/users/new/history")).json["items"] == []


@in_loop
async def test_an_export_that_cannot_go_on_breaks_off():
    world = World()
    world.items.answers_left = 0
    async with serving(world, breaker_failures=100) as client:
        broken = False
        try:
            await client.simulate_get("/v1/export/items")
        except Exception:  # the server closes the connection; the test client lets the cause through
            broken = True
    assert broken
