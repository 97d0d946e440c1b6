"""The catalogue as people ask for it and change it: lists, search, single items, the item graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import msgspec

from models.items import Item, deleted_item
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.ingesting import Ingest
from recommender_server.problems import Problem
from stores.ports import ItemReader, Numbered

# A search has so many hits, and one within a category looks at so many of all categories.
MOST_HITS = 1_000

Answer = TypeVar("Answer")


class ItemList(msgspec.Struct, frozen=True):
    """Items with all that is known of them. ``next``: hand it back as ``cursor`` for the next page."""

    request_id: str
    items: list[Item]
    next: str | None = None


class OneItem(msgspec.Struct, frozen=True):
    """One item, as it is now."""

    request_id: str
    item: Item


class ChangedItem(msgspec.Struct, frozen=True):
    """An item that was changed; ``item`` is ``null`` when it was deleted.

    The change is durable. ``counted``: it shows in the very next answer; otherwise once the trainer has read it.
    """

    request_id: str
    receipt: str
    counted: bool
    item: Item | None


class Categories(msgspec.Struct, frozen=True):
    """How many available items every category has, the largest first."""

    request_id: str
    categories: dict[str, int]


class Edge(msgspec.Struct, frozen=True):
    """An edge of the item graph: how strongly one item leads to the other."""

    item_id: str
    title: str
    weight: float


class Neighbours(msgspec.Struct, frozen=True):
    """The strongest edges of an item: ``next``, items it leads to; ``previous``, items that lead to it.

    Consuming one item after another makes an edge both ways, the one back at half weight, and every item keeps its
    strongest edges only. ``previous`` is looked for among the items that this one keeps an edge to.
    """

    request_id: str
    item_id: str
    next: list[Edge]
    previous: list[Edge]


Direction = Literal["next", "previous", "both"]


class Catalogue:
    """Answers about items. Every method raises ``Problem``: the store or the log does not answer, or nobody knows."""

    def __init__(self, dependencies: Dependencies, ingest: Ingest, new_deadline: Callable[[], Deadline]) -> None:
        self._dependencies = dependencies
        self._ingest = ingest
        self._new_deadline = new_deadline

    async def newest(self, k: int, category: str | None, cursor: int | None, request_id: str) -> ItemList:
        """Return available items, of one category or all, the newest first."""
        page: list[Numbered] = await self._ask(lambda items: items.newest(k, category=category, before=cursor))
        more = str(page[-1].number) if len(page) == k else None
        return ItemList(request_id, [item for _, item in page], more)

    async def search(self, text: str, k: int, category: str | None, cursor: int, request_id: str) -> ItemList:
        """Return available items that match every word, the last by its beginning, best first, from a place on."""
        end = min(cursor + k, MOST_HITS)
        found = await self._ask(lambda items: items.search_text(text, end + 1 if category is None else MOST_HITS))
        hits = [item for item in found if category is None or item.category == category]
        return ItemList(request_id, hits[cursor:end], str(end) if cursor < end < min(len(hits), MOST_HITS) else None)

    async def categories(self, request_id: str) -> Categories:
        """Return all categories."""
        counts = await self._ask(lambda items: items.categories())
        return Categories(request_id, dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))))

    async def get(self, item_id: str) -> Item | None:
        """Return an item, ``None`` when nobody knows it or it was deleted."""
        item = (await self._ask(lambda items: items.get_many([item_id]))).get(item_id)
        return None if item == deleted_item(item_id) else item

    async def known(self, item_id: str) -> Item:
        """Return an item that must be there."""
        item = await self.get(item_id)
        if item is None:
            raise Problem(404, "unknown-item", f"nothing is known of item {item_id!r}")
        return item

    async def put(self, item_id: str, body: Any, only_new: bool, request_id: str) -> ChangedItem:
        """Create or replace an item. With ``only_new`` one that exists is a problem.

        That is checked in the item store before the log is asked: of two who create the same item at the same moment
        both may succeed, and the last one counts.
        """
        if not isinstance(body, dict):
            raise Problem(400, "bad-body", "the body must be a JSON object")
        if body.setdefault("item_id", item_id) != item_id:
            raise Problem(400, "bad-body", "item_id in the body is another one than in the path")
        if only_new and await self.get(item_id) is not None:
            raise Problem(412, "item-exists", f"there is an item {item_id!r} already")
        return await self._changed(item_id, body, request_id)

    async def patch(self, item_id: str, changes: Any, request_id: str) -> ChangedItem:
        """Change some members of an item (JSON merge patch, RFC 7396: ``null`` removes)."""
        if not isinstance(changes, dict):
            raise Problem(400, "bad-body", "the body must be a JSON object")
        if changes.get("item_id", item_id) != item_id:
            raise Problem(400, "bad-body", "item_id in the body is another one than in the path")
        before = msgspec.to_builtins(await self.known(item_id))
        return await self._changed(item_id, merged(before, changes), request_id)

    async def delete(self, item_id: str, request_id: str) -> ChangedItem:
        """Delete an item: hidden everywhere at once, gone from lists, graph and index when the trainer has read it."""
        await self.known(item_id)
        receipt, counted = await self._ingest.delete_item(item_id)
        return ChangedItem(request_id, str(receipt), counted, None)

    async def neighbours(self, item_id: str, k: int, direction: Direction, request_id: str) -> Neighbours:
        """Return the edges of an item, strongest first."""
        leading_to = list((await self._ask(lambda items: items.neighbours([item_id]))).get(item_id, ()))
        if not leading_to or await self._is_deleted(item_id):
            await self.known(item_id)
        onward = leading_to[:k] if direction != "previous" else []
        back: list[tuple[str, float]] = []
        if direction != "next" and leading_to:
            edges = await self._ask(lambda items: items.neighbours([other for other, _ in leading_to]))
            found = [(other, dict(of_other).get(item_id)) for other, of_other in edges.items()]
            back = sorted([(other, w) for other, w in found if w is not None], key=lambda edge: (-edge[1], edge[0]))[:k]
        titles = await self._titles([other for other, _ in [*onward, *back]])
        lists = ([Edge(other, titles[other], w) for other, w in edges if other in titles] for edges in (onward, back))
        return Neighbours(request_id, item_id, *lists)

    async def _is_deleted(self, item_id: str) -> bool:
        found = await self._ask(lambda items: items.get_many([item_id]))
        return found.get(item_id) == deleted_item(item_id)

    async def _titles(self, item_ids: list[str]) -> dict[str, str]:
        """Return the titles of those that were not hidden."""
        known = await self._ask(lambda items: items.get_many(item_ids)) if item_ids else {}
        found = {item_id: known.get(item_id, Item(item_id)) for item_id in item_ids}
        return {item_id: item.title for item_id, item in found.items() if item.available}

    async def _changed(self, item_id: str, record: dict[str, Any], request_id: str) -> ChangedItem:
        accepted = await self._ingest.items([record], request_id)
        return ChangedItem(request_id, accepted.receipts[0] or "", accepted.counted, msgspec.convert(record, Item))

    async def _ask(self, ask: Callable[[ItemReader], Awaitable[Answer]]) -> Answer:
        try:
            return await self._dependencies.of_items(ask, self._new_deadline())
        except DependencyUnavailable as error:
            raise Problem(503, "items-unavailable", str(error), retry_after_s=1) from None


def merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object after a merge patch (RFC 7396)."""
    after = dict(before)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            after[name] = value
    return after
