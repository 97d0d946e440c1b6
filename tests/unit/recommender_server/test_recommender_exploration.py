"""The share of places given to new items: small, never in the way of anything, and in turn."""

import random

import numpy as np
import pytest

from models.items import Item
from recommender_server import dependencies
from stores.ports import NEW
from tests.unit.recommender_server.recommender_fakes import DIMENSION, World, in_loop, serving

NEW_IDS = [f"new{n}" for n in range(6)]


def with_new_items(indexed=NEW_IDS) -> World:
    """A world with six new items, the newest first; the index knows those that are ``indexed``."""
    world = World()
    world.items.lists[NEW] = [(item_id, 10.0) for item_id in NEW_IDS]
    world.items.records |= {item_id: Item(item_id, title=f"Title {item_id}", category="d|c") for item_id in NEW_IDS}
    world.index.ids = [*world.index.ids, *indexed]
    grown = np.zeros((len(indexed), DIMENSION + 3), np.float32)
    grown[:, DIMENSION] = -10.0 - np.arange(len(indexed))  # they fit worse and worse, and worse than any other
    world.index.columns = np.vstack([world.index.columns, grown])
    world.index.contexts = np.vstack([world.index.contexts, np.zeros((len(indexed), DIMENSION), np.float32)])
    return world


async def lists(world, count, query="user_id=u1&k=5", share=0.1):
    async with serving(world, exploration_share=share, chance=random.Random(1)) as client:
        answers = [await client.simulate_get(f"/v1/recommendations?{query}") for _ in range(count)]
        assert all(answer.status_code == 200 and not answer.json["degraded"] for answer in answers)
        return [answer.json["items"] for answer in answers]


def new_in(answers):
    return [[item["item_id"] for item in items if item["source"] == "new"] for items in answers]


@in_loop
async def test_a_share_of_places_goes_to_new_items_in_last_place_and_in_turn():
    world = with_new_items()
    answers = await lists(world, 60)
    shown = new_in(answers)
    assert 20 <= sum(map(len, shown)) <= 40 and max(map(len, shown)) == 1
    with_one = [items for items, new in zip(answers, shown, strict=True) if new]
    assert all(len(items) == 5 and items[-1]["item_id"] in NEW_IDS for items in with_one)
    turns = [new[0] for new in shown if new]
    # All have had their turn before any has it again; the best fitting one of those shown least comes first.
    assert turns[:12] == [*NEW_IDS, *NEW_IDS]
    plain = await lists(world, 1, share=0.0)
    assert [item["item_id"] for item in answers[0][:4]] == [item["item_id"] for item in plain[0][:4]]
    reasons = {items[-1]["reason"] for items in with_one}
    newest = world.users.documents["u1"].recent[-1]
    assert reasons == {f"new, like Title {newest}: shown so that it gets its first clicks"}


@in_loop
async def test_an_item_that_fits_badly_is_not_passed_over_for_ever(monkeypatch):
    monkeypatch.setattr("recommender_server.exploration.MOST_PASSED_OVER", 3)
    monkeypatch.setattr(dependencies, "POPULAR_MAX_AGE_S", 0.0)
    world = with_new_items()
    ids = list(NEW_IDS)

    def renew(number):
        """One more new item, which fits better than all others before it."""
        ids.insert(0, f"better{number}")
        world.index.ids = [*world.index.ids, ids[0]]
        row = np.zeros((1, DIMENSION + 3), np.float32)
        row[0, DIMENSION] = -9.0 + number
        world.index.columns = np.vstack([world.index.columns, row])
        world.index.contexts = np.vstack([world.index.contexts, np.zeros((1, DIMENSION), np.float32)])
        world.items.records[ids[0]] = Item(ids[0], title=ids[0], category="c")
        world.items.lists[NEW] = [(item_id, 10.0) for item_id in ids]

    shown = []
    async with serving(world, exploration_share=1 / 5, chance=random.Random(1)) as client:
        world.items.lists[NEW] = [("i000", 10.0)]
        await client.simulate_get("/v1/recommendations?user_id=nobody&item_ids=i001&k=5")
        for number in range(20):
            renew(number)
            answer = await client.simulate_get("/v1/recommendations?user_id=u1&k=5")
            shown.append(answer.json["items"][-1]["item_id"])
    assert set(NEW_IDS) <= set(shown)


@in_loop
async def test_what_came_last_needs_hardly_more_places_than_it_has_items(monkeypatch):
    """However many there are that nobody wanted, and though these fit better."""
    monkeypatch.setattr(dependencies, "POPULAR_MAX_AGE_S", 0.0)
    world = with_new_items()
    world.items.lists[NEW] = [(item_id, 10.0) for item_id in world.index.ids[:30]]
    async with serving(world, exploration_share=1 / 5, chance=random.Random(1)) as client:
        ask = "/v1/recommendations?user_id=nobody&item_ids=i000&k=5"
        await client.simulate_get(ask)
        world.items.lists[NEW] = [(item_id, 10.0) for item_id in [*NEW_IDS, *world.index.ids[:30]]]
        answers = [await client.simulate_get(ask) for _ in range(len(NEW_IDS) + 2)]
    last = [answer.json["items"][-1]["item_id"] for answer in answers]
    assert set(NEW_IDS) <= set(last)


@in_loop
async def test_without_a_share_without_new_items_and_for_short_lists_there_is_none():
    assert not any(new_in(await lists(with_new_items(), 20, share=0.0)))
    assert not any(new_in(await lists(World(), 20, share=1.0)))
    short = await lists(with_new_items([]), 20, query="user_id=nobody&k=100", share=1.0)
    # They come after all others there are, the newest first, and take nobody's place.
    assert all(len(items) == 46 and new == NEW_IDS[::-1] for items, new in zip(short, new_in(short), strict=True))
    assert all(item["reason"] == "new" for item in short[0][-6:])


@in_loop
async def test_what_may_not_be_shown_is_not_shown_for_being_new():
    world = with_new_items()
    world.items.records["new0"] = Item("new0", available=False)
    world.users.documents["u1"].hidden.append("new1")
    world.users.documents["u1"].seen.append("new2")
    answers = await lists(world, 30, query="user_id=u1&k=5&exclude=new3", share=1.0)
    assert {item_id for new in new_in(answers) for item_id in new} == {"new4", "new5"}
    world.items.records["new4"] = Item("new4", category="other")
    answers = await lists(world, 30, query="user_id=u1&k=5&category=c", share=1.0)
    assert {item_id for new in new_in(answers) for item_id in new} <= {"new3", "new5"}


@in_loop
async def test_items_that_the_index_does_not_know_get_their_turn_too():
    answers = await lists(with_new_items(indexed=["new0", "new3"]), 60)
    turns = [new[0] for new in new_in(answers) if new]
    assert set(turns[:6]) == set(NEW_IDS)


@in_loop
async def test_an_item_on_a_personal_list_that_nobody_had_says_that_it_is_new():
    world = with_new_items()
    world.index.columns[-1] = 0.0
    world.index.columns[-1, DIMENSION] = 100.0
    answers = await lists(world, 30)
    newest = world.users.documents["u1"].recent[-1]
    first = [items[0] for items in answers]
    assert all(item["item_id"] == "new5" and item["source"] == "personal" for item in first)
    assert first[-1]["reason"] == f"new, like Title {newest}"
    explained = await lists(world, 30, query="user_id=u1&k=5&explain=basic")
    assert explained[-1][0]["reason"] == f"new, like Title {newest}"
    for item in (item for items in explained for item in items if item["source"] == "new"):
        assert item["score"] == pytest.approx(sum(part["value"] for part in item["parts"]))


@in_loop
async def test_a_store_that_fails_costs_no_list():
    world = with_new_items()
    async with serving(world, exploration_share=1.0, chance=random.Random(1)) as client:
        world.index.answers_left = 1
        answer = await client.simulate_get("/v1/recommendations?user_id=u1&k=3")
        assert answer.status_code == 200 and len(answer.json["items"]) == 3
        world.items.down = True
        answer = await client.simulate_get("/v1/recommendations?user_id=u1&k=3")
        assert answer.status_code == 200 and not new_in([answer.json["items"]])[0]
