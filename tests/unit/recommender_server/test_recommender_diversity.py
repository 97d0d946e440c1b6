"""Diversity moves apart what is alike, and costs nothing when it is not asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recommender_fakes import DIMENSION, World, ids, in_loop, serving

from recommender_server.answers import Pick
from recommender_server.diversity import spread


def _picks(count):
    return [Pick(f"i{n}", -float(n), "", "personal") for n in range(count)]


def _likeness(world, item_ids):
    rows = world.index.columns[[world.index.ids.index(item_id) for item_id in item_ids], :DIMENSION]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return cosines[np.triu_indices(len(item_ids), 1)].mean()


@given(st.integers(0, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_it_chooses_k_of_them_each_once_and_the_best_first(count, k, diversity, seed):
    picks = _picks(count)
    chance = np.random.default_rng(seed)
    vectors = {pick.item_id: chance.normal(size=2).astype(np.float32) for pick in picks[::2]}
    chosen = spread(picks, vectors, k, diversity)
    assert len(chosen) == len({pick.item_id for pick in chosen}) == min(k, count)
    assert chosen[:1] == picks[:1]
    if diversity == 0:
        assert chosen == picks[:k]


def test_twins_do_not_stand_beside_one_another():
    one, other = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    vectors = {"i0": one, "i1": one, "i2": one, "i3": other}
    assert [pick.item_id for pick in spread(_picks(4), vectors, 3, 0.7)] == ["i0", "i3", "i1"]
    assert [pick.item_id for pick in spread(_picks(4), vectors, 3, 0.1)] == ["i0", "i1", "i2"]


@in_loop
async def test_a_diverse_list_is_less_alike_and_still_k_long_and_pages_on():
    world = World(items=200)
    async with serving(world) as client:
        params = {"user_id": "u0", "k": 10}
        plain = await client.simulate_get("/v1/recommendations", params=params)
        asked = world.index.calls.get("vectors", 0)
        zero = await client.simulate_get("/v1/recommendations", params={**params, "diversity": 0})
        half = await client.simulate_get("/v1/recommendations", params={**params, "diversity": 0.5})
        following = await client.simulate_get(
            "/v1/recommendations", params={**params, "diversity": 0.5, "cursor": half.json["next"]}
        )
    assert asked == 0
    assert ids(zero) == ids(plain)
    assert ids(half)[0] == ids(plain)[0]
    assert len(set(ids(half) + ids(following))) == 20
    assert _likeness(world, ids(half)) < _likeness(world, ids(plain))
    assert not any("vector" in name for name in half.json["items"][0])


@in_loop
async def test_without_the_index_the_list_keeps_its_order():
    world = World()
    async with serving(world) as client:
        plain = await client.simulate_get("/v1/popular")
        world.index.down = True
        result = await client.simulate_get("/v1/recommendations", params={"diversity": 1})
    assert (result.status_code, result.json["degraded"]) == (200, True)
    assert ids(result) == ids(plain)
