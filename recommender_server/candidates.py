"""Where candidates come from: one method per source, each exact in what it can see.

Every method returns at most k candidates that may be shown, best first, and raises ``DependencyUnavailable`` when
what it needs does not answer; which one is asked in which case is decided in ``recommending``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from models import ranking
from recommender_server.catalogue_view import CatalogueView, Scored
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies, Edges
from recommender_server.passing_items import MOST_PASSING, READ_AT_ONCE, PassingItems
from stores.ports import MAX_HITS, POPULAR, Candidates, Clock, Numbered, Query, ServingState, Vectors

# So many items that pass a filter are compared with one by their vectors.
MOST_COMPARED = 1_900


@dataclass
class Seeking:
    """What is sought in one request: k items, none of them ``blocked``, for someone with this history.

    ``recent``: positives, NEWEST FIRST, the visitor's favourites among them. ``edges``: of the recent items, once read.
    ``missing``: the dependencies that the request had to do without.
    """

    k: int
    recent: list[str]
    embedding: Vectors | None
    blocked: frozenset[str]
    catalogue: CatalogueView
    deadline: Deadline
    missing: set[str]
    edges: Edges | None = None

    def first_size(self) -> int:
        """Return how many to ask for at first: usually enough once blocked ones have left."""
        return min(self.k + len(self.blocked), 4 * self.k + 100, MAX_HITS)


class CandidateSources:
    """The sources of candidates."""

    def __init__(self, dependencies: Dependencies, clock: Clock) -> None:
        self._dependencies = dependencies
        self._passing = PassingItems(dependencies, clock)

    async def personal(self, seeking: Seeking, state: ServingState) -> list[Scored]:
        """Return the best k by the merged score of ``models.ranking``.

        The list is exact: the index is asked for more, four-fold each time, then without the blocked items, at last
        page by page, until the k-th shown item beats whatever the index did not name (see ``models.ranking``), or the
        index has no more, or the time of the request is over. A filter that few items pass is looked for in the
        catalogue instead, and what passes it scored.
        """
        transitions = await self._transitions(seeking)
        size, exclude = seeking.first_size(), list[str]()
        within: list[str] | None = None
        shown: list[Scored] = []
        passed: list[Scored] = []  # shown, of pages that were left behind
        while True:
            query = _query(seeking, state, size, exclude, list(transitions), within)
            try:
                found = await self._dependencies.search(query, seeking.deadline)
            except DependencyUnavailable as error:
                if not shown:
                    raise
                seeking.missing.add(error.dependency)
                return shown
            shown = await self._shown(seeking, found, transitions, state.merge_weights)
            if passed:
                shown = sorted(dict([*passed, *shown]).items(), key=lambda pair: (-pair[1], pair[0]))[: seeking.k]
            exhausted = len(found.item_ids) < size
            if exhausted or (len(shown) == seeking.k and shown[-1][1] >= found.scores[-1]):
                return shown
            if size > seeking.first_size() and within is None:
                within = await self._all_that_pass(seeking, shown)
                if within is not None:
                    transitions = {item_id: transitions[item_id] for item_id in within if item_id in transitions}
                    exclude, size = [], min(len(within) + 1, MAX_HITS)
                    continue
            if size == MAX_HITS:
                passed, exclude = shown, [*(exclude or sorted(seeking.blocked)), *found.item_ids]
            elif size > seeking.first_size():
                exclude = sorted(seeking.blocked)
            size = min(4 * size, MAX_HITS)

    async def _all_that_pass(self, seeking: Seeking, shown: Sequence[Scored]) -> list[str] | None:
        """Return all items that pass the filter and are not blocked, those that are ``shown`` already among them.

        ``None`` without a filter, when so many pass that the index had better go on page by page, or when nobody can
        say in time.
        """
        if seeking.catalogue.filter is None:
            return None
        try:
            passing = await self._passing.of(seeking.catalogue.filter, seeking.deadline)
        except DependencyUnavailable:
            return None
        if len(passing) >= MOST_PASSING:
            return None
        known = dict.fromkeys([*passing, *(item_id for item_id, _ in shown)])
        return [item_id for item_id in known if item_id not in seeking.blocked]

    async def unheard(self, seeking: Seeking) -> list[Scored]:
        """Return the newest items that may be shown, whether or not the index knows them; they have no score."""
        if seeking.catalogue.filter is not None:
            passing = await self._passing.of(seeking.catalogue.filter, seeking.deadline)
            return await self._take(seeking, [(item_id, 0.0) for item_id in passing])
        shown: list[Scored] = []
        page = await self._newest(None, seeking.deadline)
        while page and len(shown) < seeking.k and seeking.deadline.remaining_s():
            shown += await self._take(seeking, [(item.item_id, 0.0) for _, item in page])
            page = await self._newest(page[-1].number, seeking.deadline)
        return shown[: seeking.k]

    async def _newest(self, before: int | None, deadline: Deadline) -> list[Numbered]:
        return await self._dependencies.of_items(lambda items: items.newest(READ_AT_ONCE, before=before), deadline)

    async def best(self, seeking: Seeking, state: ServingState, size: int) -> list[Scored]:
        """Return the best ``size`` of all items by the merged score, blocked and unavailable ones among them."""
        everything = dataclasses.replace(seeking, k=size, blocked=frozenset())
        transitions = await self._transitions(everything)
        query = _query(everything, state, min(size, MAX_HITS), [], list(transitions))
        found = await self._dependencies.search(query, seeking.deadline)
        return ranking.top(*_merged(found, frozenset(), transitions, state.merge_weights), size)

    async def neighbours(self, seeking: Seeking, state: ServingState | None) -> list[Scored]:
        """Return the neighbours of the recent items in the item graph, by the re-rank part of the merged score."""
        return await self._take(seeking, await self.by_transitions(seeking, state))

    async def by_transitions(self, seeking: Seeking, state: ServingState | None) -> list[Scored]:
        """Return all neighbours of the recent items, blocked ones too, by the re-rank part of the merged score."""
        transitions = ranking.transitions(seeking.recent, await self._edges(seeking, required=True))
        weights = state.merge_weights if state else [1.0] * len(ranking.FEATURES)
        ids = list(transitions)
        t = np.array([transitions[item_id] for item_id in ids], dtype=np.float64).reshape(-1, 2)
        scores = ranking.merged_scores(np.zeros(len(ids)), t[:, 0], t[:, 1], weights)
        return ranking.top(ids, scores, len(ids))

    async def given(self, seeking: Seeking, state: ServingState, item_ids: Sequence[str]) -> list[Scored]:
        """Return these items by the merged score, those left out that the index does not know."""
        query = _query(seeking, state, len(item_ids), [], [], list(item_ids))
        found = await self._dependencies.search(query, seeking.deadline)
        transitions = await self._transitions(seeking)
        return ranking.top(*_merged(found, frozenset(), transitions, state.merge_weights), len(item_ids))

    async def similar(self, seeking: Seeking, item_id: str) -> list[Scored]:
        """Return the items nearest to one; empty when the index does not know it."""
        size = seeking.first_size()
        while True:
            found = await self._dependencies.similar(item_id, size, seeking.deadline) or []
            shown = await self._take(seeking, found, beside=[item_id])
            if len(shown) == seeking.k or len(found) < size or size == MAX_HITS:
                return shown
            if size > seeking.first_size():
                within = await self._all_that_pass(seeking, shown)
                if within is not None and len(within) <= MOST_COMPARED:
                    nearest = await self._nearest(item_id, within, seeking.deadline)
                    return await self._take(seeking, nearest, beside=[item_id])
            size = min(4 * size, MAX_HITS)

    async def _nearest(self, item_id: str, others: Sequence[str], deadline: Deadline) -> list[Scored]:
        """Return these items by the cosine with one, those left out that the index does not know."""
        vectors = await self._dependencies.vectors([item_id, *others], deadline)
        own = vectors.pop(item_id, None)
        if own is None or not vectors:
            return []
        return ranking.top(list(vectors), np.array([vector @ own for vector in vectors.values()]), len(vectors))

    async def popular(self, seeking: Seeking) -> tuple[list[Scored], bool]:
        """Return the most popular items, and whether the store confirmed the list (or it is the last known one)."""
        known = await self._dependencies.popular(POPULAR, seeking.deadline)
        return await self._take(seeking, known.value), known.confirmed

    async def _transitions(self, seeking: Seeking) -> dict[str, tuple[float, float]]:
        found = ranking.transitions(seeking.recent, await self._edges(seeking))
        return {item_id: t for item_id, t in found.items() if item_id not in seeking.blocked}

    async def _edges(self, seeking: Seeking, required: bool = False) -> Edges:
        if seeking.edges is None:
            try:
                recent = seeking.recent[: ranking.TRANSITION_LENGTH]
                seeking.edges = await self._dependencies.neighbours(recent, seeking.deadline)
            except DependencyUnavailable as error:
                if required:
                    raise
                seeking.missing.add(error.dependency)
                return {}
        return seeking.edges

    async def _shown(
        self,
        seeking: Seeking,
        found: Candidates,
        transitions: dict[str, tuple[float, float]],
        merge_weights: Sequence[float],
    ) -> list[Scored]:
        ids, scores = _merged(found, seeking.blocked, transitions, merge_weights)
        shown: list[Scored] = []
        for most in (2 * seeking.k + 10, len(ids)):  # all of them only when many of the best are unavailable
            shown = await self._take(seeking, ranking.top(ids, scores, most))
            if len(shown) == seeking.k or most >= len(ids):
                break
        return shown

    async def _take(self, seeking: Seeking, ranked: Sequence[Scored], beside: Sequence[str] = ()) -> list[Scored]:
        named = [*beside, *seeking.recent[: ranking.TRANSITION_LENGTH]]  # reasons name them
        return await seeking.catalogue.take(ranked, seeking.k, seeking.blocked, named)


def folded_embedding(seeking: Seeking, state: ServingState) -> Vectors | None:
    """Return the embedding that counts in the query."""
    embedding = seeking.embedding
    if embedding is not None and embedding.shape != (state.dimension,):
        return None  # of another generation: its user has not been published again yet
    return embedding


def _query(
    seeking: Seeking,
    state: ServingState,
    size: int,
    exclude: list[str],
    also: list[str],
    within: list[str] | None = None,
) -> Query:
    folded = seeking.recent[: state.context_length]
    return Query(
        vector=ranking.query_vector(folded_embedding(seeking, state), state.merge_weights, state.dimension),
        k=size,
        recent=folded,
        recent_weights=ranking.recent_weights(len(folded), state.merge_weights, state.context_decay),
        exclude=exclude,
        also=also,
        within=within,
    )


def _merged(
    found: Candidates,
    blocked: Collection[str],
    transitions: dict[str, tuple[float, float]],
    merge_weights: Sequence[float],
) -> tuple[list[str], ranking.Floats]:
    """Return what was found, hits and neighbours, each once, with the merged scores."""
    # Blocked items may be among the hits, not among the neighbours: those were left out of the query.
    among = set(found.item_ids)
    hits = [position for position, item_id in enumerate(found.item_ids) if item_id not in blocked]
    beyond = [position for position, item_id in enumerate(found.also_ids) if item_id not in among]
    ids = [found.item_ids[position] for position in hits] + [found.also_ids[position] for position in beyond]
    inner_products = np.concatenate([found.scores[hits], found.also_scores[beyond]]).astype(np.float64)
    t = np.array([transitions.get(item_id, (0.0, 0.0)) for item_id in ids], dtype=np.float64).reshape(-1, 2)
    return ids, ranking.merged_scores(inner_products, t[:, 0], t[:, 1], merge_weights)


def strongest_links(item_ids: Collection[str], recent: Sequence[str], edges: Edges) -> dict[str, str]:
    """Return, for those of the items that are neighbours of recent ones, the recent one that leads there most."""
    best: dict[str, tuple[float, str]] = {}
    decay = 1.0
    for item in recent[: ranking.TRANSITION_LENGTH]:
        for neighbour, weight in edges.get(item, ()):
            if neighbour in item_ids and decay * weight > best.get(neighbour, (0.0, ""))[0]:
                best[neighbour] = (decay * weight, item)
        decay *= ranking.TRANSITION_DECAY
    return {neighbour: item for neighbour, (_, item) in best.items()}
