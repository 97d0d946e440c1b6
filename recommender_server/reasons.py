"""Why an item is on a list, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from recommender_server.answers import Part, Source
from recommender_server.candidates import Seeking
from recommender_server.catalogue_view import CatalogueView, Scored
from recommender_server.dependencies import Dependencies
from stores.ports import Clock, ServingState, popular_name

TASTE = "fits your taste"
LATELY = "fits what you liked lately"
POPULAR_NOW, POPULAR_THIS_WEEK = "popular now", "popular this week"

WINDOW_S = {"hour": 3600.0, "day": 86_400.0, "week": 7 * 86_400.0}


class Reasons:
    """Finds the words by what is at hand; popularity of the week is read from the list of the trainer."""

    def __init__(self, dependencies: Dependencies, clock: Clock) -> None:
        self._dependencies = dependencies
        self._clock = clock

    async def this_week(self, seeking: Seeking, state: ServingState | None) -> Collection[str]:
        """Return what was popular within the last seven days; nothing when nobody can say."""
        if not is_of_late(state, "week", self._clock):
            return ()
        return await self._dependencies.listed(popular_name("popular", "week"), seeking.deadline)

    async def in_short(
        self,
        source: Source,
        found: Sequence[Scored],
        page_item_id: str | None,
        seeking: Seeking,
        state: ServingState | None,
    ) -> list[str]:
        """Say why each item is on the list."""
        if source == "similar" and page_item_id is not None:
            return [f"similar to {seeking.catalogue.name(page_item_id)}"] * len(found)
        if source == "new":
            return [new(item_id, seeking) for item_id, _ in found]
        if source in ("popular", "last_known_popular") or not seeking.recent:
            this_week = await self.this_week(seeking, state)
            return [popular(item_id, this_week) for item_id, _ in found]
        around = seeking.neighbourhood
        strongest = around.strongest_links([item_id for item_id, _ in found]) if around else {}
        return [
            f"because you liked {seeking.catalogue.name(strongest[item_id])}" if item_id in strongest else LATELY
            for item_id, _ in found
        ]


def is_of_late(state: ServingState | None, window: str, clock: Clock) -> bool:
    """Whether the newest event of the stream lies within this window of now: its lists say how it was back then."""
    newest_s = state.report.get("newest_event_s") if state is not None else None
    return isinstance(newest_s, int | float) and clock.now_s() - newest_s <= WINDOW_S[window]


def popular(item_id: str, this_week: Collection[str]) -> str:
    """Say that an item is popular: by the week's list where it stands there, else by the model."""
    return POPULAR_THIS_WEEK if item_id in this_week else POPULAR_NOW


def of_parts(item_id: str, parts: Sequence[Part], name: Callable[[str], str], this_week: Collection[str]) -> str:
    """Say what counted most: one liked item, the learned taste, or popularity."""
    liked: dict[str, float] = {}
    taste = popularity = 0.0
    for part in parts:
        if part.item_id is not None:
            liked[part.item_id] = liked.get(part.item_id, 0.0) + part.value
        elif part.of == "embedding":
            taste += part.value
        else:
            popularity += part.value
    favourite, most = max(liked.items(), key=lambda pair: pair[1], default=("", 0.0))
    if favourite and most >= max(taste, popularity):
        return f"because you liked {name(favourite)}"
    return TASTE if taste >= popularity else popular(item_id, this_week)


def new(item_id: str, seeking: Seeking) -> str:
    """Say that an item is new, and which of the recent ones it is like."""
    like = alike(item_id, seeking.recent, seeking.catalogue)
    return "new" if like is None else f"new, like {seeking.catalogue.name(like)}"


def alike(item_id: str, recent: Sequence[str], catalogue: CatalogueView) -> str | None:
    """Return the newest of the recent items that shares a category with this one, as far as both have been read."""
    categories = _categories(item_id, catalogue)
    return next((one for one in recent if categories & _categories(one, catalogue)), None)


def _categories(item_id: str, catalogue: CatalogueView) -> set[str]:
    item = catalogue.get(item_id)
    return set((item.category or "").split("|")) - {""} if item is not None else set()
