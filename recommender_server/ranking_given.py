"""Ranking items that the client names, for whoever has his own candidates."""

from __future__ import annotations

from collections.abc import Sequence

from recommender_server.answers import AsOf, Pick, Ranking, Source, recommended
from recommender_server.candidates import CandidateSources, Seeking
from recommender_server.catalogue_view import CatalogueView, Scored
from recommender_server.current_state import CurrentState
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.explaining import Explainer
from recommender_server.problems import starting
from recommender_server.reasons import Reasons
from recommender_server.recommendation_request import RecommendationRequest, recent_items
from stores.ports import Clock


class GivenRanker:
    """Orders a given list by the score that recommending uses; nothing leaves it, whatever the user has seen."""

    def __init__(self, dependencies: Dependencies, current: CurrentState, clock: Clock, deadline_s: float) -> None:
        self._dependencies = dependencies
        self._sources = CandidateSources(dependencies, clock)
        self._reasons = Reasons(dependencies, clock)
        self._explainer = Explainer(dependencies, self._sources, self._reasons)
        self._current = current
        self._clock = clock
        self._deadline_s = deadline_s

    async def rank(self, request: RecommendationRequest, candidates: Sequence[str], request_id: str) -> Ranking:
        """Return the candidates, best first, and apart those that the index does not know.

        Without the index they are ordered by transitions alone, in the order given where these say nothing. Raises
        ``Problem`` only when nothing was published yet.
        """
        deadline = Deadline(self._clock, self._deadline_s)
        missing = set[str]()
        state = await self._current.published(deadline)
        view, stale = await self._current.user(request, missing)
        catalogue = CatalogueView(self._dependencies, deadline, missing)
        recent = recent_items(request, view)
        seeking = Seeking(len(candidates), recent, view.embedding, frozenset(), catalogue, deadline, missing)
        source: Source = "personal"
        found: list[Scored] | None = None
        if state is not None:
            try:
                found = await self._sources.given(seeking, state, candidates)
            except DependencyUnavailable as error:
                missing.add(error.dependency)
        if found is None:
            source, found = "neighbours", await self._by_transitions(seeking, candidates)
        await catalogue.read([*candidates, *recent[:20]])
        reasons = await self._reasons.in_short(source, found, None, seeking, state)
        picks = [Pick(*scored, reason, source) for scored, reason in zip(found, reasons, strict=True)]
        if request.explain != "none":
            picks = await self._explainer.take_apart(picks, seeking, state, None)
        ranked = {pick.item_id for pick in picks}
        return Ranking(
            request_id=request_id,
            source=source,
            degraded=bool(missing),
            stale=stale,
            as_of=AsOf(view.as_of or (state.learned if state else {}), len(view.pending)),
            items=[recommended(pick, catalogue.get(pick.item_id)) for pick in picks],
            unranked=[item_id for item_id in candidates if item_id not in ranked],
        )

    async def _by_transitions(self, seeking: Seeking, candidates: Sequence[str]) -> list[Scored]:
        try:
            scores = dict(await self._sources.by_transitions(seeking, None))
        except DependencyUnavailable as error:
            raise starting("neither the index nor the item graph answers") from error
        return sorted(((item_id, scores.get(item_id, 0.0)) for item_id in candidates), key=lambda pair: -pair[1])
