"""Learning from content while the stream runs: what is known of items is read whole at the start, and the map from
content to vectors is learned anew, in a thread, whenever what it depends on has changed.

It depends on the teachers, a function of the positives learned (``models.teachers``), and on their records. At rest the
map is that of both as they are, whatever happened on the way.
"""

from __future__ import annotations

import logging
import threading

from models.catalogue import Catalogue
from models.item_content import ItemContent, Predictions, learn_predictions
from models.items import BadItem, Item, decode_item
from models.learner import Learner
from models.teachers import Teachers
from stores.ports import ITEMS, Clock, EventLog, Metrics, PositionLost, Record, TopicPartition

# New teachers teach as soon as the last map is done with; changed records of teachers when nothing has changed for a
# while, or after the longest wait.
QUIET_S, LONGEST_WAIT_S = 2.0, 30.0
# Learning the map may take this share of a core.
MOST_SHARE = 0.2
# A trainer that starts holds the index back until the first map is learned: what the index has is better meanwhile.
FIRST_MAP_S = 10.0
# The thread gives way so long after every millisecond of predicting: the trainer's own thread needs the interpreter.
_GIVE_WAY_S = 0.002
READ_AT_ONCE = 5_000
# Nothing more comes: what the topic ended with was compacted away.
END_OF_TOPIC_S = 5.0
ATTEMPTS = 3

_log = logging.getLogger(__name__)


def read_catalogue(log: EventLog, catalogue: Catalogue) -> None:
    """Read topic ``items`` from its beginning to its end of now. Safe to repeat. Raises ``StoreUnavailable``.

    A topic that loses its beginning again and again while it is read is not read to its end.
    """
    for _ in range(ATTEMPTS):
        try:
            _read_all(log, catalogue)
        except PositionLost as error:
            _log.warning("reading the catalogue: %s", error)
        else:
            return


def _read_all(log: EventLog, catalogue: Catalogue) -> None:
    ends, read = log.end_offsets(ITEMS), log.begin_offsets(ITEMS)
    log.seek(read)
    while any(offset < ends.get(place, 0) for place, offset in read.items()):
        records = log.poll(READ_AT_ONCE, END_OF_TOPIC_S)
        if not records:
            _log.warning("topic %s says it ends at %s and has nothing from %s on", ITEMS, ends, read)
            break
        for record in records:
            read[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                item = item_of(record)
            except BadItem:
                continue  # a dead letter, when its turn comes
            if item is None:
                catalogue.delete(record.key)
            else:
                catalogue.put(item)


def item_of(record: Record) -> Item | None:
    """Return the item of a record of topic ``items``, ``None`` for a deletion (an empty value). Raises ``BadItem``."""
    return decode_item(record.value) if record.value else None


class ContentLearning:
    """Keeps the predictions of ``content`` at what the teachers of now and their records give.

    Everything but the learning itself runs on the trainer's own thread.
    """

    def __init__(self, content: ItemContent, learner: Learner, *, clock: Clock, metrics: Metrics) -> None:
        self.content = content
        self._learner = learner
        self._clock, self._metrics = clock, metrics
        self._teachers: Teachers | None = None
        self._taught_ids: frozenset[str] = frozenset()
        self._new_teachers = self._records_changed = False
        self._thread: threading.Thread | None = None
        self._learned: Predictions | None = None
        self._error: Exception | None = None
        self._began_s = self._ended_s = self._not_before_s = self._changed_at_s = clock.monotonic_s()
        self._hold_until_s = self._began_s + FIRST_MAP_S

    def put(self, item: Item) -> None:
        """Take over a record. Safe to repeat."""
        if self.content.put(item):
            self._note(item.item_id)

    def delete(self, item_id: str) -> None:
        """Take over a deletion. Safe to repeat."""
        self.content.delete(item_id)
        self._note(item_id)

    def _note(self, item_id: str) -> None:
        self._changed_at_s = self._clock.monotonic_s()
        self._records_changed = self._records_changed or item_id in self._taught_ids

    @property
    def settled(self) -> bool:
        """Whether the predictions are those of the teachers and records of now."""
        return self._thread is None and not (self._new_teachers or self._records_changed)

    @property
    def holds_index(self) -> bool:
        """Whether the index had better keep what it has: the first map is about to come."""
        return not (self.content.adoptions or self.settled) and self._clock.monotonic_s() < self._hold_until_s

    def step(self, teachers: Teachers | None) -> None:
        """Adopt what was learned, and begin to learn when that is due; ``teachers`` are those of now. Never waits.

        Learning that fails leaves the predictions of before: events are learned all the same.
        """
        if teachers is not self._teachers and teachers is not None:
            self._teachers = teachers
            self._taught_ids = frozenset(map(self._learner.items.id, teachers.rows.tolist()))
            self._new_teachers = True
        if self._thread is not None and not self._thread.is_alive():
            self._adopt()
        if self._thread is None and self._is_due():
            self._begin()

    def _is_due(self) -> bool:
        now_s = self._clock.monotonic_s()
        if self._teachers is None or self.settled or now_s < self._not_before_s:
            return False
        quiet = now_s - self._changed_at_s >= QUIET_S
        return self._new_teachers or quiet or now_s - self._ended_s >= LONGEST_WAIT_S

    def _begin(self) -> None:
        assert self._teachers is not None
        self._new_teachers = self._records_changed = False
        self._began_s = self._clock.monotonic_s()
        self.content.begin_anew()
        item_ids = map(self._learner.items.id, self._teachers.rows.tolist())
        items = [self.content.catalogue.get(item_id) for item_id in item_ids]
        arguments = (self._teachers, items, self.content.catalogue.copy())
        self._thread = threading.Thread(target=self._learn, args=arguments, name="content", daemon=True)
        self._thread.start()

    def _learn(self, teachers: Teachers, items: list[Item | None], catalogue: Catalogue) -> None:
        try:
            self._learned = learn_predictions(teachers, items, catalogue, lambda: self._clock.sleep(_GIVE_WAY_S))
        except Exception as error:  # whatever a record may hold: the trainer's own thread tells of it
            self._error = error

    def _adopt(self) -> None:
        self._thread = None
        self._ended_s = self._clock.monotonic_s()
        took_s = self._ended_s - self._began_s
        self._not_before_s = self._ended_s + took_s * (1 / MOST_SHARE - 1)
        if self._error is not None:
            _log.error("the map from content is as before: %s", self._error, exc_info=self._error)
            self._metrics.count("content_failures")
            self._error = None
            return
        self._metrics.timing("content_seconds", took_s)
        self.content.adopt(self._learned)
        self._learned = None
