"""What is known about an item, as numbers: words of title and text, tags, and buckets of its numeric attributes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.items import Item

# Of one field of one item: how much it has of each term.
Terms = dict[str, float]
# Per numeric field, the centres of the buckets of each resolution.
Knots = dict[str, list[list[float]]]

# Words, tags or buckets told apart in one field, most frequent first: the bound on memory.
MOST_TERMS = 6000
# A term that only one item has tells nothing about another.
OFTEN_ENOUGH = 2
WORD_FIELDS = frozenset({"title", "text"})
# Coarse buckets let numbers far apart resemble each other a little, fine ones tell near ones apart.
BUCKETS = (4, 32)
# JSON can write integers that no float holds; beyond this, NaN included, a number says nothing.
LARGEST_NUMBER = 1e15


class ContentFeatures:
    """The features of items: in each field a typical item has as length the root of the field's weight.

    Words count by TF-IDF. Each tag (category, people) counts for itself, however many stand beside it: a well known
    actor says as much in a large cast as in a small one. A number belongs to the two nearest buckets.

    ``columns``: per field, term to column. ``scales``: (size,), what a term counts. ``knots``: see ``Knots``.
    """

    def __init__(self, columns: dict[str, dict[str, int]], scales: NDArray[np.float32], knots: Knots) -> None:
        self._columns = columns
        self._scales = scales
        self._knots = knots

    @classmethod
    def learn(cls, items: Sequence[Item], weights: Mapping[str, float], otherwise: float) -> ContentFeatures:
        """Choose the features that tell these items apart.

        ``weights``: by name of a field, 0 ignores it. ``otherwise``: the weight of every field not named. Neither the
        order of the items nor that of their attributes matters.
        """
        knots = _learned_knots(items)
        fields: dict[str, list[Terms]] = {}
        for item in items:
            for name, terms in _fields(item, knots):
                fields.setdefault(name, []).append(terms)
        columns: dict[str, dict[str, int]] = {}
        scales: list[float] = []
        for name in sorted(fields):
            weight = weights.get(name, otherwise)
            frequencies = Counter(term for terms in fields[name] for term in terms)
            frequent = sorted(frequencies, key=lambda term: (-frequencies[term], term))[:MOST_TERMS]
            kept = [term for term in frequent if frequencies[term] >= OFTEN_ENOUGH]
            if not weight or not kept:
                continue
            rarity = {
                term: math.log((1 + len(items)) / (1 + frequencies[term])) if name in WORD_FIELDS else 1.0
                for term in kept
            }
            squares = math.fsum(
                (terms[term] * rarity[term]) ** 2 for terms in fields[name] for term in terms if term in rarity
            )
            # A word that every item has is no feature; where there is no other, nothing has length.
            to_typical = math.sqrt(weight * len(fields[name]) / squares) if squares else 0.0
            columns[name] = {term: len(scales) + place for place, term in enumerate(kept)}
            scales += [to_typical * rarity[term] for term in kept]
        return cls(columns, np.array(scales, np.float32), knots)

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self._scales)

    def of(self, item: Item) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (columns, values) of the features that an item has. Terms not met when learning are left out."""
        found = [
            (self._columns[name][term], amount)
            for name, terms in _fields(item, self._knots)
            if name in self._columns
            for term, amount in terms.items()
            if term in self._columns[name]
        ]
        columns = np.array([column for column, _ in found], np.int64)
        return columns, np.array([amount for _, amount in found], np.float32) * self._scales[columns]

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return (arrays, facts) for ``from_state``; facts are JSON-able."""
        terms = {name: list(of_field) for name, of_field in self._columns.items()}
        return {"scales": self._scales.copy()}, {"terms": terms, "knots": self._knots}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> ContentFeatures:
        """Return the features that gave this state."""
        columns: dict[str, dict[str, int]] = {}
        size = 0
        # In the order of the columns, which JSON keeps only if nobody sorts its keys anew: they are sorted already.
        for name in sorted(facts["terms"]):
            columns[name] = {term: size + place for place, term in enumerate(facts["terms"][name])}
            size += len(columns[name])
        return cls(columns, np.array(arrays["scales"], np.float32), facts["knots"])


def _fields(item: Item, knots: Mapping[str, list[list[float]]]) -> Iterator[tuple[str, Terms]]:
    """Yield the fields that say something about an item, with their terms."""
    for name, text in (("title", item.title), ("text", item.text)):
        counts = Counter(re.findall(r"\w\w+", text.lower())) if text else {}
        yield from _unless_empty(name, {word: 1 + math.log(count) for word, count in counts.items()})
    yield from _unless_empty("category", _tags(item.category or ""))
    for name, number in _numbers(item):
        if name in knots:
            yield name, _buckets(number, knots[name])
    for name, value in item.attributes.items():
        yield from _unless_empty(name, _tags(value))


def _unless_empty(name: str, terms: Terms) -> Iterator[tuple[str, Terms]]:
    if terms:
        yield name, terms


def _tags(value: object) -> Terms:
    """Return the tags in a list, or in a string that lists them or is a path; numbers have buckets instead."""
    if isinstance(value, str):
        value = re.split(r"[|,;/>]", value)
    if isinstance(value, bool):
        value = [str(value)]
    if not isinstance(value, list | tuple):
        return {}
    tags = (str(tag).strip().lower() for tag in value)
    return {tag: 1.0 for tag in tags if tag}


def _numbers(item: Item) -> Iterator[tuple[str, float]]:
    for name, value in (("price", item.price), *item.attributes.items()):
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER:
            yield name, float(value)


def _learned_knots(items: Sequence[Item]) -> Knots:
    """Return knots at quantiles, so that buckets are narrow where many items are."""
    values: dict[str, list[float]] = {}
    for item in items:
        for name, number in _numbers(item):
            values.setdefault(name, []).append(number)
    return {
        name: [np.unique(np.quantile(values[name], np.linspace(0, 1, count + 1))).tolist() for count in BUCKETS]
        for name in sorted(values)
    }


def _buckets(number: float, resolutions: Sequence[Sequence[float]]) -> Terms:
    """Return the share of each bucket in a number: of each resolution the two nearest, or the outermost one."""
    terms: Terms = {}
    for resolution, knots in enumerate(resolutions):
        place = float(np.interp(number, knots, np.arange(len(knots))))
        below = int(place)
        terms[f"{resolution}:{below}"] = 1 - (place - below)
        if place > below:
            terms[f"{resolution}:{below + 1}"] = place - below
    return terms
