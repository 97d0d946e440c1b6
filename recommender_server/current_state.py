"""What is known as of now: what the trainer published last, and users, in the state that a request waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.recommendation_request import RecommendationRequest
from recommender_server.user_view import NOBODY, UserView
from stores.ports import Clock, ServingState

# The share of the deadline that waiting for a state may use up; the rest is for the answer itself.
WAITING_SHARE = 0.6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.02


class CurrentState:
    """Reads the state of things for requests."""

    def __init__(
        self,
        dependencies: Dependencies,
        clock: Clock,
        deadline_s: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._deadline_s = deadline_s
        self._pause = pause

    async def published(self, deadline: Deadline) -> ServingState | None:
        """Return what the trainer published last, ``None`` when nobody knows."""
        try:
            return await self._dependencies.serving_state(deadline)
        except DependencyUnavailable:
            return None

    async def user(self, request: RecommendationRequest, missing: set[str]) -> tuple[UserView, bool]:
        """Return (view, stale), having waited a while for the state that ``after`` asks for."""
        waiting = Deadline(self._clock, WAITING_SHARE * self._deadline_s)
        pause_s = FIRST_PAUSE_S
        first = True
        while True:
            # Offsets are read BEFORE the user: what ``learned`` covers was in the user's document when they were
            # published, so it is in what is read after. What the index alone has counts once the view includes it.
            learned, indexed = await self._learned(request, waiting, at_once=not first)
            try:
                view = NOBODY if request.user_id is None else await self._dependencies.user(request.user_id, waiting)
            except DependencyUnavailable as error:
                missing.add(error.dependency)
                return NOBODY, request.after is not None
            if request.after is None or learned:
                return view, False
            if (indexed or request.level == "history") and view.includes(request.after):
                return view, False
            if waiting.remaining_s() <= pause_s:
                return view, True
            await self._pause(pause_s)
            first, pause_s = False, min(2 * pause_s, LONGEST_PAUSE_S)

    async def _learned(self, request: RecommendationRequest, waiting: Deadline, at_once: bool) -> tuple[bool, bool]:
        """Say whether every store has what ``after`` names, and whether the index has."""
        after = request.after
        if after is None:
            return False, False
        try:
            state = await self._dependencies.serving_state(waiting, max_age_s=0.0 if at_once else None)
        except DependencyUnavailable:
            return False, False
        place, offset = after.partition, after.offset
        return state.learned.get(place, 0) > offset, state.indexed.get(place, 0) > offset
