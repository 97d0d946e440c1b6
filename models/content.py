"""What an item's content says about its vector, before anyone has clicked it.

A ridge regression from content to vectors, learned from the items that the stream knows well; the idea is that of
Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", ICDM 2010. ``blend`` hands an
item over to the stream as evidence comes.

NOT DONE here: nobody calls this while the stream runs. For that, initial training has to learn the map and a timer of
the trainer to refresh it; the trainer has to know the catalogue, so that ``Learner.add_item`` can start a row from
``predict`` and publish items without any event; and a snapshot has to hold ``state()``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.content_features import ContentFeatures
from models.items import Item

Floats = NDArray[np.float32]
Row = tuple[NDArray[np.int64], Floats]

# Items that teach, most positives first. It bounds memory and time: a dense system of so many equations is solved.
MOST_TAUGHT = 4000
_COLUMNS_AT_ONCE = 2048


@dataclass(frozen=True)
class ContentSettings:
    """How much content counts; chosen on movies cut from the known ones, and flat within a factor of two.

    ``weights``: of a field in the likeness of two items, by name (``title``, ``text``, ``category``, ``price`` or that
    of an attribute); 0 ignores it. ``attribute_weight``: of every field not named. ``ridge``: how little is believed.
    ``evidence``: positives after which a learned vector is believed as much as a predicted one.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"title": 0.4, "text": 0.8, "category": 1.0})
    attribute_weight: float = 0.7
    ridge: float = 2.0
    evidence: float = 10.0


def blend(learned: Floats, predicted: Floats, positives: NDArray[np.integer[Any]], settings: ContentSettings) -> Floats:
    """Return n / (n + evidence) of what was learned from n positives, the rest of what was predicted.

    ``learned``, ``predicted``: (items, m). ``positives``: (items,).
    """
    share = (positives / (positives + settings.evidence)).astype(np.float32)[:, None]
    return share * learned + (1 - share) * predicted


class ContentMap:
    """The map from content to the numbers that the model keeps of an item.

    ``coefficients``: (features, m). ``mean``: (m,), what is predicted where nothing is known.
    """

    def __init__(self, features: ContentFeatures, coefficients: Floats, mean: Floats) -> None:
        self._features = features
        self._coefficients = coefficients
        self._mean = mean

    @classmethod
    def learn(
        cls,
        items: Sequence[Item],
        vectors: NDArray[np.floating[Any]],
        positives: NDArray[np.integer[Any]],
        settings: ContentSettings,
    ) -> ContentMap:
        """Learn from the ``vectors`` (n, m) of n items and from how many ``positives`` (n,) each was learned.

        What the m columns are is the caller's: head * embedding, bias, context embedding. An item without positives
        teaches nothing. The result depends on the arguments alone. Raises ``ValueError`` when nothing can be learned:
        no item has positives, or a vector is not finite.
        """
        teachers = np.argsort(-positives, kind="stable")[: min(MOST_TAUGHT, int(np.count_nonzero(positives)))]
        if not len(teachers):
            raise ValueError("no item has positives: there are no vectors to learn from")
        if not np.isfinite(vectors[teachers]).all():
            raise ValueError("the vectors to learn from are not all finite")
        known = [items[teacher] for teacher in teachers]
        features = ContentFeatures.learn(known, settings.weights, settings.attribute_weight)
        rows = [features.of(item) for item in known]
        trust = positives[teachers] / (positives[teachers] + settings.evidence)
        mean = trust @ vectors[teachers] / trust.sum()
        # As many equations as items, not as features. An item that is trusted less has a larger ridge.
        likeness = np.diag(settings.ridge / trust)
        for _, block in _dense(rows, features.size):
            likeness += block @ block.T
        dual = np.linalg.solve(likeness, vectors[teachers] - mean).astype(np.float32)
        coefficients = np.zeros((features.size, vectors.shape[1]), np.float32)
        for start, block in _dense(rows, features.size):
            coefficients[start : start + block.shape[1]] = block.T @ dual
        return cls(features, coefficients, mean.astype(np.float32))

    def predict(self, items: Sequence[Item]) -> Floats:
        """Return what content says about items, (items, m); the mean for an item without known content."""
        out = np.tile(self._mean, (len(items), 1))
        for place, item in enumerate(items):
            columns, values = self._features.of(item)
            out[place] += values @ self._coefficients[columns]
        return out

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return (arrays, facts): copies of all that predictions depend on; facts are JSON-able."""
        arrays, facts = self._features.state()
        return arrays | {"coefficients": self._coefficients.copy(), "mean": self._mean.copy()}, facts

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> ContentMap:
        """Return a map that predicts the same, bit by bit, as the one that gave this state."""
        features = ContentFeatures.from_state(arrays, facts)
        return cls(features, np.array(arrays["coefficients"], np.float32), np.array(arrays["mean"], np.float32))


def _dense(rows: Sequence[Row], size: int) -> Iterator[tuple[int, Floats]]:
    """Yield (first column, dense block) of sparse rows, some columns at a time."""
    owners = np.repeat(np.arange(len(rows)), [len(columns) for columns, _ in rows])
    columns = np.concatenate([columns for columns, _ in rows])
    values = np.concatenate([values for _, values in rows])
    for start in range(0, size, _COLUMNS_AT_ONCE):
        inside = (columns >= start) & (columns < start + _COLUMNS_AT_ONCE)
        block = np.zeros((len(rows), min(_COLUMNS_AT_ONCE, size - start)), np.float32)
        block[owners[inside], columns[inside] - start] = values[inside]
        yield start, block
