"""One request for recommendations, from the user's state to the answer: personal while it can be, always something."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import msgspec

from recommender_server import cursor, filter_expression
from recommender_server.answers import AsOf, LeftOut, Pick, Recommendations, Source, recommended
from recommender_server.arranging import Arranger
from recommender_server.candidates import CandidateSources, Seeking
from recommender_server.catalogue_view import CatalogueView, Scored
from recommender_server.current_state import CurrentState
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.explaining import Explainer, Refusals
from recommender_server.exploration import Exploration
from recommender_server.problems import starting
from recommender_server.reasons import Reasons
from recommender_server.recommendation_request import RecommendationRequest, given_items, recent_items
from recommender_server.user_view import UserView
from stores.ports import Clock, Metrics, ServingState


class Recommender:
    """Answers requests for recommendations. Holds nothing but what it last read of popular lists and trainer state."""

    def __init__(
        self,
        dependencies: Dependencies,
        current: CurrentState,
        clock: Clock,
        metrics: Metrics,
        deadline_s: float,
        *,
        exploration_share: float,
        chance: random.Random,
    ) -> None:
        self._dependencies = dependencies
        self._sources = CandidateSources(dependencies, clock)
        self._arranger = Arranger(dependencies)
        self._exploration = Exploration(dependencies, self._sources, exploration_share, chance)
        self._reasons = Reasons(dependencies, clock)
        self._explainer = Explainer(dependencies, self._sources, self._reasons)
        self._current = current
        self._clock = clock
        self._metrics = metrics
        self._deadline_s = deadline_s
        self.answers_by_source: Counter[Source] = Counter()

    async def recommend(self, request: RecommendationRequest, request_id: str) -> Recommendations:
        """Answer within the deadline. Raises ``Problem`` only when there was never anything to answer with."""
        deadline = Deadline(self._clock, self._deadline_s)
        missing = set[str]()
        state = await self._current.published(deadline)
        view, stale = await self._current.user(request, missing)
        asked = await self._arranger.rules(request, deadline, missing) if request.rules else ()
        catalogue = CatalogueView(self._dependencies, deadline, missing, request.filter)
        blocked = _blocked(request, view)
        length = self._arranger.length(request)
        seeking = Seeking(length, recent_items(request, view), view.embedding, blocked, catalogue, deadline, missing)
        has_history = bool(view.recent or request.liked) or (view.embedding is not None and bool(view.embedding.any()))
        steps: list[Source]
        if has_history:
            steps = ["personal", "neighbours", "similar", "popular"]
        elif request.item_id is not None:
            steps = ["similar", "neighbours", "popular", "personal"]
        else:
            steps = ["popular", "personal"]
        steps.append("new")
        source, picks = await self._fill(steps, seeking, request.item_id, state)
        if request.item_id is not None and any(rule.by_page for rule in asked):
            picks += await self._of_category(request.item_id, request, steps, seeking, picks, state)
        if length > request.k:
            picks = await self._arranger.arrange(picks, request, asked, seeking)
        if len(picks) == request.k and not request.rules:
            picks = await self._exploration.explore(picks, seeking, state)
        left_out: list[LeftOut] | msgspec.UnsetType = msgspec.UNSET
        if request.explain != "none":
            picks = await self._explainer.take_apart(picks, seeking, state, request.item_id)
            if request.explain == "full":
                refusals = _refusals(request, view)
                left_out = await self._explainer.left_out(source, picks, request.k, seeking, state, refusals)
        picks = self._exploration.reasons(picks, seeking)
        as_of = AsOf(view.as_of or (state.learned if state else {}), len(view.pending))
        following = None
        if len(picks) == request.k:
            following = cursor.write(sorted(request.shown), [pick.item_id for pick in picks])
        return self._recommendations(request_id, source, picks, seeking, as_of, stale, following, left_out)

    async def similar(self, item_id: str, k: int, request_id: str) -> Recommendations | None:
        """Return the items most like one, ``None`` when nobody knows it. Raises ``Problem`` only while starting."""
        deadline = Deadline(self._clock, self._deadline_s)
        state = await self._current.published(deadline)
        seeking = self._seeking(k, [item_id], frozenset([item_id]), deadline)
        source, picks = await self._fill(["similar", "neighbours"], seeking, item_id, state)
        if not picks and not seeking.missing:
            await seeking.catalogue.read([item_id])
            if seeking.catalogue.get(item_id) is None and not seeking.missing:
                return None
        return self._recommendations(request_id, source, picks, seeking, AsOf(state.learned if state else {}, 0))

    async def popular(self, k: int, request_id: str) -> Recommendations:
        """Return what is popular now. Raises ``Problem`` only while starting."""
        deadline = Deadline(self._clock, self._deadline_s)
        state = await self._current.published(deadline)
        seeking = self._seeking(k, [], frozenset(), deadline)
        source, picks = await self._fill(["popular"], seeking, None, state)
        return self._recommendations(request_id, source, picks, seeking, AsOf(state.learned if state else {}, 0))

    def _seeking(self, k: int, recent: list[str], blocked: frozenset[str], deadline: Deadline) -> Seeking:
        missing = set[str]()
        return Seeking(
            k, recent, None, blocked, CatalogueView(self._dependencies, deadline, missing), deadline, missing
        )

    async def _of_category(
        self,
        page: str,
        request: RecommendationRequest,
        steps: list[Source],
        seeking: Seeking,
        picks: list[Pick],
        state: ServingState | None,
    ) -> list[Pick]:
        """Return the best k of the category of a page's item, without the picks: its order begins with these."""
        await seeking.catalogue.read([page])
        item = seeking.catalogue.get(page)
        if item is None or item.category is None:
            return []
        own = filter_expression.of_category(item.category)
        wanted = own if request.filter is None else filter_expression.both(request.filter, own)
        catalogue = CatalogueView(self._dependencies, seeking.deadline, seeking.missing, wanted)
        within = dataclasses.replace(seeking, k=request.k, catalogue=catalogue)
        listed = {pick.item_id for pick in picks}
        return [pick for pick in (await self._fill(steps, within, page, state))[1] if pick.item_id not in listed]

    # --- the chain of sources -----------------------------------------------------------------------------------

    async def _fill(
        self, steps: list[Source], seeking: Seeking, item_id: str | None, state: ServingState | None
    ) -> tuple[Source, list[Pick]]:
        """Ask one source after the other until the list is full; the first that contributes names the answer."""
        picks: list[Pick] = []
        source: Source | None = None
        first_answered: Source | None = None
        for step in steps:
            rest = dataclasses.replace(
                seeking, k=seeking.k - len(picks), blocked=seeking.blocked.union(pick[0] for pick in picks)
            )
            try:
                found, name = await self._ask(step, rest, item_id, state)
            except DependencyUnavailable as error:
                seeking.missing.add(error.dependency)
                continue
            finally:
                seeking.neighbourhood = rest.neighbourhood
            if name == "last_known_popular":
                seeking.missing.add("items")
            if step != "new":  # that names an answer only by what it gives
                first_answered = first_answered or name
            if found:
                source = source or name
                reasons = await self._reasons.in_short(name, found, item_id, seeking, state)
                picks += [Pick(*scored, reason, name) for scored, reason in zip(found, reasons, strict=True)]
            if len(picks) >= seeking.k:
                break
        answered = source or first_answered or ("popular" if state is not None else None)
        if answered is None or (not picks and state is None):
            raise starting("nothing has been learned or published yet; try again in a moment")
        return answered, picks

    async def _ask(
        self, step: Source, seeking: Seeking, item_id: str | None, state: ServingState | None
    ) -> tuple[list[Scored], Source]:
        if step == "personal":
            if state is None:
                raise DependencyUnavailable("trainer", "has not published how to rank")
            return await self._sources.personal(seeking, state), step
        if step == "neighbours":
            return await self._sources.neighbours(seeking, state), step
        if step == "similar":
            return (await self._sources.similar(seeking, item_id), step) if item_id is not None else ([], step)
        if step == "new":
            if state is None:
                raise DependencyUnavailable("trainer", "has published nothing yet")
            return await self._sources.unheard(seeking), step
        found, confirmed = await self._sources.popular(seeking)
        return found, "popular" if confirmed else "last_known_popular"

    def _recommendations(
        self,
        request_id: str,
        source: Source,
        picks: list[Pick],
        seeking: Seeking,
        as_of: AsOf,
        stale: bool = False,
        following: str | None = None,
        left_out: list[LeftOut] | msgspec.UnsetType = msgspec.UNSET,
    ) -> Recommendations:
        self.answers_by_source[source] += 1
        self._metrics.count("recommendations", source=source)
        for dependency in seeking.missing:
            self._metrics.count("degraded", dependency=dependency)
        if stale:
            self._metrics.count("stale_answers")
        items = [recommended(pick, seeking.catalogue.get(pick.item_id)) for pick in picks]
        return Recommendations(request_id, source, bool(seeking.missing), stale, as_of, items, following, left_out)


def _refusals(request: RecommendationRequest, view: UserView) -> Refusals:
    """Return why items do not come, the first that applies counts."""
    return (
        ("given", given_items(request)),
        ("hidden", view.hidden),
        ("excluded", request.exclude),
        ("shown_before", request.shown),
        ("seen", view.seen.union(view.recent) if request.seen == "hide" else ()),
    )


def _blocked(request: RecommendationRequest, view: UserView) -> frozenset[str]:
    blocked = request.exclude.union(given_items(request), view.hidden, request.shown)
    return blocked.union(view.seen, view.recent) if request.seen == "hide" else blocked
