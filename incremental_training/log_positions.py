"""Where the trainer reads on in the log, and what becomes of it when the log no longer holds what comes next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS, EventLog, Metrics, TopicPartition

TOPICS = (USER_EVENTS, ITEMS, RECOMMENDATIONS_SERVED)

_log = logging.getLogger(__name__)


class RetentionGap(Exception):
    """The log no longer holds the records that come next; learning on would silently leave some out."""


class TopicReplaced(Exception):
    """The topic of the events is not as it was read so far: made anew, or cut off; its offsets mean other events."""


@dataclass(frozen=True)
class Found:
    """Where to read on, in every partition there is, and whether offsets of ``user_events`` mean other events now."""

    positions: dict[TopicPartition, int]
    replaced: bool


class LogPositions:
    """Compares positions with what the log holds.

    A gap in ``user_events``, or another topic in its place, is an error, unless ``skip``: then reading goes on with
    the first record there is, and the events that are gone are counted. The other topics are always read on with the
    first record there is: reading them again counts nothing twice, and nothing is learned from what is gone.
    ``ids``: topic → what told it from others of the same name when it was read last.
    """

    def __init__(self, log: EventLog, ids: Mapping[str, str], *, skip: bool, metrics: Metrics) -> None:
        self.ids = dict(ids)
        self._log, self._skip, self._metrics = log, skip, metrics

    def find(self, known: Mapping[TopicPartition, int]) -> Found:
        """Return where to read on, ``known`` being the positions so far; new partitions are read from their beginning.

        Raises ``RetentionGap``, ``TopicReplaced``, ``StoreUnavailable``.
        """
        positions: dict[TopicPartition, int] = {}
        replaced = False
        for topic in TOPICS:
            begins, ends = self._log.begin_offsets(topic), self._log.end_offsets(topic)
            mine = {place: offset for place, offset in known.items() if place.topic == topic}
            anew, reason = self._compare(topic, mine, ends)
            if reason:
                if topic == USER_EVENTS and not self._skip:
                    raise TopicReplaced(
                        f"{reason}; restore it, or start with --on-gap=skip to go on with what it holds"
                    )
                _log.warning("%s; going on with what it holds", reason)
                replaced |= topic == USER_EVENTS
                mine = {} if anew else {place: min(offset, ends[place]) for place, offset in mine.items()}
            for place, begin in begins.items():
                position = begin if anew else mine.get(place, 0)
                if begin > position and topic == USER_EVENTS:
                    self._gap(place, begin, position)
                positions[place] = max(position, begin)
        return Found(positions, replaced)

    def _compare(
        self, topic: str, known: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> tuple[bool, str]:
        """Return whether this is another topic than the one read so far, and by what one sees that it is not as it was.

        Where ids tell that it is the same one, it can still have lost its end.
        """
        before, now = self.ids.get(topic, ""), self._log.topic_id(topic)
        self.ids[topic] = now
        if before and now and before != now:
            return True, f"topic {topic} was made anew: its id was {before} and is {now}"
        for place, position in known.items():
            if place not in ends:
                return (
                    True,
                    f"topic {topic} has no partition {place.partition} any more, which was read up to {position}",
                )
        for place, position in known.items():
            if position > ends[place]:
                what = f"topic {topic} partition {place.partition} ends at {ends[place]} and was read up to {position}"
                same = bool(before)
                return not same, f"{what}: it {'has lost its end' if same else 'was made anew, or has lost its end'}"
        return False, ""

    def _gap(self, place: TopicPartition, begin: int, position: int) -> None:
        gap = (
            f"{place.topic} partition {place.partition} begins at {begin}, the trainer stands at {position}: "
            f"{begin - position} events are gone and were never learned"
        )
        if not self._skip:
            raise RetentionGap(f"{gap}; start with --on-gap=skip to go on without them")
        _log.warning("%s; going on without them", gap)
        self._metrics.count("events_lost", begin - position)
