"""What the freshness benchmark counts as stale, and how it judges its figures."""

import asyncio

import pytest

from benchmarks.freshness import BARS, Phase, bars_of, figures_of, one_round


class World:
    """A user's lists of five items without those he liked; ``forgets`` leaves these in, ``late`` says so itself."""

    def __init__(self, *, forgets=False, late=False):
        self.liked, self.forgets, self.late = [], forgets, late

    async def recommend(self, user_id, **parameters):
        hidden = [] if self.forgets else self.liked
        items = [{"item_id": item} for item in "abcde" if item not in hidden]
        return {"items": items, "stale": self.late and "after" in parameters, "degraded": False}

    async def post_events(self, events):
        self.liked += [event["item_id"] for event in events]
        return [f"0:{len(self.liked)}" for _ in events]


@pytest.mark.parametrize(
    ("world", "stale"),
    [(World(), 0), (World(forgets=True), 3), (World(late=True), 3)],
    ids=["sound", "forgets", "late"],
)
def test_a_list_that_does_not_know_the_event_is_stale(world, stale):
    phase = Phase()
    for _ in range(3):
        assert asyncio.run(one_round(world, "ada", "new", phase)) is not None
    assert phase.stale == {"known": 0, "new": stale}
    assert phase.rounds == {"known": 0, "new": 3}
    assert len(phase.own_s) == 3


def test_a_missing_figure_meets_no_bar():
    idle = figures_of("idle", Phase(own_s=[0.01, 0.02]), [0.2])
    loaded = figures_of("loaded", Phase(own_s=[0.05]), [])
    met = {bar.name: bar.met for bar in bars_of({"stale": 0} | idle | loaded)}
    assert met == {
        "stale": True,
        "own_idle_p99_ms": True,
        "own_loaded_p99_ms": True,
        "learned_idle_p99_ms": False,
        "learned_loaded_p99_ms": False,
    }
    assert met.keys() == BARS.keys()
