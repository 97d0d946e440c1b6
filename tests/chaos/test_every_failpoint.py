"""A trainer killed at any failpoint and started again ends in the same state, bit by bit, as one never killed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from incremental_training.failpoints import FAILPOINTS
from stores.publication import nothing_fails
from tests.chaos.crash_world import CrashAfter, CrashWorld, some_events

EVENTS, ITEMS = 300, 30


def _world(folder: Path) -> CrashWorld:
    world = CrashWorld(folder)
    world.append(some_events(EVENTS, seed=1), ITEMS)
    return world


@pytest.fixture(scope="module")
def uncrashed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    world = _world(tmp_path_factory.mktemp("uncrashed"))
    assert world.run(nothing_fails)
    contents = world.contents()
    # Otherwise this would compare little with little.
    counters = contents["records"]["intake"]["counters"]
    assert all(counters[name] for name in counters if name not in ("late", "future")), counters
    assert contents["records"]["learner"]["item_growths"] == 0
    assert contents["records"]["evaluator"]["scored"] > 10
    # What nobody has had is found by its content; what was deleted is not found, whoever had it.
    found = set(contents["index"]["items"])
    assert "intake.teachers_rows" in contents["tensors"] and {"new0", "new5", "i2"} <= found
    assert (
        found.isdisjoint({"i1", "i29", "new1", "new2", "new3", "new4"})
        and "i1" in contents["records"]["learner"]["item_ids"]
    )
    assert contents["records"]["deleted_items"] == ["i1", "i29", "never", "new1"]
    assert {"new0", "new2"} <= {item_id for item_id, _ in contents["popular"]["new"]}
    assert not any(
        "i1" in dict(entries) for entries in [*contents["popular"].values(), *contents["neighbours"].values()]
    )
    assert "" in contents["records"]["learner"]["user_ids"]
    assert all(contents["popular"].values()) and contents["recent_users"]
    return contents


def _assert_same(contents: dict[str, Any], expected: dict[str, Any]) -> None:
    for part in expected:
        if isinstance(expected[part], dict):
            different = [name for name in expected[part] if contents[part].get(name) != expected[part][name]]
            assert not different, (part, different)
        assert contents[part] == expected[part], part


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_at_a_failpoint(point: str, count: int, uncrashed: dict[str, Any], tmp_path: Path) -> None:
    world = _world(tmp_path)
    reached = not world.run(CrashAfter(point, count))
    assert reached or count > 1, f"failpoint {point} is never reached"
    assert world.run(nothing_fails)
    _assert_same(world.contents(), uncrashed)


@pytest.mark.parametrize("seed", range(10))
def test_killed_again_and_again(seed: int, uncrashed: dict[str, Any], tmp_path: Path) -> None:
    chance = random.Random(seed)
    world = _world(tmp_path)
    for _ in range(100):
        if world.run(CrashAfter(chance.choice(FAILPOINTS), chance.randint(1, 8)), chance.choice([1, 7, 40, 1000])):
            break
    else:
        assert world.run(nothing_fails)
    _assert_same(world.contents(), uncrashed)


def test_killed_while_events_still_come(uncrashed: dict[str, Any], tmp_path: Path) -> None:
    world = CrashWorld(tmp_path)
    events = some_events(EVENTS, seed=1)
    chance = random.Random(3)
    start = 0
    while start < EVENTS:
        stop = start + chance.randint(1, 60)
        world.append(events[start:stop], ITEMS if start == 0 else 0)
        world.run(CrashAfter(chance.choice(FAILPOINTS), chance.randint(1, 8)))
        start = stop
    assert world.run(nothing_fails)
    _assert_same(world.contents(), uncrashed)


def test_lost_stores_are_filled_again_by_republishing(uncrashed: dict[str, Any], tmp_path: Path) -> None:
    world = _world(tmp_path)
    assert world.run(nothing_fails)
    for lost in (*tmp_path.glob("users*"), *tmp_path.glob("items*")):
        lost.unlink()
    assert world.run(nothing_fails, republish=True)
    _assert_same(world.contents(), uncrashed)
