"""The metadata that one answer needs: which candidates may be shown, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from models.items import Item
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.filter_expression import Filter

# Read beyond what is needed, so that an unavailable item rarely costs a second round trip.
SPARE = 8
# A filter that few items pass makes each round trip twice the one before, up to this.
MAX_READ = 1000

Scored = tuple[str, float]


class CatalogueView:
    """What is known of items within one request. Without the item store every item passes, under its bare id, unless
    there is a filter: what nothing is known of does not pass one.

    ``missing``: the dependencies that this request had to do without; once the item store is among them it is not asked
    again.
    """

    def __init__(
        self, dependencies: Dependencies, deadline: Deadline, missing: set[str], filter: Filter | None = None
    ) -> None:
        self._dependencies = dependencies
        self.filter = filter
        self._accepts = filter.accepts if filter is not None else None
        self._deadline = deadline
        self._known: dict[str, Item | None] = {}
        self._missing = missing

    def get(self, item_id: str) -> Item | None:
        """Return what has been read of an item."""
        return self._known.get(item_id)

    def name(self, item_id: str) -> str:
        """Return the title of an item, or its id."""
        item = self._known.get(item_id)
        return item.title if item is not None and item.title else item_id

    async def read(self, item_ids: Sequence[str]) -> None:
        """Read what is not yet known, in one round trip."""
        unknown = [item_id for item_id in item_ids if item_id not in self._known]
        if not unknown or "items" in self._missing:
            return
        try:
            found = await self._dependencies.items(unknown, self._deadline)
        except DependencyUnavailable as error:
            self._missing.add(error.dependency)
            return
        self._known.update(zip(unknown, map(found.get, unknown), strict=True))

    async def take(
        self, ranked: Sequence[Scored], k: int, blocked: Collection[str], beside: Sequence[str] = ()
    ) -> list[Scored]:
        """Return the first k that may be shown. ``beside``: items to read in the same round trip."""
        open_ones = [candidate for candidate in ranked if candidate[0] not in blocked]
        taken: list[Scored] = []
        position = 0
        while len(taken) < k and position < len(open_ones):
            end = position + min(max(k - len(taken) + SPARE, 2 * position), MAX_READ)
            await self.read([*[item_id for item_id, _ in open_ones[position:end]], *beside])
            taken += [candidate for candidate in open_ones[position:end] if self._available(candidate[0])]
            position = end
        return taken[:k]

    def refusal(self, item_id: str) -> Literal["unavailable", "filtered"] | None:
        """Say why an item may not be shown, ``None`` when it may."""
        if self._available(item_id):
            return None
        item = self._known.get(item_id)
        return "filtered" if item is None or item.available else "unavailable"

    def _available(self, item_id: str) -> bool:
        item = self._known.get(item_id)
        if item is None:
            return self._accepts is None
        return item.available and (self._accepts is None or self._accepts(item))
