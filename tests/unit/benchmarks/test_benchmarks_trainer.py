"""The stream that the trainer is measured with, and how what was seen of it becomes figures."""

import json

import numpy as np
import pytest

from benchmarks.stream_world import AT_ONCE, StreamWorld
from benchmarks.trainer import Looks
from models.events import DEFAULT_POSITIVES, EventDecoder, PositiveRule


def test_the_stream_has_what_a_real_one_has():
    world = StreamWorld(users=2_000, items=500, events=50_000)
    users, items = world.pairs()
    assert len(users) == len(items) == world.events
    assert items.min() >= 0 and items.max() < world.items and users.min() >= 0 and users.max() < world.users
    shares = np.sort(np.bincount(items, minlength=world.items))[::-1] / world.events
    assert shares[: world.items // 10].sum() > 0.25, "few items should be wanted by most"
    pairs = users * world.items + items
    again = 1.0 - len(np.unique(pairs)) / world.events
    assert 0.01 < again < 0.05, "most pairs are new, in a long stream as in a short one"
    # Bursts: whoever acts mostly acts again soon, with other users between.
    order = np.argsort(users, kind="stable")
    gaps = np.diff(order)[np.diff(users[order]) == 0]
    assert np.mean(gaps < 2 * AT_ONCE) > 0.6 and np.mean(gaps < AT_ONCE / 2) < 0.2


def test_its_events_are_read_by_the_decoder_and_most_are_positive():
    world = StreamWorld(users=100, items=50, events=2_000)
    decoder = EventDecoder(PositiveRule(DEFAULT_POSITIVES))
    entries = [entry for part in world.event_entries(at_once=300) for entry in part]
    events = [decoder.decode(entry.value, default_event_id="", arrival_s=4e9) for entry in entries]
    assert len({event.event_id for event in events}) == world.events
    assert [entry.key for entry in entries] == [event.user_id for event in events]
    assert 0.8 < np.mean([event.feedback == "positive" for event in events]) < 0.9
    assert any(event.feedback == "negative" for event in events)
    assert all(json.loads(entry.value)["category"] for entry in world.item_entries())


def test_rates_are_those_between_two_shares_of_the_events():
    # A slow start, then a hundred a second at half a core.
    rows = [(0.0, 0, 0.0, 1e6), (10.0, 100, 9.0, 2e6)] + [
        (10.0 + n, 100 + 100 * n, 9 + n / 2, 3e6) for n in range(1, 10)
    ]
    looks = Looks(rows)
    assert looks.between(0.1, 1.0) == pytest.approx((100.0, 200.0))
    assert looks.between(0.8, 1.0) == pytest.approx((100.0, 200.0))
    assert looks.resident(0.4, 0.6) == 3e6
