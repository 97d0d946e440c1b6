"""A user's own history."""

from __future__ import annotations

from recommender_server.answers import AsOf, History, HistoryItem
from recommender_server.catalogue_view import CatalogueView
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from stores.ports import Clock


class Histories:
    """Lists what users consumed."""

    def __init__(self, dependencies: Dependencies, clock: Clock, deadline_s: float) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._deadline_s = deadline_s

    async def of(self, user_id: str, k: int, request_id: str) -> History:
        """Return the newest k of a user's history; empty for a user nobody has heard of. Raises ``Problem``."""
        deadline = Deadline(self._clock, self._deadline_s)
        try:
            view = await self._dependencies.user(user_id, deadline)
        except DependencyUnavailable as error:
            raise Problem(503, "users-unavailable", str(error), retry_after_s=1) from None
        missing = set[str]()
        catalogue = CatalogueView(self._dependencies, deadline, missing)
        newest = view.history()[:k]
        await catalogue.read([item_id for item_id, _, _ in newest])
        items = []
        for item_id, feedback, state in newest:
            item = catalogue.get(item_id)
            items.append(
                HistoryItem(item_id, item.title if item else "", item.category if item else None, feedback, state)
            )
        return History(
            request_id=request_id,
            user_id=user_id,
            degraded=bool(missing),
            as_of=AsOf(view.as_of, len(view.pending)),
            items=items,
        )
