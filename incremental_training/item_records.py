"""Item records on their way from topic ``items`` to the catalogue and the item store, deletions included."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from incremental_training.content_learning import ContentLearning, item_of
from models.items import BadItem, Item, deleted_item
from stores.ports import Clock, DeadLetter, ItemWriter, Metrics, Record, StoreUnavailable

# Lists that serving remembers are younger than this.
DELETE_AFTER_S = 5.0
# With so many item records that the item store has not taken, no further ones are read: memory is bounded.
MOST_WAITING = 50_000

_log = logging.getLogger(__name__)


class ItemRecords:
    """Takes item records in, and writes the newest one of each item to the item store, which may be away.

    A deleted item stays there, hidden, until nothing that serving reads or still remembers names it.
    ``put_category`` is told the category of every item, ``None`` for none.
    """

    def __init__(
        self,
        content: ContentLearning,
        items: ItemWriter,
        put_category: Callable[[str, str | None], None],
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._content, self._items, self._put_category = content, items, put_category
        self._clock, self._metrics = clock, metrics
        # The newest record of each item that the item store has not taken; None deletes.
        self._waiting: dict[str, Item | None] = {}
        # Deleted items that the item store still holds, hidden; after a restart nobody knows which, so all of them.
        self._deleted = dict.fromkeys(content.content.catalogue.deleted)
        self._deleted_at_s = clock.monotonic_s()

    @property
    def settled(self) -> bool:
        """Whether the item store holds exactly what topic ``items`` says."""
        return not (self._waiting or self._deleted)

    @property
    def full(self) -> bool:
        """Whether so many records wait that no further ones may be read."""
        return len(self._waiting) >= MOST_WAITING

    def take(self, records: Sequence[Record]) -> tuple[list[str], list[DeadLetter]]:
        """Take records of topic ``items``, in order; return which items changed and what is to be set aside.

        Safe to repeat.
        """
        changed: list[str] = []
        letters: list[DeadLetter] = []
        for record in records:
            try:
                item = item_of(record)
            except BadItem as error:
                letters.append(DeadLetter.of(record, "bad_item", str(error)))
                continue
            item_id = record.key if item is None else item.item_id
            if item is None:
                self._content.delete(item_id)
                self._deleted[item_id] = None
                self._deleted_at_s = self._clock.monotonic_s()
            else:
                self._content.put(item)
                self._deleted.pop(item_id, None)
            self._put_category(item_id, None if item is None else item.category)
            self._waiting[item_id] = item
            changed.append(item_id)
        return changed, letters

    def write(self) -> bool:
        """Write what waits to the item store; return whether it has taken all of it. Safe to repeat."""
        waiting = self._waiting
        if waiting:
            try:
                self._items.put_many([item or deleted_item(item_id) for item_id, item in waiting.items()])
            except StoreUnavailable as error:
                _log.warning("%d item records wait: %s", len(waiting), error)
                return False
            self._metrics.count("items_consumed", len(waiting))
            waiting.clear()
        return True

    def delete(self, *, published: bool) -> None:
        """Remove deleted items from the item store, when it is time. ``published``: nothing that is published names
        them any more. Safe to repeat.
        """
        if not self._deleted or self._waiting or not published:
            return
        if self._clock.monotonic_s() - self._deleted_at_s < DELETE_AFTER_S:
            return
        try:
            self._items.delete(list(self._deleted))
        except StoreUnavailable as error:
            _log.warning("%d deleted items stay hidden for now: %s", len(self._deleted), error)
            self._deleted_at_s = self._clock.monotonic_s()
            return
        self._deleted.clear()
