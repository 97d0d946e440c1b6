"""Publication to the user store: whole documents of users who changed, and removal of those who are forgotten."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from models.learner import Learner
from stores.outbox import Outbox, acknowledge
from stores.ports import Clock, Metrics, StaleEpoch, StoreUnavailable, UserDocument, UserWriter

# The most documents in one message, and how long the store may take for one: serving waits for the same store.
USERS_AT_ONCE, AT_FIRST = 1_000, 100
MESSAGE_S = 0.05


class UserPublication:
    """Publishes the users of the outbox, who waits longest first.

    To a store that works apart a thread sends them while the learner goes on; their rows are then ``users_sent``.

    ``as_of`` tells, per user row, the learned offset per partition. ``published``: NEXT offset per partition up to
    which no user waits.
    """

    def __init__(
        self,
        learner: Learner,
        outbox: Outbox,
        users: UserWriter,
        as_of: Callable[[int], dict[int, int]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._learner, self._outbox, self._users, self._as_of = learner, outbox, users, as_of
        self._clock, self._metrics = clock, metrics
        self._thread = ThreadPoolExecutor(1, "user-publication") if users.apart else None
        # How long the store took for each of the messages that are on their way.
        self._sending: Future[list[float]] | None = None
        self.published: dict[int, int] = {}
        # As many as the store takes in MESSAGE_S; at most half as many after a failure: a store that is slow, or comes
        # back to a long queue, answers in time for a few, and for all of them, asked again and again, it never would.
        self._at_once, self._most = AT_FIRST, USERS_AT_ONCE
        # How many have left the queue, and how many will have when all who waited at some offsets are published.
        self._left = 0
        self._marks: deque[tuple[int, dict[int, int]]] = deque()

    def publish(self, version: int, offsets: Mapping[int, int], within_s: float = math.inf) -> None:
        """Publish who waits, all of them, or only what the store takes in ``within_s``, at least one message.

        The others go on waiting, in their order. A store that works apart may be at it when this returns, unless
        ``within_s`` is infinite; how that ended the next call says.
        ``offsets``: NEXT offset per partition up to which the learner has learned. Safe to repeat. Raises
        ``StoreUnavailable``, ``StaleEpoch``.
        """
        box = self._outbox
        self._marks.append((self._left + len(box.users_sent) + len(box.users), dict(offsets)))
        messages = max(1, int(within_s / MESSAGE_S)) if within_s < math.inf else 1
        sent = False
        while self._sent(wait=within_s == math.inf):
            if forgotten := list(box.forgotten):
                # Before the documents: whoever came back has a new row, and his new document stays.
                self._users.delete(forgotten, version)
                acknowledge(box.forgotten, forgotten)
            if not box.users or (sent and within_s < math.inf):
                break
            self._send(messages, version)
            sent = True
        self._most = min(USERS_AT_ONCE, 2 * self._most)
        while self._marks and self._marks[0][0] <= self._left:
            _, self.published = self._marks.popleft()

    def _send(self, messages: int, version: int) -> None:
        """Begin to send so many messages; the rows of a user who does more meanwhile wait once more."""
        box = self._outbox
        rows = list(islice(box.users, messages * self._at_once))
        acknowledge(box.users, rows)
        box.users_sent.update(dict.fromkeys(rows))
        parts = [
            [self._document(row, version) for row in part if self._learner.users.id(row)]
            for part in (rows[n : n + self._at_once] for n in range(0, len(rows), self._at_once))
        ]
        if self._thread is not None:
            self._sending = self._thread.submit(self._write, parts)
            return
        self._sending = Future()
        try:
            self._sending.set_result(self._write(parts))
        except (StoreUnavailable, StaleEpoch) as error:
            self._sending.set_exception(error)

    def _write(self, messages: Sequence[Sequence[UserDocument]]) -> list[float]:
        """Write them, one after another; return the seconds that each took. On the thread, where there is one."""
        seconds = []
        for documents in messages:
            started_s = self._clock.monotonic_s()
            self._users.upsert(documents)
            seconds.append(self._clock.monotonic_s() - started_s)
        return seconds

    def _sent(self, *, wait: bool) -> bool:
        """Say whether nothing is on its way, having waited for it or not; what was not taken waits again, first."""
        if self._sending is None:
            return True
        if not (wait or self._sending.done()):
            return False
        box, sending, self._sending = self._outbox, self._sending, None
        try:
            seconds = sending.result()
        except StoreUnavailable:
            self._at_once = self._most = max(1, self._at_once // 2)
            waiting = box.users_sent | box.users
            box.users.clear()
            box.users_sent.clear()
            box.users.update(waiting)
            # Some waited twice, so nobody knows any more who is before whom.
            self._marks = deque([(self._left + len(waiting), self._marks[-1][1])])
            raise
        count = len(box.users_sent)
        self._left += count
        self._metrics.count("users_published", sum(1 for row in box.users_sent if self._learner.users.id(row)))
        box.users_sent.clear()
        self._metrics.timing("users_write_seconds", sum(seconds))
        length = math.ceil(count / len(seconds))
        fitting = math.ceil(length * min(2.0, MESSAGE_S * len(seconds) / max(sum(seconds), 1e-6)))
        if fitting < length or length == self._at_once:  # a short message tells little of a long one
            self._at_once = min(fitting, self._most)
        return True

    def _document(self, row: int, version: int) -> UserDocument:
        learner, item_id = self._learner, self._learner.items.ids.__getitem__
        return UserDocument(
            user_id=learner.users.id(row),
            embedding=learner.user_embedding(row),
            recent=list(map(item_id, learner.recent(row)[::-1].tolist())),
            seen=list(map(item_id, learner.seen(row).tolist())),
            hidden=list(map(item_id, learner.hidden(row))),
            as_of=self._as_of(row),
            version=version,
        )
