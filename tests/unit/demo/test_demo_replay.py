import asyncio

import numpy as np
import pytest

from demo.freshness import Freshness
from demo.replay import Progress, Replayer
from demo.stream import Stream
from models.events import PositiveRule
from tests.unit.demo.fake_recommender import FakeRecommender, client_of

CUT, EVERY = 120, 3
RULE = PositiveRule("click:1.0")


def replay(fake, history, path, *, truth=None, stop_after=None, rate=1e5):
    """Replay as a start of the demo does; return (progress, 5xx answers, freshness)."""
    progress = Progress.load(path) or Progress("test", 0.5, CUT)
    # What the history has is in the catalogue since initial training.
    for item in history.items[:CUT]:
        fake.catalogue.setdefault(history.item_ids[item], {})

    async def accepted(batch):
        pass

    async def run():
        async with client_of(fake) as client:
            freshness = Freshness(client)
            replayer = Replayer(
                client,
                Stream(history, CUT, RULE, EVERY),
                progress,
                path,
                rate=rate,
                true_ranks=truth,
                freshness=freshness,
                on_accepted=accepted,
            )
            await replayer.run(lambda: stop_after is not None and progress.sent >= stop_after)
            await freshness.finish()
            return progress, client.errors_5xx, freshness

    return asyncio.run(run())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replay.json"


def ids(events):
    return [event["event_id"] for event in events]


ALL = [f"demo-{place}" for place in range(CUT, 240)]


def test_every_event_is_accepted_once_in_order_and_then_three_again(busy_history, path):
    fake = FakeRecommender()
    progress, errors_5xx, _ = replay(fake, busy_history, path)
    assert ids(fake.log) == [*ALL, *ALL[-3:]]
    assert (progress.accepted, progress.sent, progress.duplicates_sent) == (123, 123, 3)
    assert progress.rejected == 3
    assert progress.position == 240
    assert errors_5xx == 0
    assert Progress.load(path) == progress


def test_events_are_sent_as_if_they_happened_now(busy_history, path):
    fake = FakeRecommender()
    replay(fake, busy_history, path)
    times_s = [event["timestamp"] for event in fake.log]
    assert times_s[0] > 1.6e9
    assert times_s == sorted(times_s)


def test_an_item_is_in_the_catalogue_before_its_first_event(busy_history, path):
    fake = FakeRecommender()
    replay(fake, busy_history, path)
    assert fake.unannounced == set()
    assert len(fake.catalogue) > len(set(busy_history.items[:CUT].tolist()))


def test_a_list_is_asked_for_right_before_each_scored_event_and_only_then(busy_history, path):
    fake = FakeRecommender()
    progress, _, _ = replay(fake, busy_history, path)
    scored = [event for event in Stream(busy_history, CUT, RULE, EVERY).events(CUT) if event.scored]
    # The log then held everything before the event, and not the event itself.
    assert fake.lists_asked == [(event.user_id, event.position - CUT) for event in scored]
    assert progress.scored == len(scored) > 10


def test_hits_are_counted_from_the_answers_and_held_against_the_truth(busy_history, path):
    fake = FakeRecommender()
    ranks = np.where(np.arange(240) % 2, 1, 11).astype(np.int32)
    progress, _, _ = replay(fake, busy_history, path, truth=ranks)
    stream = list(Stream(busy_history, CUT, RULE, EVERY).events(CUT))
    hits = 0
    for event in (event for event in stream if event.scored):
        before = stream[: event.position - CUT]
        newest = list(dict.fromkeys(earlier.item_id for earlier in reversed(before)))[:10]
        mine = {earlier.item_id for earlier in before if earlier.user_id == event.user_id}
        hits += event.item_id in newest and event.item_id not in mine
    assert progress.hits == hits > 0
    assert progress.oracle_hits == sum(event.scored and event.position % 2 for event in stream)


def test_a_second_start_goes_on_where_the_first_stopped(busy_history, path):
    fake = FakeRecommender()
    first, _, _ = replay(fake, busy_history, path, stop_after=40)
    assert 40 <= first.sent < 120
    assert first.duplicates_sent == 0
    second, _, _ = replay(fake, busy_history, path)
    assert ids(fake.log) == [*ALL, *ALL[-3:]]
    assert (second.accepted, second.rejected, second.duplicates_sent) == (123, 3, 3)


def test_a_third_start_has_nothing_to_send(busy_history, path):
    fake = FakeRecommender()
    replay(fake, busy_history, path)
    progress, _, _ = replay(fake, busy_history, path)
    assert len(fake.log) == 123
    assert progress.accepted == 123


def test_what_was_accepted_but_not_answered_is_sent_again_and_counted_as_often_as_accepted(busy_history, path):
    fake = FakeRecommender()
    fake.fails_next = 1
    progress, errors_5xx, _ = replay(fake, busy_history, path)
    assert errors_5xx == 1
    assert list(dict.fromkeys(ids(fake.log))) == ALL
    # The trainer counts every one it finds in the log, the ones sent twice as duplicates: so must the demo.
    assert progress.accepted == len(fake.log)


def test_freshness_is_sampled_along_the_way(busy_history, path):
    _, _, freshness = replay(FakeRecommender(), busy_history, path)
    figures = freshness.figures()
    assert set(figures) == {f"freshness_{kind}_p{p}_ms" for kind in ("own", "learned") for p in (50, 99)}
    assert all(value is not None and 0 < value < 10_000 for value in figures.values())


def test_the_rate_is_kept(busy_history, path):
    async def measured():
        return await asyncio.to_thread(replay, FakeRecommender(), busy_history, path, rate=400.0)

    started_s = asyncio.run(timed(measured))
    assert started_s >= 119 / 400.0


async def timed(measured):
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await measured()
    return loop.time() - started_s
