"""An item as the catalogue knows it: what is shown, filtered and searched, never what is learned."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from models.events import MAX_ID_BYTES


class Item(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One record of topic ``items``; ``available=False`` keeps it out of every answer."""

    item_id: str
    title: str = ""
    category: str | None = None
    price: float | None = None
    text: str | None = None
    attributes: dict[str, Any] = {}
    available: bool = True


class BadItem(ValueError):
    """Raised for a record that is no item; the message says why."""


_decoder = msgspec.json.Decoder(Item)
_encoder = msgspec.json.Encoder()


def decode_item(value: bytes) -> Item:
    """Parse and check one item record (JSON bytes). Raises ``BadItem``."""
    try:
        item = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadItem(str(error)) from None
    size_bytes = len(item.item_id.encode())
    if not 0 < size_bytes <= MAX_ID_BYTES:
        raise BadItem(f"item_id must have 1 to {MAX_ID_BYTES} bytes, not {size_bytes}")
    if item.price is not None and not math.isfinite(item.price):
        raise BadItem("price must be a finite number")
    return item


def deleted_item(item_id: str) -> Item:
    """Return what the item store holds of a deleted item until lists, graph and index no longer name it.

    Removed at once, it would come back from those under its bare id.
    """
    return Item(item_id, attributes={"deleted": True}, available=False)


def encode_item(item: Item) -> bytes:
    """Return the JSON record of an item: the form that topic ``items`` and the item store keep."""
    return _encoder.encode(item)
