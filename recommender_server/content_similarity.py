"""Items that are like another by what is known of them: TF-IDF of title and text, category, tags, numbers.

Nothing is kept: candidates are read from the item store (the newest of the category, those that share words of the
title, the nearest by behaviour), and their features learned among themselves. So an item counts from its first second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import numpy as np

from models.content import ContentSettings
from models.content_features import ContentFeatures
from models.items import Item
from recommender_server.answers import AsOf, Pick, Recommendations, recommended
from recommender_server.catalogue import Catalogue
from recommender_server.catalogue_view import Scored
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from stores.ports import Clock

Found = TypeVar("Found")
By = Literal["content", "both"]

# Candidates: the newest of the category and of all, what shares each of the longest words of the title.
OF_CATEGORY, OF_ALL, OF_A_WORD, WORDS = 300, 100, 50, 4

SETTINGS = ContentSettings()


class ContentSimilarity:
    """Answers what an item is like by its content, alone or together with behaviour."""

    def __init__(self, dependencies: Dependencies, catalogue: Catalogue, clock: Clock, deadline_s: float) -> None:
        self._dependencies = dependencies
        self._catalogue = catalogue
        self._clock = clock
        self._deadline_s = deadline_s

    async def similar(self, item_id: str, k: int, by: By, request_id: str) -> Recommendations:
        """Return the k items most like one. Raises ``Problem``: nobody knows it, or the store does not answer.

        ``both``: the mean of the cosine by content and the cosine by behaviour, where the index knows both items.
        """
        deadline = Deadline(self._clock, self._deadline_s)
        missing = set[str]()
        item = await self._catalogue.known(item_id)
        pool = await self._pool(item, request_id)
        if by == "both":
            near = await self._or_nothing(missing, lambda: self._dependencies.similar(item_id, OF_ALL, deadline)) or []
            unknown = [near_id for near_id, _ in near if near_id not in pool]
            found = await self._or_nothing(missing, lambda: self._dependencies.items(unknown, deadline)) or {}
            pool |= {near_id: found[near_id] for near_id in unknown if near_id in found}
        pool.pop(item_id, None)
        candidates = [other for other in pool.values() if other.available]
        # A few hundred texts take some ten milliseconds: too long for the event loop.
        cosines = dict(await asyncio.to_thread(content_cosines, item, candidates))
        if by == "both":
            ids = [item_id, *cosines]
            vectors = await self._or_nothing(missing, lambda: self._dependencies.vectors(ids, deadline)) or {}
            if item_id in vectors:
                for other in cosines.keys() & vectors.keys():
                    cosines[other] = (cosines[other] + float(vectors[item_id] @ vectors[other])) / 2
        best = sorted(((other, score) for other, score in cosines.items() if score > 0), key=_best_first)[:k]
        reason = f"similar to {item.title or item_id}"
        items = [recommended(Pick(other, score, reason, "similar"), pool[other]) for other, score in best]
        return Recommendations(request_id, "similar", bool(missing), False, AsOf({}, 0), items)

    async def _pool(self, item: Item, request_id: str) -> dict[str, Item]:
        words = sorted(set(re.findall(r"\w\w\w+", item.title)), key=lambda word: (-len(word), word))[:WORDS]
        asked = [self._catalogue.newest(OF_ALL, None, None, request_id)]
        if item.category is not None:
            asked.append(self._catalogue.newest(OF_CATEGORY, item.category, None, request_id))
        asked += [self._catalogue.search(word, OF_A_WORD, None, 0, request_id) for word in words]
        return {one.item_id: one for found in await asyncio.gather(*asked) for one in found.items}

    async def _or_nothing(self, missing: set[str], ask: Callable[[], Awaitable[Found]]) -> Found | None:
        try:
            return await ask()
        except DependencyUnavailable as error:
            missing.add(error.dependency)
            return None


def content_cosines(item: Item, others: Sequence[Item]) -> list[Scored]:
    """Return the cosine of each of the others with an item, by the content of all of them."""
    features = ContentFeatures.learn([item, *others], SETTINGS.weights, SETTINGS.attribute_weight)
    rows = np.zeros((1 + len(others), features.size), np.float32)
    for row, one in enumerate([item, *others]):
        columns, values = features.of(one)
        np.add.at(rows[row], columns, values)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    cosines = unit[1:] @ unit[0]
    return [(one.item_id, float(cosine)) for one, cosine in zip(others, cosines.tolist(), strict=True)]


def _best_first(pair: Scored) -> tuple[float, str]:
    return -pair[1], pair[0]
