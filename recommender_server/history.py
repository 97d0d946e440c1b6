"""A user's own history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from recommender_server.answers import AsOf, History, HistoryItem
from recommender_server.candidates import CandidateSources, Seeking
from recommender_server.catalogue_view import CatalogueView
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from recommender_server.user_view import Consumed, UserView
from stores.ports import Clock

Order = Literal["newest", "best"]

# Of a longer history the newest so many are put in order of score.
MOST_SCORED = 500
_BY_FEEDBACK = {"positive": 0, "history": 1, "negative": 2}


class Histories:
    """Lists what users consumed."""

    def __init__(self, dependencies: Dependencies, clock: Clock, deadline_s: float) -> None:
        self._dependencies = dependencies
        self._sources = CandidateSources(dependencies, clock)
        self._clock = clock
        self._deadline_s = deadline_s

    async def of(self, user_id: str, k: int, request_id: str, order: Order = "newest") -> History:
        """Return k of a user's history; empty for a user nobody has heard of. Raises ``Problem``.

        ``best``: what he liked first, then what he only saw, then what he rejected, and each of these by the score
        that the model gives it for him now; without the index the newest first, and degraded.
        """
        deadline = Deadline(self._clock, self._deadline_s)
        try:
            view = await self._dependencies.user(user_id, deadline)
        except DependencyUnavailable as error:
            raise Problem(503, "users-unavailable", str(error), retry_after_s=1) from None
        missing = set[str]()
        catalogue = CatalogueView(self._dependencies, deadline, missing)
        shown, scores = view.history(), dict[str, float]()
        if order == "best":
            shown = shown[:MOST_SCORED]
            scores = await self._scores(view, shown, catalogue, deadline, missing)
            shown.sort(key=lambda one: (_BY_FEEDBACK[one.feedback], -scores.get(one.item_id, -float("inf"))))
        shown = shown[:k]
        await catalogue.read([one.item_id for one in shown])
        items = []
        for item_id, feedback, state in shown:
            item = catalogue.get(item_id)
            title, category = (item.title, item.category) if item else ("", None)
            items.append(HistoryItem(item_id, title, category, feedback, state, scores.get(item_id)))
        return History(
            request_id=request_id,
            user_id=user_id,
            degraded=bool(missing),
            as_of=AsOf(view.as_of, len(view.pending)),
            items=items,
        )

    async def _scores(
        self,
        view: UserView,
        consumed: Sequence[Consumed],
        catalogue: CatalogueView,
        deadline: Deadline,
        missing: set[str],
    ) -> dict[str, float]:
        item_ids = [one.item_id for one in consumed]
        seeking = Seeking(len(item_ids), view.recent, view.embedding, frozenset(), catalogue, deadline, missing)
        try:
            state = await self._dependencies.serving_state(deadline)
            return dict(await self._sources.given(seeking, state, item_ids)) if item_ids else {}
        except DependencyUnavailable as error:
            missing.add(error.dependency)
            return {}
