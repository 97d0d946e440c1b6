"""What happens to a list once the candidates are found; nothing, unless the request asks for it."""

from __future__ import annotations

from recommender_server.answers import Pick
from recommender_server.candidates import Seeking
from recommender_server.degradation import DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.diversity import spread
from recommender_server.recommendation_request import RecommendationRequest

# What is arranged is chosen from a list so much longer than the one that is answered.
TIMES_K, AND, MOST = 4, 20, 2000


class Arranger:
    """Arranges lists as requests ask."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def length(self, request: RecommendationRequest) -> int:
        """Return how long a list must be sought for this request."""
        return min(TIMES_K * request.k + AND, MOST) if request.diversity else request.k

    async def arrange(self, picks: list[Pick], request: RecommendationRequest, seeking: Seeking) -> list[Pick]:
        """Return the k picks of this request, in the order it asks for; as they were when the index does not help."""
        if request.diversity:
            try:
                vectors = await self._dependencies.vectors([pick.item_id for pick in picks], seeking.deadline)
                picks = spread(picks, vectors, request.k, request.diversity)
            except DependencyUnavailable as error:
                seeking.missing.add(error.dependency)
        return picks[: request.k]
