"""Popular and trending lists by window and category."""

from __future__ import annotations

import numpy as np
import pytest

from incremental_training.windows import CATEGORY_LENGTH, LIST_LENGTH, MOST_CATEGORIES, Windows

HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0
NOW_S = 1.7e9
IDS = [f"i{n}" for n in range(1_000)]


def _counted(*events: tuple[int, float]) -> Windows:
    windows = Windows()
    for item, time_s in events:
        windows.count([item], [1.0], [time_s])
    return windows


def test_an_event_one_window_old_weighs_1_over_e():
    lists = _counted((0, NOW_S - HOUR_S), (1, NOW_S)).lists(IDS)
    assert dict(lists["popular:hour"]) == pytest.approx({"i1": 1.0, "i0": np.exp(-1)})
    assert dict(lists["popular:day"])["i0"] == pytest.approx(np.exp(-1 / 24))


def test_the_order_differs_by_window():
    old_and_many = [(0, NOW_S - DAY_S)] * 10
    lists = _counted(*old_and_many, (1, NOW_S), (1, NOW_S)).lists(IDS)
    assert [item for item, _ in lists["popular:hour"]] == ["i1"]
    assert [item for item, _ in lists["popular:day"]] == ["i0", "i1"]


def test_trending_is_what_rises_not_what_is_large():
    steady = [(0, NOW_S - DAY_S * part / 500) for part in range(2_000, 0, -1)]
    lists = _counted(*steady, *[(1, NOW_S)] * 15).lists(IDS)
    assert next(item for item, _ in lists["popular:hour"]) == "i0"
    assert next(item for item, _ in lists["trending:hour"]) == "i1"


def test_a_late_event_counts_by_its_own_time_and_does_not_move_now():
    lists = _counted((0, NOW_S), (1, NOW_S - WEEK_S)).lists(IDS)
    assert dict(lists["popular:day"])["i0"] == 1.0
    assert dict(lists["popular:day"]).get("i1", 0.0) == pytest.approx(np.exp(-7), abs=1e-3)
    assert "i1" not in dict(lists["popular:hour"])


def test_counts_survive_years_of_time_and_a_first_event_from_the_year_1970():
    windows = _counted((0, 0.0), (1, 1.0))
    for year in range(60):
        windows.count([2], [1.0], [year * 365 * DAY_S])
    lists = windows.lists(IDS)
    assert [item for item, _ in lists["popular:week"]] == ["i2"]
    assert lists["popular:week"][0][1] == pytest.approx(1.0)


def test_counting_many_at_once_is_counting_one_after_another_bit_by_bit():
    chance = np.random.default_rng(2)
    items, times_s = chance.integers(9, size=60).tolist(), (np.arange(60) * 30 * DAY_S).tolist()  # the landmark moves
    at_once = Windows()
    at_once.count([], [], [])
    at_once.count(items, [1.0] * 60, times_s)
    assert (
        at_once.state()[0]["counts"].tobytes()
        == _counted(*zip(items, times_s, strict=True)).state()[0]["counts"].tobytes()
    )


def test_lists_of_categories_follow_what_topic_items_says():
    windows = _counted((0, NOW_S), (1, NOW_S), (1, NOW_S), (2, NOW_S))
    for item_id, category in (("i0", "a"), ("i1", "a"), ("i2", "b: c"), ("i3", "empty")):
        windows.put_category(item_id, category)
    lists = windows.lists(IDS)
    assert [item for item, _ in lists["popular:day:a"]] == ["i1", "i0"]
    assert [item for item, _ in lists["popular:day:b: c"]] == ["i2"]
    assert lists["trending:week:empty"] == []
    windows.put_category("i1", "b: c")
    windows.put_category("i2", None)
    lists = windows.lists(IDS)
    assert [item for item, _ in lists["popular:day:a"]] == ["i0"]
    assert [item for item, _ in lists["popular:day:b: c"]] == ["i1"]


def test_lists_are_bounded():
    windows = _counted(*((item, NOW_S) for item in range(1_000)))
    for nth in range(MOST_CATEGORIES + 10):
        windows.put_category(f"i{nth % 500}", f"c{nth}")
    for item_id in IDS:
        windows.put_category(item_id, "c1")
    lists = windows.lists(IDS)
    assert len(lists["popular:hour"]) == LIST_LENGTH
    assert len(lists["popular:hour:c1"]) == CATEGORY_LENGTH
    assert len(lists) == 6 + 6 * MOST_CATEGORIES


def test_going_on_from_a_state_is_the_same_bit_by_bit():
    chance = np.random.default_rng(1)
    events = [(int(item), NOW_S + float(time_s)) for item, time_s in chance.uniform(0, 1_000, (400, 2)) * [1, 5_000]]
    whole, first = _counted(*events), _counted(*events[:200])
    second = Windows()
    second.restore(*first.state())
    for item, time_s in events[200:]:
        second.count([item], [1.0], [time_s])
    assert second.lists(IDS) == whole.lists(IDS)
    assert second.state()[0]["counts"].tobytes() == whole.state()[0]["counts"].tobytes()
    assert second.state()[1] == whole.state()[1]
