"""What people do and want now, as metrics for whoever owns the product: events by type, ratings, demand.

Counted since the process started and no part of a snapshot; what is learned again after a crash counts again. However
wild the stream, the number of series is small: labels beyond the first few are told together as ``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from models.events import Interaction
from stores.ports import Metrics

OTHER = "other"
MOST_TYPES = 20
# Ratings are told in halves up to here; what lies beyond counts as the end of the scale.
HIGHEST_RATING = 10.0
MOST_CATEGORIES_SHOWN = 10
# Categories ever told, so many that a change of fashion is seen and so few that series stay countable.
MOST_CATEGORIES_EVER = 50
TOP_ITEMS = 10


class Demand:
    """Counts events as they are taken, and tells all of it at once. Counters are passed on as what they rose by."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._known_types: set[str] = set()
        self._ratings: Counter[str] = Counter()
        self._categories: set[str] = set()

    def take(self, event: Interaction) -> None:
        """Count one event. NOT safe to repeat."""
        if event.type not in self._known_types and len(self._known_types) < MOST_TYPES:
            self._known_types.add(event.type)
        self._types[event.type if event.type in self._known_types else OTHER] += 1
        if event.type == "rating" and event.value is not None:
            halves = round(2 * min(max(event.value, 0.0), HIGHEST_RATING))
            self._ratings[f"{halves / 2:g}"] += 1

    def tell(
        self, metrics: Metrics, wanted: Sequence[tuple[str, float]], category_of: Callable[[str], str | None]
    ) -> None:
        """Record what was counted since last told, and how demand is spread.

        ``wanted``: item_id and demand of the most wanted items, best first.
        """
        for kind, number in self._types.items():
            metrics.count("events_by_type", number, type=kind)
        for value, number in self._ratings.items():
            metrics.count("ratings", number, value=value)
        self._types.clear()
        self._ratings.clear()
        total = sum(demand for _, demand in wanted)
        if total <= 0:
            return
        for position, (_, demand) in enumerate(wanted[:TOP_ITEMS], start=1):
            metrics.gauge("top_item_popularity", demand / total, position=str(position))
        for category, share in self._shares(wanted, total, category_of).items():
            metrics.gauge("category_popularity", share, category=category)

    def _shares(
        self, wanted: Sequence[tuple[str, float]], total: float, category_of: Callable[[str], str | None]
    ) -> dict[str, float]:
        demands: dict[str, float] = {}
        for item_id, demand in wanted:
            category = category_of(item_id) or "none"
            demands[category] = demands.get(category, 0.0) + demand
        # A category that fell out of the largest is told to be nothing, or its last figure would stand for ever.
        shares = dict.fromkeys([*sorted(self._categories), OTHER], 0.0)
        for category, demand in sorted(demands.items(), key=lambda entry: -entry[1]):
            shown = sum(share > 0 for name, share in shares.items() if name != OTHER)
            new = category not in self._categories
            if shown >= MOST_CATEGORIES_SHOWN or (new and len(self._categories) >= MOST_CATEGORIES_EVER):
                category = OTHER
            elif new:
                self._categories.add(category)
            shares[category] = shares.get(category, 0.0) + demand / total
        return shares
