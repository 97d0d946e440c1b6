"""What an item's content says about its vector, before anyone has clicked it.

A ridge regression from content to vectors, learned from the items that the stream knows well; the idea is that of
Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", ICDM 2010. ``blend`` hands an
item over to the stream as evidence comes. ``models.item_content`` uses it while the stream runs.
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
# Up to so many items with one word, their pairs are added one by one.
_FEW_ITEMS = 64


@dataclass(frozen=True)
class ContentSettings:
    """How much content counts; chosen on movies cut from the known ones, and flat within a factor of two.

    ``weights``: of a field in the likeness of two items, by name (``title``, ``text``, ``category``, ``price`` or that
    of an attribute); 0 ignores it. ``attribute_weight``: of every field not named. ``ridge``: how little is believed.
    ``evidence``: a teacher with so many positives counts half as much as one with all the world's.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"title": 0.4, "text": 0.8, "category": 1.0})
    attribute_weight: float = 0.7
    ridge: float = 2.0
    evidence: float = 10.0


def blend(learned: Floats, predicted: Floats, positives: NDArray[np.integer[Any]], evidence: float) -> Floats:
    """Return n / (n + evidence) of what was learned from n positives, the rest of what was predicted.

    ``learned``, ``predicted``: (items, m). ``positives``: (items,).
    """
    share = (positives / (positives + evidence)).astype(np.float32)[:, None]
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
        _add_likeness(likeness, rows, features.size)
        dual = np.linalg.solve(likeness, vectors[teachers] - mean).astype(np.float32)
        coefficients = np.zeros((features.size, vectors.shape[1]), np.float32)
        for start, block in _dense(rows, np.arange(features.size)):
            coefficients[start : start + block.shape[1]] = block.T @ dual
        return cls(features, coefficients, mean.astype(np.float32))

    def predict(self, items: Sequence[Item]) -> Floats:
        """Return what content says about items, (items, m); the mean for an item without known content."""
        return self.predict_known(items)[0]

    def predict_known(self, items: Sequence[Item]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return predictions (items, m), and for which items anything of their content is known, (items,)."""
        out = np.tile(self._mean, (len(items), 1))
        known = np.zeros(len(items), np.bool_)
        for place, item in enumerate(items):
            columns, values = self._features.of(item)
            known[place] = len(columns) > 0
            out[place] += values @ self._coefficients[columns]
        return out, known

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return (arrays, facts): copies of all that predictions depend on; facts are JSON-able."""
        arrays, facts = self._features.state()
        return arrays | {"coefficients": self._coefficients.copy(), "mean": self._mean.copy()}, facts

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> ContentMap:
        """Return a map that predicts the same, bit by bit, as the one that gave this state."""
        features = ContentFeatures.from_state(arrays, facts)
        return cls(features, np.array(arrays["coefficients"], np.float32), np.array(arrays["mean"], np.float32))


def _add_likeness(likeness: NDArray[np.float64], rows: Sequence[Row], size: int) -> None:
    """Add the inner products of all pairs of sparse rows, (n, n).

    Most words are in few items: these are added pair by pair, only the others as a dense product.
    """
    columns, owners, values = _entries(rows)
    order = np.argsort(columns, kind="stable")
    counts = np.bincount(columns, minlength=size)
    frequent = np.flatnonzero(counts > _FEW_ITEMS)
    ends = np.cumsum(counts)
    for column in np.flatnonzero(counts <= _FEW_ITEMS).tolist():
        entries = order[ends[column] - counts[column] : ends[column]]
        items, amounts = owners[entries], values[entries]
        likeness[items[:, None], items] += amounts[:, None] * amounts
    for _, block in _dense(rows, frequent):
        likeness += block @ block.T


def _entries(rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return (column, owner, value) of every entry of sparse rows."""
    owners = np.repeat(np.arange(len(rows)), [len(columns) for columns, _ in rows])
    return np.concatenate([columns for columns, _ in rows]), owners, np.concatenate([values for _, values in rows])


def _dense(rows: Sequence[Row], chosen: NDArray[np.int64]) -> Iterator[tuple[int, Floats]]:
    """Yield (place of the first column, dense block) of the chosen columns of sparse rows, some columns at a time."""
    columns, owners, values = _entries(rows)
    places = np.full(max(columns.max(initial=-1), chosen.max(initial=-1)) + 1, -1)
    places[chosen] = np.arange(len(chosen))
    places = places[columns]
    for start in range(0, len(chosen), _COLUMNS_AT_ONCE):
        inside = (places >= start) & (places < start + _COLUMNS_AT_ONCE)
        block = np.zeros((len(rows), min(_COLUMNS_AT_ONCE, len(chosen) - start)), np.float32)
        block[owners[inside], places[inside] - start] = values[inside]
        yield start, block
