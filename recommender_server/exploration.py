"""A small share of all places goes to new items, so that they get their first clicks.

However well content describes an item, nobody has had it yet, and lists are full of what many have had. Of new items
the one is taken that fits best among those that this process has shown least, and one that was passed over often goes
before: so that all get their turn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from recommender_server import reasons
from recommender_server.answers import Pick
from recommender_server.candidates import CandidateSources, Seeking
from recommender_server.degradation import DependencyUnavailable
from recommender_server.dependencies import Dependencies
from stores.ports import NEW, NEW_POSITIVES, ServingState

# So many of those shown least are considered for a place; one that was passed over so often has it.
CONSIDERED, MOST_PASSED_OVER = 40, 20
# So often those that have just come go before those that nobody wanted so far.
CAME_SHARE = 0.9
FIRST_CLICKS = "shown so that it gets its first clicks"


class Exploration:
    """Gives the last places of some lists to new items.

    ``share``: of all places; at .01 every tenth list of ten has a new item in its last place.
    """

    def __init__(
        self, dependencies: Dependencies, sources: CandidateSources, share: float, chance: random.Random
    ) -> None:
        self._dependencies = dependencies
        self._sources = sources
        self._share = share
        self._chance = chance
        # How often this process has shown each item of the list of new ones, which it knows by that list itself.
        self._shown: dict[str, int] = {}
        # How often each was considered and another one taken, since it was shown last.
        self._passed_over: dict[str, int] = {}
        # Those that came while this process looked on: most places go to these first.
        self._came: set[str] = set()
        self._list: Sequence[tuple[str, float]] = ()
        self._never_had: set[str] = set()

    async def explore(self, picks: list[Pick], seeking: Seeking, state: ServingState | None) -> list[Pick]:
        """Return the picks, the last of them replaced where chance says so and there are new items that may be shown.

        Never waits for a store that has failed this request, and never takes a place when anything fails.
        """
        places = min(int(len(picks) * self._share + self._chance.random()), len(picks))
        if not places or seeking.missing:
            return picks
        try:
            listed = (await self._dependencies.popular(NEW, seeking.deadline)).value
        except DependencyUnavailable:
            return picks
        closed = seeking.blocked.union(pick.item_id for pick in picks)
        open_ones = [item for item, _ in self._least_shown(listed) if item not in closed]
        considered = [(item, 0.0) for item in open_ones[:CONSIDERED]]
        shown = await seeking.catalogue.take(considered, CONSIDERED, seeking.blocked, seeking.recent[:1])
        if not shown or seeking.missing:
            return picks
        turns = [self._shown.get(item, 0) for item, _ in shown]
        fewest = min(turns)
        least = [item for (item, _), turn in zip(shown, turns, strict=True) if turn == fewest]
        came = [item for item in least if item in self._came]
        if came and self._chance.random() < CAME_SHARE:
            least = came
        best = await self._best(self._waiting(least), places, seeking, state)
        for item in least:
            self._passed_over[item] = self._passed_over.get(item, 0) + 1
        for item, _ in best:
            self._shown[item] = self._shown.get(item, 0) + 1
            del self._passed_over[item]
        new = [Pick(item, score, f"{reasons.new(item, seeking)}: {FIRST_CLICKS}", "new") for item, score in best]
        return [*picks[: len(picks) - len(new)], *new]

    def reasons(self, picks: Sequence[Pick], seeking: Seeking) -> list[Pick]:
        """Return the picks, those that are on a personal list before anyone has had them saying so."""
        return [
            pick._replace(reason=reasons.new(pick.item_id, seeking))
            if pick.source == "personal" and pick.item_id in self._never_had
            else pick
            for pick in picks
        ]

    def _least_shown(self, listed: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float]]:
        """Return the list, those shown least first; the order of the list, which has the newest first, decides ties."""
        if listed is not self._list:
            known, self._list = {item for item, _ in self._list}, listed
            self._never_had = {item for item, lacking in listed if lacking == NEW_POSITIVES}
            ids = [item for item, _ in listed]
            for counts in (self._shown, self._passed_over):
                for item in counts.keys() - set(ids):
                    del counts[item]
            if known:  # the newest stand first; what comes back further down had its time
                self._came.update(itertools.takewhile(lambda item: item not in known, ids))
            self._came.intersection_update(ids)
        return sorted(listed, key=lambda entry: self._shown.get(entry[0], 0))

    def _waiting(self, items: list[str]) -> list[str]:
        """Return those that were passed over too often, all of them where none was."""
        longest = max(self._passed_over.get(item, 0) for item in items)
        waiting = [item for item in items if self._passed_over.get(item, 0) == longest]
        return waiting if longest >= MOST_PASSED_OVER else items

    async def _best(
        self, items: list[str], places: int, seeking: Seeking, state: ServingState | None
    ) -> list[tuple[str, float]]:
        """Return those that fit best; by chance one that the index does not know, as often as such are among them."""
        ranked: list[tuple[str, float]] = []
        if state is not None:
            try:
                ranked = await self._sources.given(seeking, state, items)
            except DependencyUnavailable:
                ranked = []
        known = {item for item, _ in ranked}
        unknown = [(item, 0.0) for item in items if item not in known]
        best = []
        for _ in range(min(places, len(items))):
            from_unknown = self._chance.random() * (len(ranked) + len(unknown)) < len(unknown)
            best.append(unknown.pop(self._chance.randrange(len(unknown))) if from_unknown else ranked.pop(0))
        return best
