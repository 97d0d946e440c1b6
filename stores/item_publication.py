"""Publication to the item store: popular lists, the item graph, and who consumed an item last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from models.item_content import ItemContent
from models.learner import Learner
from stores.outbox import Outbox, acknowledge
from stores.ports import POPULAR, ItemWriter

# The length of the popular list.
POPULAR_LIMIT = 1000
# The edges of so many items are published in one message, and within this time: none should take long to answer.
EDGES_AT_ONCE, EDGES_S = 1_024, 1.0
# Fewer are not worth a message: whoever keeps edges in memory reads them again after each.
FEWEST_EDGES = 256
# The most popular lists in one message, unless everything is made exact: a catalogue has thousands of categories.
LISTS_AT_ONCE = 256

Entries = Sequence[tuple[str, float]]


class ItemPublication:
    """Publishes what changed since it was published last; no deleted item is named.

    ``lists``: the popular lists beside the one of the model, by name, as they are now.
    """

    def __init__(
        self,
        learner: Learner,
        content: ItemContent,
        outbox: Outbox,
        items: ItemWriter,
        lists: Callable[[], Mapping[str, Entries]],
    ) -> None:
        self._learner, self._content, self._outbox, self._items = learner, content, outbox, items
        self._lists = lists
        self._edges_published: dict[int, int] = {}
        self._recent_users_published: dict[int, list[int]] = {}
        self._lists_published: dict[str, Entries] = {}
        # Rows that were deleted when their edges were last looked at.
        self._deleted_rows: set[int] = set()
        self._settle_from = 0
        # Whether edges may differ from those published without standing in the outbox.
        self.unsettled = True

    def unsettle(self) -> None:
        """Take note that something was learned, or an item came or went. Safe to repeat."""
        self.unsettled = True
        self._settle_from = 0

    def items_changed(self, item_ids: Iterable[str]) -> None:
        """Take note of items whose records came or went: edges do not lead to deleted ones. Safe to repeat."""
        for item_id in item_ids:
            row = self._learner.items.row(item_id)
            if row is not None and self._content.catalogue.is_deleted(item_id) != (row in self._deleted_rows):
                # Those that it leads to mostly lead back; what else does is found when everything is made exact.
                self._outbox.edges.update(dict.fromkeys([row, *self._learner.neighbours(row)[0].tolist()]))
                self._edges_published.pop(row, None)
                self._recent_users_published.pop(row, None)
                self._deleted_rows ^= {row}
        self.unsettle()

    def publish_lists(self, version: int, *, exact: bool) -> None:
        """Publish lists: those with other items than were published, some of them, or all that differ at all.

        Safe to repeat. Raises ``StoreUnavailable``, ``StaleEpoch``.
        """
        learner = self._learner
        fast = learner.popularity_columns()[:, 0]
        most = POPULAR_LIMIT + self._content.catalogue.deletions
        best = np.lexsort((np.arange(len(fast)), -fast))[:most].tolist()
        kept = [row for row in best if not self._is_deleted(row)][:POPULAR_LIMIT]
        popular = [(learner.items.id(row), float(fast[row])) for row in kept]
        changed = self._changed_lists(exact=exact)
        self._items.put_popular({POPULAR: popular} | changed, version)
        for name in changed:
            self._lists_published.pop(name, None)
        self._lists_published |= changed

    def edges_due(self, since_s: float) -> int:
        """Return of how many items the edges are to be published, ``since_s`` seconds after it was done last.

        Some now and some then: all at once would hold up whatever else there is to publish.
        """
        most = int(EDGES_AT_ONCE * min(1.0, since_s / EDGES_S))
        return min(most, len(self._outbox.edges)) if most >= FEWEST_EDGES else 0

    def publish_edges(self, version: int, count: int) -> None:
        """Publish the edges of so many of the items that wait. Safe to repeat.

        Raises ``StoreUnavailable``, ``StaleEpoch``.
        """
        self._publish_edges(list(islice(self._outbox.edges, count)), version)

    def _changed_lists(self, *, exact: bool) -> dict[str, Entries]:
        """Return the lists to publish: those with other items, or another order, than were published; some of them.

        Their scores fade with every event, all of them: these are published only when everything is made ``exact``.
        """
        lists = {name: self._without_deleted(entries) for name, entries in self._lists().items()}
        published = self._lists_published
        if exact:
            return {name: entries for name, entries in lists.items() if published.get(name) != entries}
        # Those first that have waited longest: it is the order in which ``published`` keeps them.
        waited = [*(name for name in lists if name not in published), *published]
        others = (name for name in waited if _ids(lists[name]) != _ids(published.get(name, ())))
        return {name: lists[name] for name in islice(others, LISTS_AT_ONCE)}

    def settle_edges(self, version: int) -> None:
        """Publish some edges that changed without their item being touched, once none waits.

        A weight also depends on its target's visits. Safe to repeat. Raises ``StoreUnavailable``, ``StaleEpoch``.
        """
        if self._outbox.edges:
            return
        size = len(self._learner.items)
        stop = min(self._settle_from + EDGES_AT_ONCE, size)
        self._publish_edges(list(range(self._settle_from, stop)), version)
        self._settle_from = stop
        self.unsettled = stop < size

    def _publish_edges(self, rows: list[int], version: int) -> None:
        edges, digests = {}, {}
        item_id, user_id = self._learner.items.id, self._learner.users.id
        kept_rows = [row for row in rows if not self._is_deleted(row)]
        users = {row: found for row in kept_rows if (found := self._changed_recent_users(row)) is not None}
        for row in kept_rows:
            targets, weights = self._learner.neighbours(row)
            if not len(targets):
                continue
            if self._content.catalogue.deletions:
                kept = [place for place, target in enumerate(targets.tolist()) if not self._is_deleted(target)]
                targets, weights = targets[kept], weights[kept]
            digest = hash((targets.tobytes(), weights.tobytes()))
            if self._edges_published.get(row) != digest:
                digests[row] = digest
                edges[item_id(row)] = list(zip(map(item_id, targets.tolist()), weights.tolist(), strict=True))
        if edges:
            self._items.put_neighbours(edges, version)
        if users:
            self._items.put_recent_users({item_id(x): [user_id(u) for u in of] for x, of in users.items()}, version)
        self._edges_published.update(digests)
        self._recent_users_published.update(users)
        acknowledge(self._outbox.edges, rows)

    def _changed_recent_users(self, row: int) -> list[int] | None:
        """Return an item's recent users when they are others than were published."""
        users = [user for user in self._learner.recent_users.of(row) if self._learner.users.id(user)]
        return users if users != self._recent_users_published.get(row) else None

    def _without_deleted(self, entries: Entries) -> Entries:
        catalogue = self._content.catalogue
        return [entry for entry in entries if not catalogue.is_deleted(entry[0])] if catalogue.deletions else entries

    def _is_deleted(self, row: int) -> bool:
        catalogue = self._content.catalogue
        return bool(catalogue.deletions) and catalogue.is_deleted(self._learner.items.id(row))


def _ids(entries: Entries) -> list[str]:
    return [item_id for item_id, _ in entries]
