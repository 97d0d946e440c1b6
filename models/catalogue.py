"""What topic ``items`` says of every item now, in memory: contents to predict vectors from, and who is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from models.items import Item, decode_item, encode_item

# Content beyond this says little more: a text is cut, and a record that is larger all the same is kept bare.
MOST_TEXT, MOST_RECORD_BYTES = 4_000, 16_384
# Contents of all items together. Beyond it further items are kept without: known by id, as if nothing were said of
# them. An item costs its record and about 250 bytes.
MOST_BYTES = 1 << 30


class Catalogue:
    """Items in the order of their last records, which is what a compacted topic keeps, and items that were deleted.

    A deleted item is remembered, because it may have events, and would else be taken for one without a record.
    """

    def __init__(self, deleted: Iterable[str] = ()) -> None:
        self._records: dict[str, bytes] = {}
        self._hidden: set[str] = set()
        self._deleted = dict.fromkeys(deleted)
        self.content_bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._records

    def put(self, item: Item) -> bool:
        """Take over a record; return whether it says anything new. Safe to repeat."""
        known = not self.is_deleted(item.item_id) and self._records.get(item.item_id)
        self._forget(item.item_id)
        self._deleted.pop(item.item_id, None)
        if not item.available:
            self._hidden.add(item.item_id)
        self._records[item.item_id] = record = self._bounded(item)
        self.content_bytes += len(record)
        return not record or record != known

    def delete(self, item_id: str) -> None:
        """Take an item out, and remember that it was. Safe to repeat."""
        self._forget(item_id)
        self._deleted[item_id] = None

    def get(self, item_id: str) -> Item | None:
        """Return an item, its content perhaps cut; ``None`` when it is not in the catalogue."""
        record = self._records.get(item_id)
        return None if record is None else decode_item(record) if record else Item(item_id)

    def available(self, item_id: str) -> bool:
        """Whether the item is in the catalogue and may be shown."""
        return item_id in self._records and item_id not in self._hidden

    def is_deleted(self, item_id: str) -> bool:
        """Whether the last record of the item was its deletion."""
        return item_id in self._deleted

    @property
    def deletions(self) -> int:
        """How many items are deleted."""
        return len(self._deleted)

    @property
    def deleted(self) -> list[str]:
        """Items whose last record was their deletion, sorted."""
        return sorted(self._deleted)

    def item_ids(self) -> list[str]:
        """Return all items, the one with the oldest record first."""
        return list(self._records)

    def newest(self) -> Iterator[str]:
        """Yield the available items, the one with the newest record first."""
        return (item_id for item_id in reversed(self._records) if item_id not in self._hidden)

    def copy(self) -> Catalogue:
        """Return a catalogue of the same records, for a thread that must not see it change."""
        copy = Catalogue(self._deleted)
        copy._records, copy._hidden, copy.content_bytes = self._records.copy(), self._hidden.copy(), self.content_bytes
        return copy

    def _forget(self, item_id: str) -> None:
        self.content_bytes -= len(self._records.pop(item_id, b""))
        self._hidden.discard(item_id)

    def _bounded(self, item: Item) -> bytes:
        if self.content_bytes >= MOST_BYTES:
            return b""
        if item.text is not None and len(item.text) > MOST_TEXT:
            item = msgspec.structs.replace(item, text=item.text[:MOST_TEXT])
        record = encode_item(item)
        return record if len(record) <= MOST_RECORD_BYTES else b""
