"""Users are published to whatever store there is, also to one that takes but a few documents within its time."""

from threading import Event

import pytest

from models.learner import Learner
from models.model_settings import ModelSettings
from stores.clock import SystemClock
from stores.outbox import Outbox
from stores.ports import StoreUnavailable
from stores.recording_metrics import RecordingMetrics
from stores.user_publication import AT_FIRST, MESSAGE_S, USERS_AT_ONCE, UserPublication


class SlowUserStore:
    """Takes ``patience`` documents within the deadline; of more it writes some and says nothing."""

    apart = False

    def __init__(self, patience):
        self.patience = patience
        self.held = {}

    def upsert(self, documents):
        self.held |= {document.user_id: document.version for document in documents[: self.patience]}
        if len(documents) > self.patience:
            raise StoreUnavailable("no answer in time")


class CountingUserStore:
    """Says how many documents came at once."""

    apart = False

    def __init__(self):
        self.lengths = []

    def upsert(self, documents):
        self.lengths.append(len(documents))


class UserStoreApart:
    """Works in a process of its own, where nothing is done before ``goes_on``; so many times it then says nothing."""

    apart = True

    def __init__(self, failures=0):
        self.goes_on, self.failures = Event(), failures
        self.held, self.deleted = {}, []

    def upsert(self, documents):
        assert self.goes_on.wait(30.0)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("no answer in time")
        self.held |= {document.user_id: document.version for document in documents}

    def delete(self, user_ids, version):
        self.deleted += [(user_id, self.held.pop(user_id, None)) for user_id in user_ids]


class SteppedClock(SystemClock):
    """Goes on by so many seconds at each look."""

    def __init__(self, step_s):
        self.step_s, self.now = step_s, 0.0

    def monotonic_s(self):
        self.now += self.step_s
        return self.now


@pytest.mark.parametrize("patience", [1, 70, USERS_AT_ONCE])
def test_a_store_that_takes_a_few_in_time_gets_all_of_a_long_queue_in_the_end(patience):
    learner, users = Learner(ModelSettings(dimension=4)), 2 * USERS_AT_ONCE + 1
    rows = [learner.add_user(f"u{n}") for n in range(users)]
    outbox, store = Outbox(users=dict.fromkeys(rows)), SlowUserStore(patience)
    publication = UserPublication(learner, outbox, store, lambda row: {0: 1}, SteppedClock(0.0), RecordingMetrics())
    failures = 0
    while outbox.users:
        try:
            publication.publish(7, {0: 9})
        except StoreUnavailable:
            failures += 1
            assert failures <= 10  # down to one, and never again
    assert store.held == {f"u{n}": 7 for n in range(users)}
    assert publication.published == {0: 9}


def test_users_who_find_no_time_wait_for_the_next_flush_and_offsets_pass_nobody_who_waits():
    learner = Learner(ModelSettings(dimension=4))
    rows = [learner.add_user(f"u{n}") for n in range(3 * AT_FIRST)]
    outbox, store = Outbox(users=dict.fromkeys(rows[: 2 * AT_FIRST])), SlowUserStore(USERS_AT_ONCE)
    # As long as a message is to take, each: the next one has as many documents.
    publication = UserPublication(
        learner, outbox, store, lambda row: {0: 1}, SteppedClock(MESSAGE_S), RecordingMetrics()
    )
    publication.publish(1, {0: 10}, MESSAGE_S)
    assert list(outbox.users) == rows[AT_FIRST : 2 * AT_FIRST] and publication.published == {}
    outbox.users.update(dict.fromkeys(rows[AT_FIRST:]))  # with news of some who wait already
    publication.publish(2, {0: 20}, MESSAGE_S)
    assert list(outbox.users) == rows[2 * AT_FIRST :] and publication.published == {0: 10}
    publication.publish(3, {0: 20}, MESSAGE_S)
    assert not outbox.users and publication.published == {0: 20}
    assert list(store.held.values()) == [1] * AT_FIRST + [2] * AT_FIRST + [3] * AT_FIRST


def test_messages_become_as_long_as_the_store_takes_them_in_time():
    learner = Learner(ModelSettings(dimension=4))
    rows = [learner.add_user(f"u{n}") for n in range(1000)]
    for step_s, lengths in ((MESSAGE_S / 2, [100, 200, 400, 300]), (4 * MESSAGE_S, [100, 25, 7, 2, 1, 1])):
        outbox, metrics = Outbox(users=dict.fromkeys(rows)), RecordingMetrics()
        store = CountingUserStore()
        publication = UserPublication(learner, outbox, store, lambda row: {}, SteppedClock(step_s), metrics)
        publication.publish(1, {})
        assert store.lengths[: len(lengths)] == lengths


def _apart(users, failures=0):
    learner = Learner(ModelSettings(dimension=4))
    rows = [learner.add_user(f"u{n}") for n in range(users)]
    outbox, store = Outbox(users=dict.fromkeys(rows)), UserStoreApart(failures)
    metrics = RecordingMetrics()
    return rows, outbox, store, UserPublication(learner, outbox, store, lambda row: {}, SteppedClock(0.0), metrics)


def test_a_store_that_works_apart_is_not_waited_for_and_nothing_of_what_is_on_its_way_is_lost_or_passed():
    rows, outbox, store, publication = _apart(5)
    publication.publish(1, {0: 10}, MESSAGE_S)
    assert not outbox.users and list(outbox.users_sent) == rows and outbox.record()["users"] == rows
    outbox.users[rows[0]] = None  # who did more meanwhile
    outbox.forgotten["u1"] = None
    publication.publish(2, {0: 20}, MESSAGE_S)
    assert not store.held and not store.deleted and publication.published == {}
    assert outbox.record()["users"] == rows and "users_sent" not in outbox.record()
    store.goes_on.set()
    publication.publish(3, {0: 30})
    assert store.held == {"u0": 3, "u2": 1, "u3": 1, "u4": 1} and store.deleted == [("u1", 1)]
    assert publication.published == {0: 30} and not any(vars(outbox).values())


def test_what_a_store_apart_did_not_take_waits_again_before_the_others():
    rows, outbox, store, publication = _apart(7, failures=1)
    later = {row: outbox.users.pop(row) for row in rows[5:]}
    publication.publish(1, {0: 10}, MESSAGE_S)
    outbox.users.update({rows[1]: None} | later)
    store.goes_on.set()
    with pytest.raises(StoreUnavailable):
        publication.publish(2, {0: 20})
    assert list(outbox.users) == rows and not outbox.users_sent and publication.published == {}
    publication.publish(3, {0: 30})
    assert store.held == {f"u{n}": 3 for n in range(7)} and publication.published == {0: 30}
