"""What happens to a list once the candidates are found; nothing, unless the request asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from recommender_server import rules
from recommender_server.answers import Pick
from recommender_server.candidates import Seeking
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.diversity import spread
from recommender_server.problems import bad_parameter
from recommender_server.recommendation_request import RecommendationRequest
from recommender_server.rules import ReadRule, Rule

# What is arranged is chosen from a list so much longer than the one that is answered.
TIMES_K, AND, MOST = 4, 20, 2000

_log = logging.getLogger(__name__)


class Arranger:
    """Arranges lists as requests ask: by rules, then by diversity, pinned items before all."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def length(self, request: RecommendationRequest) -> int:
        """Return how long a list must be sought for this request."""
        return min(TIMES_K * request.k + AND, MOST) if request.diversity or request.rules else request.k

    async def rules(self, request: RecommendationRequest, deadline: Deadline, missing: set[str]) -> Sequence[ReadRule]:
        """Return the rules of a request, stored ones at most a second old. Raises ``Problem`` for an unknown one."""
        stored: dict[str, bytes] | None = None
        found = []
        for named in request.rules:
            rule = named if isinstance(named, Rule) else rules.BUILT_IN.get(named)
            if rule is not None:
                found.append(rules.read(rule))
                continue
            try:
                if stored is None:
                    stored = await self._dependencies.rules(deadline)
                if named not in stored:  # it may have been stored this second
                    stored = await self._dependencies.rules(deadline, max_age_s=0.0)
            except DependencyUnavailable as error:
                missing.add(error.dependency)
                return found
            if named not in stored:
                raise bad_parameter("rules", f"no rule is stored under {named!r}")
            try:
                found.append(rules.stored(stored[named]))
            except Exception:  # whatever another version wrote, the list is answered without it
                _log.exception("the stored rule %r cannot be read", named)
        return found

    async def arrange(
        self, picks: list[Pick], request: RecommendationRequest, asked: Sequence[ReadRule], seeking: Seeking
    ) -> list[Pick]:
        """Return the k picks of this request, in the order it asks for; as they were when the index does not help."""
        catalogue = seeking.catalogue
        pinned: list[Pick] = []
        if asked:
            pins = [(item_id, 0.0) for item_id in dict.fromkeys(item_id for rule in asked for item_id in rule.pin)]
            page = [] if request.item_id is None else [request.item_id]
            shown = await catalogue.take(pins, request.k, seeking.blocked, page)
            by_id = {pick.item_id: pick for pick in picks}
            for item_id, score in shown:
                if catalogue.get(item_id) is not None:
                    pick = by_id.pop(item_id, Pick(item_id, score, "", "pinned"))
                    pinned.append(pick._replace(reason=rules.PINNED_REASON))
            await catalogue.read([*by_id, *page])
            picks = rules.applied(asked, list(by_id.values()), catalogue, catalogue.get(page[0]) if page else None)
        if request.diversity:
            try:
                vectors = await self._dependencies.vectors([pick.item_id for pick in picks], seeking.deadline)
                picks = spread(picks, vectors, request.k, request.diversity)
            except DependencyUnavailable as error:
                seeking.missing.add(error.dependency)
        return [*pinned, *picks][: request.k]
