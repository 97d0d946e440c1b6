"""``/v1/outcomes``: how often people took what was recommended, as the trainer counts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import falcon.asgi
import msgspec

from recommender_server.answers import answer
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.parameters import QUERY_PROBLEMS
from recommender_server.problems import starting
from recommender_server.requests import query_parameters
from stores.openapi import Operation

# Of the two-sided interval: 95 %.
Z = 1.959964


class HitRate(msgspec.Struct, frozen=True):
    """Hits among what was shown, and the interval (Wilson, 95 %) that the true rate lies in."""

    shown: int
    hits: int
    rate: float
    low: float
    high: float


class Outcomes(msgspec.Struct, frozen=True):
    """What became of served lists since the model began.

    Counted are lists for known users, logged as SERVED_SAMPLE_RATE says; a hit is a positive of that user, of an item
    on his newest list that showed it, within half an hour. ``by_source``: lists with a hit. ``by_position`` (the
    first place first) and ``by_category``: items that were hit.
    """

    request_id: str
    by_source: dict[str, HitRate]
    by_position: list[HitRate]
    by_category: dict[str, HitRate]


OPERATIONS = (
    Operation(
        "get",
        "/v1/outcomes",
        "How often what was served was taken: by source, position and category, with intervals.",
        Outcomes,
        problems=(*QUERY_PROBLEMS, "starting"),
    ),
)


class OutcomesResource:
    """``/v1/outcomes``."""

    def __init__(self, dependencies: Dependencies, new_deadline: Callable[[], Deadline]) -> None:
        self._dependencies = dependencies
        self._new_deadline = new_deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Tell the hit rates."""
        query_parameters(request, ())
        try:
            state = await self._dependencies.serving_state(self._new_deadline())
        except DependencyUnavailable as error:
            raise starting(str(error)) from None
        counts = state.report.get("outcomes", {})
        answer(
            response,
            Outcomes(
                request.context.request_id,
                {source: hit_rate(*pair) for source, pair in _most_shown_first(counts.get("by_source", {}))},
                [hit_rate(*pair) for pair in counts.get("by_position", [])],
                {category: hit_rate(*pair) for category, pair in _most_shown_first(counts.get("by_category", {}))},
            ),
        )


def hit_rate(shown: int, hits: int) -> HitRate:
    """Return a rate with its interval (Wilson, J. Am. Stat. Assoc. 22, 1927), which holds for small counts too."""
    if not shown:
        return HitRate(0, 0, 0.0, 0.0, 1.0)
    rate = hits / shown
    middle = (rate + Z * Z / (2 * shown)) / (1 + Z * Z / shown)
    half = Z * math.sqrt(rate * (1 - rate) / shown + Z * Z / (4 * shown * shown)) / (1 + Z * Z / shown)
    return HitRate(shown, hits, rate, max(0.0, middle - half), min(1.0, middle + half))


def _most_shown_first(pairs: dict[str, Sequence[int]]) -> list[tuple[str, Sequence[int]]]:
    return sorted(pairs.items(), key=lambda pair: (-pair[1][0], pair[0]))
