"""Events as they arrive, and the interactions they become once they can be trusted.

An event is parsed once, at the border (``EventDecoder``); what comes out is frozen and needs no further check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

MAX_ID_BYTES = 256
MAX_EVENT_BYTES = 16_384
# A clock may be a little ahead of ours; an event from further ahead than this is refused.
MAX_AHEAD_S = 86_400.0

NEGATIVE_TYPES = frozenset({"dislike", "hide"})
# An event of this type WITHOUT an item_id forgets its user; with one it is an event like any other.
FORGET = "forget"
# The one default of the setting POSITIVE_EVENTS, the same in every program.
DEFAULT_POSITIVES = "buy:1.0, addToCart:0.7, pageView:0.5, like:1.0, play:1.0, click:1.0, rating>=4:1.0"
EVENT_FIELDS = ("event_id", "user_id", "item_id", "type", "value", "timestamp")

Feedback = Literal["positive", "negative", "history", "forget"]


class Interaction(msgspec.Struct, frozen=True):
    """A validated event.

    With feedback ``forget`` there is no item, and ``item_id`` is empty: the user wants to be forgotten.
    ``timestamp_s`` is min(event time, arrival) in epoch seconds, ``lateness_s`` arrival minus event time (negative: a
    clock ahead of ours). ``strength`` in (0, 1] scales the learning step of a positive and is 0 for all else.
    """

    event_id: str
    user_id: str
    item_id: str
    type: str
    value: float | None
    timestamp_s: float
    lateness_s: float
    feedback: Feedback
    strength: float


class BadEvent(ValueError):
    """An event that cannot become an interaction. ``reason`` is a stable word, the message says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_RULE = re.compile(
    r"^\s*(?P<type>[^:<>=\s]+)\s*(?:(?P<op>>=|>)\s*(?P<limit>-?[0-9.]+))?\s*:\s*(?P<strength>[0-9.]+)\s*$"
)


class PositiveRule:
    """Which events are learned from, and how strongly, as written in settings.

    ``buy:1.0, addToCart:0.7, rating>=4:1.0`` reads: every ``buy`` has strength 1, every ``addToCart`` 0.7, a ``rating``
    of 4 or more 1. ``dislike`` and ``hide`` are negative feedback; all else is history only.
    Raises ``ValueError`` naming the clause that cannot be read.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._clauses: dict[str, list[tuple[float, bool, float]]] = {}
        for clause in filter(None, (part.strip() for part in text.split(","))):
            match = _RULE.match(clause)
            if match is None:
                raise ValueError(f"cannot read {clause!r}; write type:strength or type>=value:strength")
            strength = float(match["strength"])
            if not 0 < strength <= 1:
                raise ValueError(f"strength of {clause!r} must be above 0 and at most 1")
            if match["type"] in NEGATIVE_TYPES:
                raise ValueError(f"{match['type']!r} is negative feedback and cannot be positive")
            limit = float(match["limit"]) if match["limit"] else -math.inf
            self._clauses.setdefault(match["type"], []).append((limit, match["op"] == ">", strength))
        if not self._clauses:
            raise ValueError("names no positive event")

    def strongest(self) -> tuple[str, float | None]:
        """Return type and value of an event that counts as much as any: the first of the strongest clauses."""
        found = [
            (strength, name, limit, strictly)
            for name, clauses in self._clauses.items()
            for limit, strictly, strength in clauses
        ]
        _, name, limit, strictly = max(found, key=lambda clause: clause[0])
        return name, None if limit == -math.inf else limit + 1 if strictly else limit

    def strength(self, event_type: str, value: float | None) -> float:
        """Return the strength of an event, 0 when it is not positive; the strongest clause that fits counts."""
        best = 0.0
        for limit, strictly, strength in self._clauses.get(event_type, ()):
            if limit == -math.inf or (value is not None and (value > limit or (value == limit and not strictly))):
                best = max(best, strength)
        return best


class EventDecoder:
    """Turns the bytes of ``user_events`` into interactions.

    ``field_map`` maps other people's field names to ours (``{"uuid": "user_id"}``); a field it does not name keeps its
    name, and fields that are not ours are ignored.
    """

    def __init__(self, positives: PositiveRule, field_map: Mapping[str, str] | None = None) -> None:
        self._positives = positives
        self._field_map = dict(field_map or {})
        unknown = sorted(set(self._field_map.values()) - set(EVENT_FIELDS))
        if unknown:
            raise ValueError(f"field map leads to unknown fields {unknown}; known are {list(EVENT_FIELDS)}")

    def decode(self, value: bytes, *, default_event_id: str, arrival_s: float) -> Interaction:
        """Parse one event (JSON bytes). Raises ``BadEvent``."""
        if len(value) > MAX_EVENT_BYTES:
            raise BadEvent("too_large", f"an event may have {MAX_EVENT_BYTES} bytes, not {len(value)}")
        try:
            raw = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadEvent("not_json", str(error)) from None
        return self.validate(raw, default_event_id=default_event_id, arrival_s=arrival_s)

    def validate(self, raw: Any, *, default_event_id: str, arrival_s: float) -> Interaction:
        """Check one event that is already JSON-decoded. Raises ``BadEvent``."""
        if not isinstance(raw, dict):
            raise BadEvent("not_an_object", "an event must be a JSON object")
        for theirs, ours in self._field_map.items():
            if theirs in raw:
                raw = {**raw, ours: raw[theirs]}
        event_type = raw.get("type")
        if not isinstance(event_type, str) or not 0 < len(event_type) <= 64:
            raise BadEvent("bad_type", "type must be text of 1 to 64 characters")
        value = raw.get("value")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value)):
            raise BadEvent("bad_value", "value must be a finite number")
        event_id = raw.get("event_id")
        value = None if value is None else float(value)
        strength = self._positives.strength(event_type, value)
        feedback: Feedback = "positive" if strength else "negative" if event_type in NEGATIVE_TYPES else "history"
        item_id = raw.get("item_id")
        if event_type == FORGET and item_id is None:
            feedback, strength, item_id = "forget", 0.0, ""
        else:
            item_id = checked_id("item_id", item_id)
        event_s = _epoch_s(raw.get("timestamp"), arrival_s)
        return Interaction(
            event_id=default_event_id if event_id is None else checked_id("event_id", event_id),
            user_id=checked_id("user_id", raw.get("user_id")),
            item_id=item_id,
            type=event_type,
            value=value,
            timestamp_s=min(event_s, arrival_s),
            lateness_s=arrival_s - event_s,
            feedback=feedback,
            strength=strength,
        )


def checked_id(name: str, value: Any) -> str:
    """Return an external id as ``str``; whole numbers are accepted. Raises ``BadEvent`` otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadEvent(f"bad_{name}", f"{name} is missing or not text")
    if value.isascii() and 0 < len(value) <= MAX_ID_BYTES and value.isprintable():
        return value  # nearly all are such
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise BadEvent(f"bad_{name}", f"{name} is not valid Unicode") from None
    if not 0 < size_bytes <= MAX_ID_BYTES:
        raise BadEvent(f"bad_{name}", f"{name} must have 1 to {MAX_ID_BYTES} bytes, not {size_bytes}")
    if not value.isprintable():
        raise BadEvent(f"bad_{name}", f"{name} must not contain control characters")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _epoch_s(value: Any, arrival_s: float) -> float:
    """Read RFC 3339 text or epoch seconds; a missing timestamp is the arrival."""
    if value is None:
        return arrival_s
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise BadEvent("bad_timestamp", "timestamp must be RFC 3339 or epoch seconds") from None
        if moment.tzinfo is None:
            raise BadEvent("bad_timestamp", "timestamp must say its time zone, as in 2026-01-31T12:00:00Z")
        value = moment.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value) or value < 0:
        raise BadEvent("bad_timestamp", "timestamp must be RFC 3339 or epoch seconds")
    if value > arrival_s + MAX_AHEAD_S:
        raise BadEvent("timestamp_in_future", f"timestamp is {value - arrival_s:.0f} s ahead of the clock")
    return float(value)
