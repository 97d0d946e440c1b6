"""What content says about items while the stream runs: the catalogue, and predictions of the newest map from it.

It acts where vectors are published, never on what is learned: the learned tables stay a function of ``user_events``
alone, whatever order two topics are read in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.content import ContentMap, ContentSettings
from models.growable_array import GrowableArray, grown_capacity
from models.items import Item
from models.teachers import FEWEST_TEACHERS, Teachers
from models.vocabulary import Vocabulary

Vectors = NDArray[np.float32]

# A learned vector is believed as much as a predicted one after so many positives, and alone after so many: by then
# content would move it by two percent.
EVIDENCE, MOST_BLENDED = 3.0, 150
# Items predicted between two calls of ``pause``: about a millisecond.
PREDICTED_AT_ONCE = 16


class Predictions:
    """What one map says of items, each asked once: 4 (2 d + 1) bytes per item, 0.5 KB at 64 dimensions."""

    def __init__(self, content: ContentMap, width: int) -> None:
        self._map = content
        self._places = Vocabulary()
        self._vectors = GrowableArray(1, (width,), np.float32)
        self._known = GrowableArray(1, (), np.bool_)

    def add(self, items: Sequence[Item]) -> None:
        """Predict these items, again where they were predicted before."""
        if not items:
            return
        predicted, known = self._map.predict_known(items)
        places = np.array([self._places.add(item.item_id) for item in items])
        if len(self._places) > self._vectors.capacity:
            capacity = grown_capacity(self._vectors.capacity, len(self._places))
            self._vectors.grow(capacity)
            self._known.grow(capacity)
        self._vectors.rows[places], self._known.rows[places] = predicted, known

    def place(self, item_id: str) -> int | None:
        """Return where an item's prediction lies; ``None`` for one that was not predicted."""
        return self._places.row(item_id)

    def at(self, places: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the predictions there, and whether the map knows anything of that content."""
        return self._vectors.rows[places], self._known.rows[places]


def learn_predictions(
    teachers: Teachers, items: Sequence[Item | None], catalogue: Catalogue, pause: Callable[[], None]
) -> Predictions | None:
    """Learn the map from teachers and their records (``None``: it has none), and predict the whole catalogue.

    The result depends on the arguments alone. ``pause`` is called every millisecond or so of predicting. Returns
    ``None`` when there are too few teachers.
    """
    taught = [place for place, item in enumerate(items) if item is not None]
    if len(taught) < FEWEST_TEACHERS:
        return None
    known = [item for item in items if item is not None]
    content = ContentMap.learn(known, teachers.vectors[taught], teachers.positives[taught], ContentSettings())
    predictions = Predictions(content, teachers.vectors.shape[1])
    item_ids = catalogue.item_ids()
    for start in range(0, len(item_ids), PREDICTED_AT_ONCE):
        read = map(catalogue.get, item_ids[start : start + PREDICTED_AT_ONCE])
        predictions.add([item for item in read if item is not None])
        pause()
    return predictions


class ItemContent:
    """The catalogue as it is now, and what the newest map predicts of it.

    ``changed``: items whose record or prediction changed since somebody last took them, in that order.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.changed: dict[str, None] = {}
        self._predictions: Predictions | None = None
        # Items whose prediction is older than their record, and those whose next prediction will be.
        self._outdated: set[str] = set()
        self._outdated_next: set[str] = set()
        self.adoptions = 0

    def put(self, item: Item) -> bool:
        """Take over a record; return whether it says anything new. Safe to repeat."""
        changed = self.catalogue.put(item)
        if changed:
            self._touch(item.item_id)
        return changed

    def delete(self, item_id: str) -> None:
        """Take over a deletion. Safe to repeat."""
        self.catalogue.delete(item_id)
        self._touch(item_id)

    def _touch(self, item_id: str) -> None:
        self._outdated.add(item_id)
        self._outdated_next.add(item_id)
        self.changed[item_id] = None

    def begin_anew(self) -> None:
        """Note that predictions are being made from the catalogue as it is now."""
        self._outdated_next.clear()

    def adopt(self, predictions: Predictions | None) -> None:
        """Go on with other predictions; records that came since ``begin_anew`` are predicted again when asked for."""
        self._predictions = predictions
        self._outdated, self._outdated_next = self._outdated_next, set()
        self.adoptions += 1

    def predicted(self, item_ids: Iterable[str]) -> tuple[Vectors | None, NDArray[np.bool_]]:
        """Return what content says of items, (n, 2 d + 1), and for which of them it says anything, (n,)."""
        asked = list(item_ids)
        predictions = self._predictions
        if predictions is None:
            return None, np.zeros(len(asked), np.bool_)
        missing = [one for one in asked if one in self._outdated or predictions.place(one) is None]
        records = [record for one in missing if (record := self.catalogue.get(one)) is not None]
        predictions.add(records)
        self._outdated.difference_update(record.item_id for record in records)
        places = [
            place if one in self.catalogue else None
            for one, place in zip(asked, map(predictions.place, asked), strict=True)
        ]
        vectors, known = predictions.at(np.array([place or 0 for place in places], np.int64))
        known[[place is None for place in places]] = False
        return vectors, known
