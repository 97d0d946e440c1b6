import numpy as np
import pytest

from incremental_training import content_learning
from incremental_training.content_learning import FIRST_MAP_S, LONGEST_WAIT_S, QUIET_S, ContentLearning, read_catalogue
from incremental_training.new_items import new_items
from models.catalogue import Catalogue
from models.item_content import ItemContent
from models.items import Item, encode_item
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings
from models.teachers import Teachers
from stores.adapters import open_event_log
from stores.ports import ITEMS, NEW_POSITIVES, Entry
from stores.recording_metrics import RecordingMetrics

MODEL = ModelSettings(dimension=4, negatives=4, recent_pool=20, edges=5)


class Stepped:
    moment_s = 100.0

    def monotonic_s(self):
        return self.moment_s

    def sleep(self, seconds):
        pass


class World:
    """A learner that knows twenty items of two categories, and the learning of a map from them."""

    def __init__(self):
        self.clock = Stepped()
        self.learner = Learner(MODEL)
        self.learning = ContentLearning(
            ItemContent(Catalogue()), self.learner, clock=self.clock, metrics=RecordingMetrics()
        )
        for n in range(20):
            self.learning.put(Item(f"{n}", category="xy"[n % 2]))
            self.learn(f"{n}")
        self.teachers = Teachers.of(self.learner)

    def learn(self, item_id, times=1):
        for n in range(times):
            user, item = self.learner.add_user(f"u{n}"), self.learner.add_item(item_id)
            self.learner.learn([user], [item], [1.0], [event_seed(f"{item_id}:{n}")], [len(self.learner.items)])

    def step(self, seconds=0.0):
        """Let time pass, and whatever was begun end; return how many maps there were by now."""
        self.clock.moment_s += seconds
        self.learning.step(self.teachers)
        if self.learning._thread is not None:
            self.learning._thread.join()
        self.learning.step(self.teachers)
        return self.learning.content.adoptions

    def says(self, item_id):
        return self.learning.content.predicted([item_id])[1].tolist() == [True]


@pytest.fixture
def world():
    return World()


def test_nothing_is_learned_without_teachers_and_nothing_twice(world):
    teachers, world.teachers = world.teachers, None
    assert world.step(100) == 0 and world.learning.settled and not world.learning.holds_index
    world.teachers = teachers
    assert world.step() == 1 and world.learning.settled and world.says("3")
    assert world.step(100) == 1


def test_a_changed_record_of_a_teacher_is_learned_when_it_is_quiet_or_after_a_long_time(world):
    world.step()
    world.learning.put(Item("no teacher", category="x"))
    assert world.step(QUIET_S) == 1 and world.says("no teacher")
    world.learning.put(Item("3", category="z"))
    assert not world.learning.settled and world.step(QUIET_S / 2) == 1
    assert world.step(QUIET_S / 2) == 2 and world.learning.settled
    for _ in range(int(LONGEST_WAIT_S)):
        world.learning.delete("4")
        maps = world.step(1.0)
    assert maps == 3


def test_new_teachers_teach_at_once_but_never_all_the_time(world):
    world.step()
    world.teachers = Teachers.of(world.learner)
    assert world.step() == 2
    world.teachers = Teachers.of(world.learner)
    world.learning.step(world.teachers)
    world.learning._thread.join()
    world.clock.moment_s += 10
    world.learning.step(world.teachers)
    world.teachers = Teachers.of(world.learner)
    assert world.step(39) == 3 and world.step(2) == 4


def test_the_index_is_held_back_until_the_first_map_but_not_for_long(world):
    world.learning.step(world.teachers)
    assert world.learning.holds_index
    assert world.step() == 1 and not world.learning.holds_index
    late = World()
    late.learning._new_teachers = True
    assert late.learning.holds_index
    late.clock.moment_s += FIRST_MAP_S
    assert not late.learning.holds_index


def test_learning_that_fails_leaves_the_map_of_before(world, caplog):
    world.step()
    good = world.teachers
    world.teachers = good._replace(vectors=np.full_like(good.vectors, np.nan))
    assert world.step() == 1 and world.says("3") and "not all finite" in caplog.text
    world.teachers = good._replace()
    assert world.step() == 2


def test_the_catalogue_is_read_whole_and_what_is_no_item_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(content_learning, "READ_AT_ONCE", 2)
    log = open_event_log(f"sqlite:///{tmp_path}/events.db")
    records = [Item("a", title="old"), Item("b"), Item("a", title="new"), Item("c")]
    log.append(ITEMS, [Entry(item.item_id, encode_item(item)) for item in records])
    log.append(ITEMS, [Entry("b", b""), Entry("x", b"rubbish"), Entry("never", b"")])
    catalogue = Catalogue(["c", "other"])
    read_catalogue(log, catalogue)
    log.close()
    assert catalogue.item_ids() == ["a", "c"] and catalogue.get("a") == Item("a", title="new")
    assert catalogue.deleted == ["b", "never", "other"]


def test_new_are_those_with_few_positives_the_fewest_and_newest_first(world, monkeypatch):
    world.learn("known", NEW_POSITIVES)
    world.learn("nearly", NEW_POSITIVES - 1)
    catalogue = Catalogue()
    for item_id in ("first", "known", "nearly", "1", "second"):
        catalogue.put(Item(item_id))
    catalogue.put(Item("hidden", available=False))
    assert new_items(world.learner, catalogue) == [("second", 10), ("first", 10), ("1", 9), ("nearly", 1)]
    monkeypatch.setattr("incremental_training.new_items.NEW_LIMIT", 2)
    assert len(new_items(world.learner, catalogue)) == 2
