"""Items as clients send them, for the schemas; ``models.items.decode_item`` holds clients to it."""

from __future__ import annotations

from typing import Any

import msgspec

from recommender_server.field_types import TextId


class ItemFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be said of an item. ``available: false`` keeps it out of every answer."""

    title: str = ""
    category: str | None = None
    price: float | None = None
    text: str | None = None
    attributes: dict[str, Any] = {}
    available: bool = True


class ItemRecord(ItemFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item."""

    item_id: TextId


class ItemPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members of an item to change; ``null`` takes one back to its default."""

    title: str | None = None
    category: str | None = None
    price: float | None = None
    text: str | None = None
    attributes: dict[str, Any] | None = None
    available: bool | None = None
