from __future__ import annotations

from incremental_training.demand import MOST_CATEGORIES_EVER, MOST_CATEGORIES_SHOWN, MOST_TYPES, Demand
from models.events import EventDecoder, Interaction, PositiveRule
from stores.recording_metrics import RecordingMetrics


def _event(kind: str, value: float | None = None) -> Interaction:
    raw = {"user_id": "u", "item_id": "i", "type": kind, "value": value, "timestamp": 1.0}
    decoder = EventDecoder(PositiveRule("buy:1.0"), {})
    return decoder.validate(raw, default_event_id="x", arrival_s=2.0)


def _told(demand: Demand, wanted: list[tuple[str, float]] | None = None, **categories: str) -> RecordingMetrics:
    metrics = RecordingMetrics()
    demand.tell(metrics, wanted or [], categories.get)
    return metrics


def test_events_are_counted_by_type_once() -> None:
    demand = Demand()
    for kind in ("buy", "buy", "view"):
        demand.take(_event(kind))
    metrics = _told(demand)
    assert metrics.value("events_by_type", type="buy") == 2
    assert metrics.value("events_by_type", type="view") == 1
    assert _told(demand).value("events_by_type", type="buy") is None


def test_types_beyond_the_first_are_told_together() -> None:
    demand = Demand()
    for number in range(MOST_TYPES + 5):
        demand.take(_event(f"type-{number}"))
    demand.take(_event("type-0"))
    metrics = _told(demand)
    assert metrics.value("events_by_type", type="other") == 5
    assert metrics.value("events_by_type", type="type-0") == 2


def test_ratings_are_told_in_halves_within_the_scale() -> None:
    demand = Demand()
    for value in (4.5, 4.4, 3, -7, 1e12, None):
        demand.take(_event("rating", value))
    demand.take(_event("buy", 4.5))
    metrics = _told(demand)
    told = {value: metrics.value("ratings", value=value) for value in ("0", "3", "4.5", "10")}
    assert told == {"0": 1, "3": 1, "4.5": 2, "10": 1}


def test_demand_is_shared_among_categories_and_places() -> None:
    metrics = _told(Demand(), [("a", 6.0), ("b", 3.0), ("c", 1.0)], a="drama", b="comedy")
    assert metrics.value("category_popularity", category="drama") == 0.6
    assert metrics.value("category_popularity", category="comedy") == 0.3
    assert metrics.value("category_popularity", category="none") == 0.1
    assert metrics.value("top_item_popularity", position="1") == 0.6
    assert metrics.value("top_item_popularity", position="4") is None


def test_a_category_that_fell_out_is_told_to_be_nothing() -> None:
    demand = Demand()
    assert _told(demand, [("a", 1.0)], a="drama").value("category_popularity", category="drama") == 1.0
    metrics = _told(demand, [("b", 1.0)], b="comedy")
    assert metrics.value("category_popularity", category="drama") == 0.0
    assert metrics.value("category_popularity", category="comedy") == 1.0


def test_series_stay_few_whatever_the_stream() -> None:
    demand = Demand()
    metrics = RecordingMetrics()
    for day in range(30):
        categories = {f"i{n}": f"category-{day}-{n}" for n in range(40)}
        demand.tell(metrics, [(item_id, 40.0 - n) for n, item_id in enumerate(categories)], categories.get)
        shares = {name: value for name, value in metrics.report().items() if name.startswith("category_popularity")}
        assert abs(sum(shares.values()) - 1.0) < 1e-9
        assert sum(value > 0 for value in shares.values()) <= MOST_CATEGORIES_SHOWN + 1
        assert len(shares) <= MOST_CATEGORIES_EVER + 1
