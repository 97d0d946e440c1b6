"""Everything out and in again, as lines of JSON: items, users' histories, events.

Events are the whole truth: exported with the event_id and the time that they were learned under, and imported into an
empty system, they lead to the same model, bit by bit. Histories are for moving users without their events.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from models.events import BadEvent, PositiveRule, checked_id
from models.items import deleted_item
from recommender_server.answers import EventResult
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.ingesting import Ingest
from stores.ports import USER_EVENTS, Record, TopicPartition

# Read at once: no page should keep other requests waiting.
ITEMS_AT_ONCE, USERS_AT_ONCE, EVENTS_AT_ONCE = 500, 100, 500
# A store that does not answer is asked again so often before the export is given up.
TRIES, PAUSE_S = 5, 0.2
# Of an imported history, which does not say when things happened: long ago, so that no list takes it for news.
LONG_AGO_S = 0.0
MOST_LISTED = 10_000

Answer = TypeVar("Answer")
_encode = msgspec.json.Encoder().encode


class UserHistory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user consumed, oldest first: ``recent`` positives, everything ``seen``, and what he rejected."""

    user_id: str
    recent: list[str] = []
    seen: list[str] = []
    hidden: list[str] = []


class Exchange:
    """Exports and imports. An export that cannot go on raises ``DependencyUnavailable``: the stream breaks off."""

    def __init__(
        self,
        dependencies: Dependencies,
        ingest: Ingest,
        positives: PositiveRule,
        new_deadline: Callable[[], Deadline],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependencies = dependencies
        self._ingest = ingest
        self._positive_type, self._positive_value = positives.strongest()
        self._new_deadline = new_deadline
        self._pause = pause

    # --- out --------------------------------------------------------------------------------------------------------

    async def items(self) -> AsyncIterator[bytes]:
        """Yield every item, hidden ones too, as lines of topic ``items``."""
        after = 0
        while page := await self._of_items(after):
            after = page[-1].number
            yield b"".join(_encode(item) + b"\n" for _, item in page if item != deleted_item(item.item_id))

    async def _of_items(self, after: int) -> Any:
        return await self._patiently(
            lambda: self._dependencies.of_items(lambda items: items.scan(after, ITEMS_AT_ONCE), self._new_deadline())
        )

    async def users(self) -> AsyncIterator[bytes]:
        """Yield the history of every learned user (``UserHistory``), without vectors."""
        after: str | None = None
        while page := await self._of_users(after):
            after = page[-1].user_id
            yield b"".join(_encode(UserHistory(x.user_id, x.recent, x.seen, x.hidden)) + b"\n" for x in page)

    async def _of_users(self, after: str | None) -> Any:
        return await self._patiently(
            lambda: self._dependencies.of_users(lambda users: users.scan(after, USERS_AT_ONCE), self._new_deadline())
        )

    async def events(self) -> AsyncIterator[bytes]:
        """Yield every event that the log keeps as of now, those of one user in order.

        Each says its event_id and timestamp, also where that was its place in the log and its arrival. What is no
        JSON object is left out; it lies among the dead letters.
        """
        begins, ends = await self._offsets_at(0.0), await self._offsets_at(float("inf"))
        for place, end in sorted(ends.items()):
            offset = begins.get(place, 0)
            while offset < end and (page := await self._of_log(place, offset)):
                offset = page[-1].offset + 1
                yield b"".join(_event_line(record) for record in page if record.offset < end)

    async def _offsets_at(self, time_s: float) -> dict[TopicPartition, int]:
        return await self._patiently(
            lambda: self._dependencies.of_log(lambda log: log.offsets_at(USER_EVENTS, time_s), self._new_deadline())
        )

    async def _of_log(self, place: TopicPartition, offset: int) -> list[Record]:
        return await self._patiently(
            lambda: self._dependencies.of_log(lambda log: log.read(place, offset, EVENTS_AT_ONCE), self._new_deadline())
        )

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        for _ in range(TRIES - 1):
            try:
                return await ask()
            except DependencyUnavailable:
                await self._pause(PAUSE_S)
        return await ask()

    # --- in ---------------------------------------------------------------------------------------------------------

    async def take_users(self, raw: Sequence[Any]) -> tuple[list[EventResult], bool]:
        """Turn histories into events, and accept these. Safe to repeat: they have event_ids. Raises ``Problem``.

        Each line's receipt is that of its last event.
        """
        results = [await self._take_user(one) for one in raw]
        return [result for result, _ in results], all(counted for _, counted in results)

    async def _take_user(self, raw: Any) -> tuple[EventResult, bool]:
        try:
            history = msgspec.convert(raw, UserHistory)
            events = self._events_of(history)
        except BadEvent as error:
            return EventResult("rejected", reason=error.reason, detail=str(error)), True
        except (msgspec.ValidationError, ValueError) as error:
            return EventResult("rejected", reason="bad_history", detail=str(error)), True
        result, counted = EventResult("accepted"), True
        for start in range(0, len(events), EVENTS_AT_ONCE):
            taken, at_once = await self._ingest.import_events(events[start : start + EVENTS_AT_ONCE])
            refused = next((one for one in taken if one.status == "rejected"), None)
            if refused is not None:
                return refused, counted
            result, counted = taken[-1], counted and at_once
        return result, counted

    def _events_of(self, history: UserHistory) -> list[dict[str, Any]]:
        """Return the events that lead to this history: first all that was seen, then what was liked, then rejected."""
        user_id = checked_id("user_id", history.user_id)
        if max(len(history.recent), len(history.seen), len(history.hidden)) > MOST_LISTED:
            raise ValueError(f"a list may have {MOST_LISTED} items")
        told: list[tuple[str, float | None, str]] = [("imported", None, item_id) for item_id in history.seen]
        told += [(self._positive_type, self._positive_value, item_id) for item_id in history.recent]
        told += [("hide", None, item_id) for item_id in history.hidden]
        events = []
        for event_type, value, item_id in told:
            name = hashlib.blake2b(f"{user_id}\0{event_type}\0{item_id}".encode(), digest_size=16).hexdigest()
            event: dict[str, Any] = {"event_id": f"import:{name}", "user_id": user_id, "type": event_type}
            event |= {"item_id": checked_id("item_id", item_id), "timestamp": LONG_AGO_S}
            events.append(event if value is None else event | {"value": value})
        return events


def _event_line(record: Record) -> bytes:
    try:
        event = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    if not isinstance(event, dict):
        return b""
    place = f"{record.topic}:{record.partition}:{record.offset}"
    missing = {"event_id": place, "timestamp": record.arrival_s}
    return _encode(event | {name: value for name, value in missing.items() if event.get(name) is None}) + b"\n"
