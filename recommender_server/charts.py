"""What is popular or trending within a time window, of all items or one category."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from recommender_server.answers import AsOf, Pick, Recommendations, recommended
from recommender_server.catalogue_view import CatalogueView
from recommender_server.current_state import CurrentState
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from recommender_server.reasons import is_of_late
from stores.ports import Clock, popular_name

Order = Literal["popular", "trending"]
Window = Literal["hour", "day", "week"]

# More than any of these lists holds.
MOST_LISTED = 1_000


class Charts:
    """Reads the lists that the trainer counts from the live stream, as ``incremental_training`` makes them."""

    def __init__(
        self, dependencies: Dependencies, current: CurrentState, clock: Clock, new_deadline: Callable[[], Deadline]
    ) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._current = current
        self._new_deadline = new_deadline

    async def of(self, order: Order, window: Window, category: str | None, k: int, request_id: str) -> Recommendations:
        """Return a list, empty where nothing was counted. Raises ``Problem`` when the item store does not answer."""
        deadline, missing = self._new_deadline(), set[str]()
        name = popular_name(order, window, category)
        try:
            entries = await self._dependencies.of_items(lambda items: items.popular(name, MOST_LISTED), deadline)
        except DependencyUnavailable as error:
            raise Problem(503, "items-unavailable", str(error), retry_after_s=1) from None
        catalogue = CatalogueView(self._dependencies, deadline, missing)
        state = await self._current.published(deadline)
        reason = f"{order} this {window}" if window != "day" else f"{order} today"
        if not is_of_late(state, window, self._clock):
            reason = f"{order} in the last {window} of events"
        picks = [Pick(item_id, score, reason, "popular") for item_id, score in await catalogue.take(entries, k, ())]
        return Recommendations(
            request_id=request_id,
            source="popular",
            degraded=bool(missing),
            stale=False,
            as_of=AsOf(state.learned if state else {}, 0),
            items=[recommended(pick, catalogue.get(pick.item_id)) for pick in picks],
        )
