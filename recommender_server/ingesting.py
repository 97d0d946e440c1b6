"""Taking in events and items: durable in the log first, then visible to the very next answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from models.events import FORGET, MAX_EVENT_BYTES, BadEvent, EventDecoder, Interaction, checked_id
from models.items import BadItem, Item, decode_item, deleted_item, encode_item
from recommender_server.answers import Accepted, EventResult
from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from stores.ports import ITEMS, USER_EVENTS, Clock, Entry, Metrics, PendingEvent, Receipt

_encoder = msgspec.json.Encoder()


class ForgottenUser(msgspec.Struct, frozen=True):
    """A user who is to be forgotten; that is durable.

    ``counted``: he is unknown to the very next answer; otherwise once the trainer has read the receipt's event.
    """

    request_id: str
    receipt: str
    counted: bool


class Ingest:
    """Appends what clients send. A bad neighbour in a batch is rejected alone."""

    def __init__(
        self, dependencies: Dependencies, decoder: EventDecoder, clock: Clock, metrics: Metrics, deadline_s: float
    ) -> None:
        self._dependencies = dependencies
        self._decoder = decoder
        self._clock = clock
        self._metrics = metrics
        self._deadline_s = deadline_s

    async def events(self, raw: Sequence[Any], request_id: str) -> Accepted:
        """Accept a batch of events, as JSON decoded them. NOT safe to repeat, except for events with an event_id.

        Raises ``Problem``: every event is bad, or the log does not answer.
        """
        results, counted = await self.take_events(raw)
        _refuse_if_all_bad(results, "event")
        return Accepted(request_id, counted, [result.receipt for result in results], results)

    async def items(self, raw: Sequence[Any], request_id: str) -> Accepted:
        """Create or replace items, as JSON decoded them. Safe to repeat: the last record of an item counts.

        Raises ``Problem``: every item is bad, or the log does not answer.
        """
        results, counted = await self.take_items(raw)
        _refuse_if_all_bad(results, "item")
        return Accepted(request_id, counted, [result.receipt for result in results], results)

    async def take_events(self, raw: Sequence[Any]) -> tuple[list[EventResult], bool]:
        """Accept the good ones of these events; return what became of each, and whether they count at once.

        NOT safe to repeat, except for events with an event_id. Raises ``Problem`` when the log does not answer.
        """
        return await self._take(raw, self._event, _encode)

    async def import_events(self, raw: Sequence[Any]) -> tuple[list[EventResult], bool]:
        """As ``take_events``, for events that were exported: they are appended whole, and may forget users."""
        return await self._take(raw, self._imported, None)

    async def _take(
        self,
        raw: Sequence[Any],
        read: Callable[[Any, float], Interaction],
        encode: Callable[[Interaction], bytes] | None,
    ) -> tuple[list[EventResult], bool]:
        """Take what ``read`` lets pass; it stands on the log as ``encode`` writes it, or as it came."""
        deadline = Deadline(self._clock, self._deadline_s)
        arrival_s = self._clock.now_s()
        parsed = [_parsed(lambda event=event: read(event, arrival_s)) for event in raw]  # type: ignore[misc]
        for result in parsed:
            if isinstance(result, EventResult):
                self._metrics.count("events_refused", reason=result.reason or "")
        good = [result for result in parsed if isinstance(result, Interaction)]
        values = [
            _encoder.encode(whole) if encode is None else encode(event)
            for whole, event in zip(raw, parsed, strict=True)
            if isinstance(event, Interaction)
        ]
        entries = [Entry(event.user_id, value) for event, value in zip(good, values, strict=True)]
        receipts = await self._append(USER_EVENTS, entries)
        self._metrics.count("events_posted", len(good))
        appended_s = self._clock.monotonic_s()
        pending: dict[str, list[PendingEvent]] = {}
        for event, receipt in zip(good, receipts, strict=True):
            pending.setdefault(event.user_id, []).append(_pending(event, receipt))
        try:
            await self._dependencies.add_pending(pending, deadline)
            counted = True
            self._metrics.timing("own_freshness_seconds", self._clock.monotonic_s() - appended_s)
        except DependencyUnavailable:
            counted = False  # durable all the same: it counts once the trainer has learned it
        return _results(parsed, receipts), counted

    async def take_items(self, raw: Sequence[Any]) -> tuple[list[EventResult], bool]:
        """As ``take_events``, for items. Safe to repeat."""
        parsed = [_parsed(lambda item=item: _item(item)) for item in raw]  # type: ignore[misc]
        good = [result for result in parsed if isinstance(result, Item)]
        receipts = await self._append(ITEMS, [Entry(item.item_id, encode_item(item)) for item in good])
        return _results(parsed, receipts), await self._write_through(good)

    async def delete_item(self, item_id: str) -> tuple[Receipt, bool]:
        """Append the tombstone of an item, and hide it meanwhile; return the receipt and whether it counts at once.

        Raises ``Problem``.
        """
        [receipt] = await self._append(ITEMS, [Entry(item_id, b"")])
        return receipt, await self._write_through([deleted_item(item_id)])

    async def forget_user(self, user_id: str, request_id: str) -> ForgottenUser:
        """Append that a user is to be forgotten, and forget him meanwhile. Safe to repeat. Raises ``Problem``."""
        deadline = Deadline(self._clock, self._deadline_s)
        now_s = self._clock.now_s()
        event = {"user_id": user_id, "type": FORGET, "timestamp": now_s}
        [receipt] = await self._append(USER_EVENTS, [Entry(user_id, _encoder.encode(event))])
        place = f"{USER_EVENTS}:{receipt}"
        pending = PendingEvent(place, "", "forget", 0.0, now_s, receipt.partition, receipt.offset)
        try:
            await self._dependencies.add_pending({user_id: [pending]}, deadline)
            counted = True
        except DependencyUnavailable:
            counted = False
        return ForgottenUser(request_id, str(receipt), counted)

    async def _write_through(self, items: list[Item]) -> bool:
        try:
            await self._dependencies.put_items(items)
        except DependencyUnavailable:
            return False
        return True

    def _event(self, raw: Any, arrival_s: float) -> Interaction:
        event = self._decoder.validate(raw, default_event_id="", arrival_s=arrival_s)
        if event.feedback == "forget":
            raise BadEvent("bad_item_id", "item_id is missing; to forget a user, DELETE /v1/users/{user_id}")
        if len(_encode(event)) > MAX_EVENT_BYTES:
            raise BadEvent("too_large", f"an event may have {MAX_EVENT_BYTES} bytes")
        return event

    def _imported(self, raw: Any, arrival_s: float) -> Interaction:
        event = self._decoder.validate(raw, default_event_id="", arrival_s=arrival_s)
        if len(_encoder.encode(raw)) > MAX_EVENT_BYTES:
            raise BadEvent("too_large", f"an event may have {MAX_EVENT_BYTES} bytes")
        return event

    async def _append(self, topic: str, entries: list[Entry]) -> list[Receipt]:
        if not entries:
            return []
        try:
            return await self._dependencies.append(topic, entries)
        except DependencyUnavailable:
            raise Problem(
                503,
                "log-unavailable",
                "the log did not acknowledge in time; it may have accepted all the same, so repeat with an event_id",
                retry_after_s=1,
            ) from None


def _parsed(parse: Callable[[], Any]) -> Any:
    """Return what ``parse`` returns, or the rejection."""
    try:
        return parse()
    except BadEvent as error:
        return EventResult("rejected", reason=error.reason, detail=str(error))
    except BadItem as error:
        return EventResult("rejected", reason="bad_item", detail=str(error))
    except ValueError as error:  # a whole number of thousands of digits where an id belongs
        return EventResult("rejected", reason="bad_value", detail=str(error))


def _item(raw: Any) -> Item:
    item = decode_item(_encoder.encode(raw))
    checked_id("item_id", item.item_id)
    return item


def _refuse_if_all_bad(results: Sequence[EventResult], what: str) -> None:
    if any(result.status == "accepted" for result in results):
        return
    if len(results) == 1:
        raise Problem(400, f"bad-{what}", results[0].detail or "", reason=results[0].reason)
    documents = [msgspec.to_builtins(result) for result in results]
    raise Problem(400, f"bad-{what}", f"none of the {len(results)} {what}s can be accepted", results=documents)


def _encode(event: Interaction) -> bytes:
    """Return the event as it stands on the log; a missing event_id stays missing, its place will be its name."""
    # The event's own time, not the trusted one: how late or early it was is for the trainer to count.
    event_s = event.timestamp_s if event.lateness_s >= 0 else event.timestamp_s - event.lateness_s
    fields = {
        "event_id": event.event_id or None,
        "user_id": event.user_id,
        "item_id": event.item_id,
        "type": event.type,
        "value": event.value,
        "timestamp": event_s,
    }
    return _encoder.encode({name: value for name, value in fields.items() if value is not None})


def _pending(event: Interaction, receipt: Receipt) -> PendingEvent:
    return PendingEvent(
        event_id=event.event_id or f"{USER_EVENTS}:{receipt}",
        item_id=event.item_id,
        feedback=event.feedback,
        strength=event.strength,
        timestamp_s=event.timestamp_s,
        partition=receipt.partition,
        offset=receipt.offset,
    )


def _results(parsed: Sequence[Any], receipts: Sequence[Receipt]) -> list[EventResult]:
    given = iter(receipts)
    return [
        result if isinstance(result, EventResult) else EventResult("accepted", receipt=str(next(given)))
        for result in parsed
    ]
