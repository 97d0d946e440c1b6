"""Why an item is on a list: its score taken apart, and what was left out.

The score of ``models.ranking`` is a sum, and the index can be asked for each term alone, over the shown items only: one
query per recent item (its context embedding at its weight), one for the embedding, one for the bias and one for each
popularity column, all in one call. The parts ARE the score then, so they add up whatever moved in between.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Collection, Sequence

import numpy as np

from models import ranking
from recommender_server import reasons
from recommender_server.answers import LeftOut, Part, Pick, Source, Why
from recommender_server.candidates import CandidateSources, Seeking, folded_embedding, weights_for
from recommender_server.degradation import DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.reasons import Reasons
from recommender_server.rules import PINNED_REASON
from stores.ports import POPULAR, Query, ServingState

# So many of the best candidates beyond the list are looked at to say what was left out.
LOOKED_AT = 100

# Why items do not come, and which; the first that applies counts.
Refusals = Sequence[tuple[Why, Collection[str]]]


class Explainer:
    """Takes lists apart; asked only when a request says ``explain``."""

    def __init__(self, dependencies: Dependencies, sources: CandidateSources, reasons: Reasons) -> None:
        self._dependencies = dependencies
        self._sources = sources
        self._reasons = reasons

    async def take_apart(
        self, picks: Sequence[Pick], seeking: Seeking, state: ServingState | None, page_item_id: str | None
    ) -> list[Pick]:
        """Return the picks with their parts, each score being their sum; as they were where nobody can tell."""
        explained: list[Pick] = []
        this_week = await self._reasons.this_week(seeking, state)
        for source, group in itertools.groupby(picks, lambda pick: pick.source):
            of_source = list(group)
            try:
                parts = await self._parts(source, of_source, seeking, state, page_item_id)
            except DependencyUnavailable as error:
                seeking.missing.add(error.dependency)
                explained += of_source
                continue
            for pick in of_source:
                own = parts[pick.item_id]
                own_reason = source == "personal" and pick.reason != PINNED_REASON
                reason = pick.reason
                if own_reason:
                    reason = reasons.of_parts(pick.item_id, own, seeking.catalogue.name, this_week)
                own += [Part("boost", pick.boost)] if pick.boost else []
                score = math.fsum(part.value for part in own)
                explained.append(pick._replace(score=score, reason=reason, parts=own))
        return explained

    async def _parts(
        self,
        source: Source,
        picks: Sequence[Pick],
        seeking: Seeking,
        state: ServingState | None,
        page_item_id: str | None,
    ) -> dict[str, list[Part]]:
        if source in ("personal", "new") and state is not None:
            return await self._personal([pick.item_id for pick in picks], seeking, state)
        if source == "neighbours":
            weights = weights_for(seeking, state)
            return {pick.item_id: _transition_parts(pick.item_id, seeking, weights) for pick in picks}
        if source == "similar":
            return {pick.item_id: [Part("similarity", pick.score - pick.boost, page_item_id)] for pick in picks}
        if source == "pinned":
            return {pick.item_id: [] for pick in picks}
        return {pick.item_id: [Part("popularity", pick.score - pick.boost)] for pick in picks}

    async def _personal(self, item_ids: list[str], seeking: Seeking, state: ServingState) -> dict[str, list[Part]]:
        weights, d = weights_for(seeking, state), state.dimension
        whole = ranking.query_vector(folded_embedding(seeking, state), weights, d)
        nothing = np.zeros_like(whole)
        recent = seeking.recent[: ranking.folded(state.context_length)]
        folded = ranking.recent_weights(len(recent), weights, state.context_length, state.context_decay)
        queries = [
            Query(nothing, len(item_ids), recent=[item_id], recent_weights=[weight], within=item_ids)
            for item_id, weight in zip(recent, folded, strict=True)
        ]
        terms: list[tuple[Part, slice]] = [
            (Part("embedding", 0.0), slice(0, d)),
            (Part("bias", 0.0), slice(d, d + 1)),
            (Part("popularity_fast", 0.0), slice(d + 1, d + 2)),
            (Part("popularity_slow", 0.0), slice(d + 2, d + 3)),
        ]
        for _, columns in terms:
            vector = nothing.copy()
            vector[columns] = whole[columns]
            queries.append(Query(vector, len(item_ids), within=item_ids))
        kinds = [Part("context", 0.0, item_id) for item_id in recent] + [part for part, _ in terms]
        answers = await asyncio.gather(*(self._dependencies.search(query, seeking.deadline) for query in queries))
        parts = {item_id: _transition_parts(item_id, seeking, weights) for item_id in item_ids}
        for kind, answer in zip(kinds, answers, strict=True):
            for item_id, value in zip(answer.item_ids, answer.scores.tolist(), strict=True):
                if value:
                    parts[item_id].append(Part(kind.of, value, kind.item_id))
        return parts

    async def left_out(
        self,
        source: Source,
        picks: Sequence[Pick],
        k: int,
        seeking: Seeking,
        state: ServingState | None,
        refusals: Refusals,
    ) -> list[LeftOut]:
        """Return, best first, what would have stood on the list of k, among the best ``LOOKED_AT`` beyond it, and why
        it does not.
        """
        size = k + LOOKED_AT
        try:
            if source == "personal" and state is not None:
                candidates = await self._sources.best(seeking, state, size)
            else:
                candidates = (await self._dependencies.popular(POPULAR, seeking.deadline)).value[:size]
        except DependencyUnavailable as error:
            seeking.missing.add(error.dependency)
            return []
        await seeking.catalogue.read([item_id for item_id, _ in candidates])
        listed = {pick.item_id for pick in picks}
        scores = [pick.score for pick in picks if pick.source == source]
        worst = min(scores, default=-math.inf) if len(picks) == k else -math.inf
        found = []
        for item_id, score in candidates:
            if item_id in listed or score < worst:
                continue
            why = next((why for why, item_ids in refusals if item_id in item_ids), seeking.catalogue.refusal(item_id))
            if why is not None:
                found.append(LeftOut(item_id, seeking.catalogue.name(item_id), score, why))
        return found


def _transition_parts(item_id: str, seeking: Seeking, weights: Sequence[float]) -> list[Part]:
    """Return what the transitions from each recent item count: the common logarithm is shared out by their sizes."""
    edges = seeking.neighbourhood.edges if seeking.neighbourhood else {}
    flows, decay = list[tuple[str, float]](), 1.0
    for recent in seeking.recent[: ranking.TRANSITION_LENGTH]:
        flows.append((recent, decay * sum(weight for target, weight in edges.get(recent, ()) if target == item_id)))
        decay *= ranking.TRANSITION_DECAY
    t_all = sum(flow for _, flow in flows)
    if t_all <= 0:
        return []
    together = weights[ranking.TRANSITIONS] * float(ranking.transition_feature(np.array(t_all)))
    last = weights[ranking.TRANSITIONS_LAST] * float(ranking.transition_feature(np.array(flows[0][1])))
    shares = [together * flow / t_all + (last if place == 0 else 0.0) for place, (_, flow) in enumerate(flows)]
    return [Part("transitions", share, recent) for (recent, _), share in zip(flows, shares, strict=True) if share]
