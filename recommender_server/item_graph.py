"""Where a user's recent items lead, in arrays: some two thousand edges per request are too many for dictionaries.

What is computed is ``models.ranking.transitions`` and from it ``models.ranking.lifts``: what an item's score gains
beyond its inner product, because recent items lead to it, is its *lift*.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.ranking import Floats
from stores.ports import Edges

# Items whose edges are kept in arrays, and items that are numbered, for each of which a request adds up a sum. With one
# more all are forgotten, which bounds the memory.
MOST_ITEMS, MOST_NUMBERS = 8_192, 100_000

Numbers = NDArray[np.int64]


class _Numbering:
    """Numbers for items, and a number per item to add up in. ``0`` is the number of everything that has none."""

    def __init__(self) -> None:
        self.item_ids = [""]
        self._numbers: dict[str, int] = {}
        self.sums = np.zeros(1)

    def of(self, item_ids: Iterable[str]) -> Numbers:
        """Return the numbers of items that may have none."""
        return np.array(list(map(self._numbers.get, item_ids, repeat(0))), dtype=np.int64)

    def given(self, item_ids: Iterable[str]) -> Numbers:
        """Return the numbers of items, giving them to those that have none."""
        numbers = self._numbers
        for item_id in item_ids:
            if item_id not in numbers:
                numbers[item_id] = len(self.item_ids)
                self.item_ids.append(item_id)
        if len(self.item_ids) > len(self.sums):
            self.sums = np.zeros(2 * len(self.item_ids))
        return self.of(item_ids)

    def spread(self, numbers: Numbers, values: Floats, at: Numbers) -> Floats:
        """Return the value of each of the items ``at``, where these numbers have these values, all others 0."""
        self.sums[numbers] = values
        found: Floats = self.sums[at]
        self.sums[numbers] = 0.0
        return found


class ItemGraph:
    """The item graph as far as it was read lately, in arrays."""

    def __init__(self) -> None:
        self._numbering = _Numbering()
        self._targets: dict[str, tuple[Edges, Numbers]] = {}

    def around(self, recent: Sequence[str], edges: Mapping[str, Edges]) -> Neighbourhood:
        """Return where these items, newest first, lead; those without edges may be missing."""
        if len(self._targets) > MOST_ITEMS or len(self._numbering.item_ids) > MOST_NUMBERS:
            self._numbering, self._targets = _Numbering(), {}
        places = [place for place, item_id in enumerate(recent[: ranking.TRANSITION_LENGTH]) if item_id in edges]
        targets = [self._targets_of(recent[place], edges[recent[place]]) for place in places]
        return Neighbourhood(self._numbering, recent, edges, places, targets)

    def _targets_of(self, item_id: str, edges: Edges) -> Numbers:
        known = self._targets.get(item_id)
        if known is None or known[0] is not edges:
            known = self._targets[item_id] = edges, self._numbering.given(edges.item_ids)
        return known[1]


class Neighbourhood:
    """The neighbours of some recent items. ``edges``: by recent item, as they were read."""

    def __init__(
        self,
        numbering: _Numbering,
        recent: Sequence[str],
        edges: Mapping[str, Edges],
        places: Sequence[int],
        targets: Sequence[Numbers],
    ) -> None:
        self.edges = edges
        self._numbering = numbering
        self._recent = recent
        # Where each list of edges ends among all edges.
        lengths = [len(of_item) for of_item in targets]
        self._places, self._ends = places, list(itertools.accumulate(lengths))
        self._targets = np.concatenate(targets) if targets else _NOTHING
        # What every edge counts.
        self._flows = _NO_WEIGHTS
        if targets:
            weights = np.concatenate([edges[recent[place]].weights for place in places])
            self._flows = _DECAYS[places].repeat(lengths) * weights

    def lifts(self, merge_weights: Sequence[float], without: Collection[str] = ()) -> Lifts:
        """Return the lifts of all neighbours but those ``without``."""
        numbering = self._numbering
        sums: Floats = np.bincount(self._targets, self._flows, len(numbering.item_ids)).astype(np.float64, copy=False)
        sums[numbering.of(without)] = 0.0
        numbers = (sums > 0.0).nonzero()[0]
        newest = slice(0, self._ends[0] if self._places and self._places[0] == 0 else 0)
        # Most are no neighbours of the newest item, and have no logarithm to be taken.
        of_last = numbering.spread(self._targets[newest], ranking.transition_feature(self._flows[newest]), numbers)
        values = ranking.lifts(ranking.transition_feature(sums[numbers]), of_last, merge_weights)
        return Lifts(numbering, numbers, values)

    def strongest_links(self, item_ids: Sequence[str]) -> dict[str, str]:
        """Return, for those of the items that are neighbours, the recent item that leads there most."""
        numbering = self._numbering
        numbers = numbering.of(item_ids)
        leading = numbering.spread(numbers, np.ones(len(numbers)), self._targets).nonzero()[0]
        # The strongest of an item comes last and stays; of equal ones the first, which is the newest's.
        leading = leading[::-1]
        leading = leading[self._flows[leading].argsort(kind="stable")]
        strongest = dict(zip(self._targets[leading].tolist(), leading.tolist(), strict=True))
        return {
            item_id: self._recent[self._places[bisect_right(self._ends, strongest[number])]]
            for item_id, number in zip(item_ids, numbers.tolist(), strict=True)
            if number in strongest
        }


class Lifted(NamedTuple):
    """The items with the largest lifts, and the largest lift of the others."""

    item_ids: list[str]
    lifts: list[float]
    others: Lifts


class Lifts:
    """What each of some items gains: ``values`` (items,), none below 0."""

    def __init__(self, numbering: _Numbering, numbers: Numbers, values: Floats) -> None:
        self._numbering = numbering
        self._numbers = numbers
        self._values = values

    @property
    def largest(self) -> float:
        """The largest lift, 0 where there is none."""
        return float(self._values.max(initial=0.0))

    def of(self, item_ids: Sequence[str]) -> Floats:
        """Return the lifts of these items, (items,)."""
        return self._numbering.spread(self._numbers, self._values, self._numbering.of(item_ids))

    def strongest(self, count: int) -> Lifted:
        """Return the ``count`` items, at least 1, with the largest lifts apart from the others."""
        everything = len(self._values)
        order = self._values.argpartition(everything - count)[::-1] if count < everything else np.arange(everything)
        first, rest = order[:count], order[count:]
        others = Lifts(self._numbering, self._numbers[rest], self._values[rest])
        return Lifted(self.item_ids(first), self._values[first].tolist(), others)

    def ranked(self) -> list[tuple[str, float]]:
        """Return all of them, best first."""
        return ranking.top(self.item_ids(np.arange(len(self._numbers))), self._values, len(self._numbers))

    def item_ids(self, places: Numbers) -> list[str]:
        """Return the items at these places."""
        return list(map(self._numbering.item_ids.__getitem__, self._numbers[places].tolist()))


_NOTHING: Numbers = np.zeros(0, dtype=np.int64)
_NO_WEIGHTS = np.zeros(0)
# Multiplied up as ``ranking.transitions`` does it, to the same bits.
_DECAYS = np.cumprod([1.0] + [ranking.TRANSITION_DECAY] * (ranking.TRANSITION_LENGTH - 1))
