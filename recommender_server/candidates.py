"""Where candidates come from: one method per source, each exact in what it can see.

Every method returns at most k candidates that may be shown, best first, and raises ``DependencyUnavailable`` when
what it needs does not answer; which one is asked in which case is decided in ``recommending``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models import ranking
from recommender_server.catalogue_view import CatalogueView, Scored
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.item_graph import ItemGraph, Lifted, Neighbourhood
from recommender_server.passing_items import MOST_PASSING, READ_AT_ONCE, PassingItems
from stores.ports import MAX_HITS, POPULAR, Candidates, Clock, Numbered, Query, ServingState, Vectors

# So many items that pass a filter are compared with one by their vectors.
MOST_COMPARED = 1_900
# The index is told so many of the largest lifts at first, and asked for so many hits beyond those that are needed. The
# more of either, the sooner a list is known to be exact, and the longer are the messages (``benchmarks.serve``).
STRONGEST, DEPTH = 100, 60


@dataclass
class Seeking:
    """What is sought in one request: k items, none of them ``blocked``, for someone with this history.

    ``recent``: positives, NEWEST FIRST, the visitor's favourites among them. ``neighbourhood``: theirs, once read.
    ``missing``: the dependencies that the request had to do without.
    """

    k: int
    recent: list[str]
    embedding: Vectors | None
    blocked: frozenset[str]
    catalogue: CatalogueView
    deadline: Deadline
    missing: set[str]
    neighbourhood: Neighbourhood | None = None

    def first_size(self) -> int:
        """Return how many to ask for at first: usually enough once blocked ones have left."""
        return min(self.k + len(self.blocked) + DEPTH, 4 * self.k + 100 + DEPTH, MAX_HITS)


class CandidateSources:
    """The sources of candidates."""

    def __init__(self, dependencies: Dependencies, clock: Clock) -> None:
        self._dependencies = dependencies
        self._passing = PassingItems(dependencies, clock)

    async def personal(self, seeking: Seeking, state: ServingState) -> list[Scored]:
        """Return the best k by the merged score of ``models.ranking``.

        The list is exact. The index is told the largest lifts only (see ``item_graph``), and whatever it does not name
        scores no more than the last one it names and the largest lift it was not told. It is asked for more, four-fold
        each time, then without the blocked items, at last page by page, until the k-th shown item beats that, or the
        index has no more, or the time of the request is over. A filter that few items pass is looked for in the
        catalogue instead, and what passes it scored.
        """
        lifts = (await self._neighbourhood(seeking)).lifts(weights_for(seeking, state), seeking.blocked)
        size, strongest, exclude = seeking.first_size(), STRONGEST, list[str]()
        within: list[str] | None = None
        shown: list[Scored] = []
        passed: list[Scored] = []  # shown, of pages that were left behind
        while True:
            lifted = lifts.strongest(strongest)
            query = _query(seeking, state, size, exclude, lifted, within)
            try:
                found = await self._dependencies.search(query, seeking.deadline)
            except DependencyUnavailable as error:
                if not shown:
                    raise
                seeking.missing.add(error.dependency)
                return shown
            shown = await self._shown(seeking, found, lifted)
            if passed:
                shown = sorted(dict([*passed, *shown]).items(), key=lambda pair: (-pair[1], pair[0]))[: seeking.k]
            exhausted = len(found.item_ids) < size
            if exhausted or (len(shown) == seeking.k and shown[-1][1] >= found.scores[-1] + lifted.others.largest):
                return shown
            strongest *= 4
            if size > seeking.first_size() and within is None:
                within = await self._all_that_pass(seeking, shown)
                if within is not None:
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
        lifts = (await self._neighbourhood(everything)).lifts(weights_for(seeking, state))
        query = _query(everything, state, min(size, MAX_HITS), [], lifts.strongest(MAX_HITS))
        found = await self._dependencies.search(query, seeking.deadline)
        return ranking.top(found.item_ids, found.scores, size)

    async def neighbours(self, seeking: Seeking, state: ServingState | None) -> list[Scored]:
        """Return the neighbours of the recent items in the item graph, by the re-rank part of the merged score."""
        return await self._take(seeking, await self.by_transitions(seeking, state))

    async def by_transitions(self, seeking: Seeking, state: ServingState | None) -> list[Scored]:
        """Return all neighbours of the recent items, blocked ones too, by the re-rank part of the merged score."""
        return (await self._neighbourhood(seeking, required=True)).lifts(weights_for(seeking, state)).ranked()

    async def given(self, seeking: Seeking, state: ServingState, item_ids: Sequence[str]) -> list[Scored]:
        """Return these items by the merged score, those left out that the index does not know."""
        query = _query(seeking, state, len(item_ids), [], within=list(item_ids))
        found = await self._dependencies.search(query, seeking.deadline)
        lifts = (await self._neighbourhood(seeking)).lifts(weights_for(seeking, state), seeking.blocked)
        return ranking.top(found.item_ids, found.scores + lifts.of(found.item_ids), len(item_ids))

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

    async def _neighbourhood(self, seeking: Seeking, required: bool = False) -> Neighbourhood:
        if seeking.neighbourhood is None:
            recent = seeking.recent[: ranking.TRANSITION_LENGTH]
            try:
                seeking.neighbourhood = await self._dependencies.neighbourhood(recent, seeking.deadline)
            except DependencyUnavailable as error:
                if required:
                    raise
                seeking.missing.add(error.dependency)
                return ItemGraph().around([], {})
        return seeking.neighbourhood

    async def _shown(self, seeking: Seeking, found: Candidates, lifted: Lifted) -> list[Scored]:
        scores = found.scores + lifted.others.of(found.item_ids)
        open_ones = [place for place, item_id in enumerate(found.item_ids) if item_id not in seeking.blocked]
        ids, scores = [found.item_ids[place] for place in open_ones], scores[open_ones]
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


def weights_for(seeking: Seeking, state: ServingState | None) -> list[float]:
    """Return the merge weights for a history as long as this one; all 1 while the trainer has told nothing yet."""
    if state is None:
        return [1.0] * len(ranking.FEATURES)
    return state.merge_weights[ranking.history(len(seeking.recent))]


def _query(
    seeking: Seeking,
    state: ServingState,
    size: int,
    exclude: list[str],
    lifted: Lifted | None = None,
    within: list[str] | None = None,
) -> Query:
    folded, weights = seeking.recent[: ranking.folded(state.context_length)], weights_for(seeking, state)
    return Query(
        vector=ranking.query_vector(folded_embedding(seeking, state), weights, state.dimension),
        k=size,
        recent=folded,
        recent_weights=ranking.recent_weights(len(folded), weights, state.context_length, state.context_decay),
        exclude=exclude,
        lifted=lifted.item_ids if lifted else [],
        lifts=lifted.lifts if lifted else [],
        within=within,
    )
