"""The ports: what the rooms ask of the outside world, in the system's own words.

What serving reads is async, what the trainer writes is sync. One adapter file per outside system implements these;
``tests/contracts`` holds one abstract test class per port that every adapter must pass.

Every call ends within the deadline its adapter was built with and raises ``StoreUnavailable`` when it cannot.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.items import Item

Vectors = NDArray[np.float32]

# The topics of the event log.
USER_EVENTS = "user_events"
ITEMS = "items"
RECOMMENDATIONS_SERVED = "recommendations_served"

# The name of the popular list that serving falls back to.
POPULAR = "popular"
# Items that few have had yet, which serving gives a small share of its places: those with fewer than NEW_POSITIVES
# positives, by which the stream itself says where an item belongs; the score of an entry is how many it lacks.
NEW = "new"
NEW_POSITIVES = 10
# Popular lists of a time window are named ``popular:day`` and ``trending:hour``, those of a category
# ``popular:day:Comedy`` (``popular_name``).
WINDOWS = ("hour", "day", "week")


def popular_name(order: str, window: str, category: str | None = None) -> str:
    """Return the name of a popular list. ``order``: ``popular`` or ``trending``; ``window``: one of ``WINDOWS``."""
    return f"{order}:{window}" if category is None else f"{order}:{window}:{category}"


class StoreUnavailable(Exception):
    """The outside system did not answer, or not in time. The call may or may not have taken effect; repeat it."""


class PositionLost(Exception):
    """The log does not hold the position to be read next: it lies before the first record or behind the last."""


class StaleEpoch(Exception):
    """A write carried an older epoch than the store has seen: another trainer lives. Exit, write nothing more."""


class Gap(Exception):
    """The index does not stand where this write starts from; it needs the whole table (``ItemIndexWriter.replace``)."""


# --- event log ------------------------------------------------------------------------------------------------------


class TopicPartition(NamedTuple):
    """One ordered sequence of records."""

    topic: str
    partition: int


class Receipt(msgspec.Struct, frozen=True):
    """Where an accepted record lies. Its text form, ``partition:offset``, is opaque to clients."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Read the text form; ``ValueError`` when it is none."""
        partition, colon, offset = text.partition(":")
        if not (colon and partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
            raise ValueError("a receipt reads partition:offset")
        if len(text) > 40:
            raise ValueError("a receipt has at most 40 characters")
        return cls(int(partition), int(offset))


class Entry(NamedTuple):
    """What is appended: bytes under a key (records of one key stay in order). ``attempt``: see ``DeadLetter``."""

    key: str
    value: bytes
    attempt: int = 1


class Record(msgspec.Struct, frozen=True):
    """An entry with its place in the log. ``arrival_s``: when the log accepted it, epoch seconds."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    arrival_s: float
    attempt: int = 1


class DeadLetter(msgspec.Struct, frozen=True):
    """An event set aside, with the place it came from, a stable reason word, a sentence, and its original bytes.

    ``attempts``: how often it was tried. Bytes that cannot be read are not tried again by themselves, since nothing
    would have changed; who drives a letter again appends it as the next attempt.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    value: bytes
    attempts: int = 1

    @classmethod
    def of(cls, record: Record, reason: str, message: str) -> DeadLetter:
        """Set a record aside."""
        return cls(record.topic, record.partition, record.offset, reason, message, record.value, record.attempt)


class EventLog(Protocol):
    """The log as the trainer reads it. Positions are offsets of the NEXT record to read."""

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic, in order; at least one."""

    def topic_id(self, topic: str) -> str:
        """Return what tells the topic from another one of the same name; empty where there can be no other."""

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read on from exactly these positions, and from no other partition."""

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return the next records, in order within each partition; empty when none came within ``timeout_s``.

        Raises ``PositionLost``. After an exception the next call reads on after what was last returned.
        """

    def begin_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the first offset still kept, per partition."""

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next appended record will get, per partition."""

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell the log how far the trainer has learned. Informational (lag); never read back to resume."""

    def committed_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return what was committed last, 0 before the first time; end offsets minus this is the lag."""

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; durable (survives power loss) on return. NOT safe to repeat: it appends again."""

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters, durable on return. Safe to repeat: one letter per (topic, partition, offset)."""

    def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters of a topic, newest first."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


class AsyncEventLog(Protocol):
    """The log as serving writes it, and as people look into it.

    Looking up what was served: a request_id carries its time, ``offsets_at`` leads to the records of that time, and
    ``read`` reads them. Receipts and places come from outside and may name what was never there.
    """

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; durable on return. Concurrent calls share one commit. NOT safe to repeat."""

    async def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Return the records of one partition from ``offset`` on, in order, at most ``limit``; empty at the end.

        It moves no other reader. Where the log no longer holds ``offset`` it begins with the first record kept.
        """

    async def offsets_at(self, topic: str, time_s: float) -> dict[TopicPartition, int]:
        """Return, per partition, the offset of the first record kept that arrived at ``time_s`` or later.

        Epoch seconds. It is the end where none did: 0 leads to the first record kept, infinity to the end.
        """

    async def dead_letter(self, topic: str, receipt: Receipt) -> DeadLetter | None:
        """Return the dead letter that a record became, or ``None``."""

    async def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters of a topic, newest first, without those that were dropped."""

    async def drop_dead_letters(self, topic: str, receipts: Sequence[Receipt]) -> None:
        """Take dead letters out of ``dead_letters``; unknown ones are left out. Safe to repeat."""

    async def close(self) -> None:
        """Release what is held. Safe to repeat."""


# --- users ----------------------------------------------------------------------------------------------------------


class UserDocument(msgspec.Struct, frozen=True):
    """A user as the trainer knows him; written whole, by the trainer alone.

    ``recent``: last 50 positives, oldest first. ``seen``: every item consumed, oldest first, complete up to 10,000.
    ``hidden``: items he rejected (``dislike``, ``hide``). ``as_of``: learned offset per partition of ``user_events``.
    """

    user_id: str
    embedding: Vectors
    recent: list[str]
    seen: list[str]
    hidden: list[str]
    as_of: dict[int, int]
    version: int


class PendingEvent(msgspec.Struct, frozen=True):
    """An accepted event of a user that his document may not contain yet; written by the recommender alone."""

    event_id: str
    item_id: str
    feedback: str
    strength: float
    timestamp_s: float
    partition: int
    offset: int


class UserState(msgspec.Struct, frozen=True):
    """What one read returns: the document, if there is one, and the pending events beyond its ``as_of``, in order.

    Pending events are deduplicated by event_id (the first one counts).
    """

    document: UserDocument | None
    pending: list[PendingEvent]

    @classmethod
    def of(cls, document: UserDocument | None, pending: Iterable[PendingEvent]) -> UserState:
        """Put together what lies in a store: a document and all pending events of that user, in any order."""
        as_of = document.as_of if document else {}
        # Repeats leave before the learned ones do: a repeat of a learned event is no news.
        first: dict[str, PendingEvent] = {}
        for event in sorted(pending, key=lambda event: (event.partition, event.offset)):
            first.setdefault(event.event_id, event)
        return cls(document, [x for x in first.values() if x.offset >= as_of.get(x.partition, 0)])


class UserReader(Protocol):
    """Users as serving sees them."""

    async def get_many(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """Return the state of each user; one without document and pending events has an empty state. One round trip."""

    async def add_pending(self, events: Mapping[str, Sequence[PendingEvent]]) -> None:
        """Keep accepted events per user_id; visible to every process on return. Safe to repeat."""

    async def forget_pending(self, learned: Mapping[int, int]) -> None:
        """Drop pending events below the learned offset of their partition. Safe to repeat.

        One that came in the same call as a later event of its user may stay until that one is learned.
        Ask for it no sooner than a read may last after the documents were written: ``get_many`` may be in the middle.
        """

    async def scan(self, after: str | None, limit: int) -> list[UserDocument]:
        """Return documents in one order of their user_ids that always holds, the first ones or those after ``after``.

        Going on with the last user_id until nothing comes tells every document that stays there exactly once.
        """

    async def close(self) -> None:
        """Release what is held. Safe to repeat."""


class UserWriter(Protocol):
    """Users as the trainer writes them. Every write is guarded by version: an older one changes nothing.

    ``apart``: the store works in another process, so that a thread may wait for ``upsert`` while the trainer goes on;
    one thread at a time, though not always the same one.
    """

    apart: bool

    def acquire_lease(self, owner: str) -> int:
        """Become the one trainer and return a new epoch, greater than any before; raises ``LeaseHeld``."""

    def upsert(self, documents: Sequence[UserDocument]) -> None:
        """Write whole documents. Safe to repeat. Raises ``StaleEpoch``."""

    def delete(self, user_ids: Sequence[str], version: int) -> None:
        """Remove documents and pending events. Safe to repeat. Raises ``StaleEpoch``."""

    def close(self) -> None:
        """Release the lease and what is held. Safe to repeat."""


class LeaseHeld(Exception):
    """Another trainer holds the lease."""


# --- items ----------------------------------------------------------------------------------------------------------


class ServingState(msgspec.Struct, frozen=True):
    """What the trainer tells serving, about once a second: how to build a query, how far it is, how well it does.

    ``merge_weights``: w of DESIGN §6a, in the order of ``models.ranking.FEATURES``, by ``ranking.HISTORIES`` of the
    user. ``learned``: offset per partition of ``user_events`` up to which everything is in every store; ``indexed``: up
    to which the index has everything, while documents of users may still wait for a user store that is slower.
    ``report``: counters and gauges by catalogue name.
    """

    version: int
    dimension: int
    merge_weights: list[list[float]]
    context_decay: float
    context_length: int
    learned: dict[int, int]
    report: dict[str, Any]
    indexed: dict[int, int] = {}


class Edges:
    """The edges from one item: (neighbour, weight), strongest first. Not to be changed: stores keep what they decoded.

    ``item_ids``: the neighbours; ``weights``: (neighbours,) float64.
    """

    __slots__ = ("item_ids", "weights")

    def __init__(self, pairs: Iterable[tuple[str, float]]) -> None:
        # Interned: a thousand items lead to the same popular ones.
        self.item_ids, weights = [], []
        for item_id, weight in pairs:
            self.item_ids.append(sys.intern(item_id))
            weights.append(weight)
        self.weights = np.array(weights, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.item_ids)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.item_ids, self.weights.tolist(), strict=True)


class Numbered(NamedTuple):
    """An item and its number: items are numbered as they first come, and keep their number until they are deleted."""

    number: int
    item: Item


class ItemReader(Protocol):
    """Items as serving sees them."""

    async def get_many(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return the known ones among these items. One round trip."""

    async def popular(self, name: str, limit: int) -> list[tuple[str, float]]:
        """Return a popular list, best first; empty when there is none of that name."""

    async def neighbours(self, item_ids: Sequence[str]) -> dict[str, Edges]:
        """Return the edges item → next item of each known item. One round trip.

        While an item's edges do not change, the very same object may be returned again.
        """

    async def search_text(self, text: str, limit: int) -> list[Item]:
        """Return available items whose title or text match every word, the last word by prefix, best first."""

    async def newest(self, limit: int, *, category: str | None = None, before: int | None = None) -> list[Numbered]:
        """Return available items, of one category or all, the one that came last first.

        ``before``: the number of the last one of the page before, to go on after it.
        """

    async def categories(self) -> dict[str, int]:
        """Return how many available items every category has; empty categories are left out."""

    async def scan(self, after: int, limit: int) -> list[Numbered]:
        """Return items, unavailable ones too, in order of their numbers, those above ``after``.

        Going on with the last number until nothing comes tells every item that stays there exactly once.
        """

    async def recent_users(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the user_ids who consumed each of these items last, newest first; items without any are left out.

        One round trip. A user may have been deleted since.
        """

    async def rules(self) -> dict[str, bytes]:
        """Return all stored rules by name."""

    async def put_rule(self, name: str, rule: bytes | None) -> None:
        """Store a rule under a name, or remove it (``None``); visible on return. Safe to repeat; the last one wins."""

    async def serving_state(self) -> ServingState | None:
        """Return what the trainer published last, or ``None`` before the first time."""

    async def put_many(self, items: Sequence[Item]) -> None:
        """Write items through; visible on return. Safe to repeat."""

    async def close(self) -> None:
        """Release what is held. Safe to repeat."""


class ItemWriter(Protocol):
    """Items as the trainer writes them. All of it can be rebuilt from topic ``items`` and the trainer's state."""

    def put_many(self, items: Sequence[Item]) -> None:
        """Write items. Safe to repeat."""

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items, their edges and recent users. Safe to repeat."""

    def put_popular(self, lists: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace popular lists by name (best first). Safe to repeat. Raises ``StaleEpoch``."""

    def put_recent_users(self, users: Mapping[str, Sequence[str]], version: int) -> None:
        """Replace the recent users of each of these items (newest first). Safe to repeat. Raises ``StaleEpoch``."""

    def put_neighbours(self, edges: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace all edges of each of these items. Safe to repeat. Raises ``StaleEpoch``."""

    def put_serving_state(self, state: ServingState) -> None:
        """Replace the serving state. Safe to repeat. Raises ``StaleEpoch``."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


# --- index ----------------------------------------------------------------------------------------------------------


class Stamp(msgspec.Struct, frozen=True):
    """What every write to the index carries: this write takes it from ``from_seq`` to ``to_seq`` of this epoch.

    The index accepts a write whose ``from_seq`` is where it stands (or whose ``to_seq`` is: a repeat, answered again
    as done); an older epoch raises ``StaleEpoch``, anything else ``Gap``. A newer epoch begins with ``replace``.
    """

    epoch: int
    from_seq: int
    to_seq: int


class ItemRows(msgspec.Struct, frozen=True):
    """Items and what the index holds for each, in table order.

    ``vectors``: (n, d + 1) float32, head ∘ item embedding, then bias. ``contexts``: (n, d) float32 context embeddings.
    ``popularity``: (n, 2) float32, log of fast- and slow-decayed popularity. What the index searches is the inner
    product of a query with (vectors, popularity): d + 3 columns.
    """

    item_ids: list[str]
    vectors: Vectors
    contexts: Vectors
    popularity: Vectors


class IndexStatus(msgspec.Struct, frozen=True):
    """Where the index stands. ``boot_id`` changes when it loses its memory; ``items`` counts what can be found."""

    boot_id: str
    epoch: int
    seq: int
    ready: bool
    items: int
    rows: int
    dimension: int
    kind: str


class ItemIndexWriter(Protocol):
    """The index as the trainer writes it.

    Rows keep the order in which they first came; that order is what ``set_popularity`` is aligned with.
    """

    def status(self) -> IndexStatus:
        """Return where the index stands."""

    def upsert(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Add or overwrite rows (a deleted item comes back). Raises ``StaleEpoch`` or ``Gap``."""

    def set_popularity(self, columns: Vectors, stamp: Stamp) -> IndexStatus:
        """Overwrite the popularity columns, (rows, 2) float32 in table order; ``Gap`` when the count differs."""

    def delete(self, item_ids: Sequence[str], stamp: Stamp) -> IndexStatus:
        """Make items unfindable; unknown ones are left out. Raises ``StaleEpoch`` or ``Gap``."""

    def replace(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Load the whole table in one go; the index then stands at ``to_seq``. Raises ``StaleEpoch`` only."""

    def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """As ``ItemIndexReader.search``, for the trainer's samples through the real index."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


# The most hits that one query may ask for.
MAX_HITS = 10_000


class Query(msgspec.Struct, frozen=True):
    """One search: the inner product of ``vector`` + folded recent items with every item's d + 3 columns.

    ``vector``: (d + 3,) float32. ``recent`` items' context embeddings, times ``recent_weights``, are added to its first
    d columns by the index. ``exclude``: never among the hits. ``lifted``: items, each once, to whose scores ``lifts``
    are added, none below 0. ``within``: when given, only these items are searched (exactly).
    """

    vector: Vectors
    k: int
    recent: list[str] = []
    recent_weights: list[float] = []
    exclude: list[str] = []
    lifted: list[str] = []
    lifts: list[float] = []
    within: list[str] | None = None


class Candidates(msgspec.Struct, frozen=True):
    """The hits of one query, best first; fewer than k when no more exist. ``scores``: (hits,) float32, with lifts."""

    item_ids: list[str]
    scores: Vectors


class ItemIndexReader(Protocol):
    """The index as serving reads it."""

    async def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """Answer several queries in one call, in order."""

    async def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        """Return, per known item, the k items nearest by cosine of head ∘ item embedding, itself left out."""

    async def vectors(self, item_ids: Sequence[str]) -> dict[str, Vectors]:
        """Return, per known item, head ∘ item embedding at length 1, (d,) float32; zeros stay zeros."""

    async def status(self) -> IndexStatus:
        """Return where the index stands."""

    async def close(self) -> None:
        """Release what is held. Safe to repeat."""


# --- measuring ------------------------------------------------------------------------------------------------------


class Metrics(Protocol):
    """Names are declared once, in ``stores.metric_catalogue``; an undeclared name raises ``KeyError``."""

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Record a duration in seconds."""


class Clock(Protocol):
    """Time and waiting, as arguments."""

    def now_s(self) -> float:
        """Return the wall clock, epoch seconds."""

    def monotonic_s(self) -> float:
        """Return a clock that never goes back, in seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


def version_of(epoch: int, seq: int) -> int:
    """Return the version that a write of this epoch and flush carries: epoch << 40 | seq."""
    return epoch << 40 | seq


def epoch_of(version: int) -> int:
    """Return the epoch inside a version."""
    return version >> 40
