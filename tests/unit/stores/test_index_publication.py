"""The index and the learned table have orders of their own: what is published stays right through all that happens."""

import numpy as np
import pytest

from faiss_server.item_index import ItemIndex
from models.catalogue import Catalogue
from models.content import blend
from models.item_content import EVIDENCE, MOST_BLENDED, ItemContent, learn_predictions
from models.items import Item
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings
from models.teachers import Teachers, content_columns
from stores.index_publication import BACKGROUND_S, IndexPublication
from stores.outbox import Outbox

MODEL = ModelSettings(dimension=4, negatives=4, recent_pool=20, edges=5)
TEACHERS = [Item(f"{n}", category="xy"[n % 2]) for n in range(20)]


class Stepped:
    moment_s = 0.0

    def monotonic_s(self):
        return self.moment_s


class World:
    """A learner, a catalogue and an index, published to as the trainer does it."""

    def __init__(self):
        self.learner = Learner(MODEL)
        self.content = ItemContent(Catalogue())
        self.outbox = Outbox()
        self.index = ItemIndex()
        self.clock = Stepped()
        self.seq = 0
        self._events = 0
        self.begin(1)
        for item in TEACHERS:
            self.content.put(item)
            self.learn(item.item_id)

    def begin(self, epoch):
        self.publication = IndexPublication(
            self.learner, self.content, self.outbox, self.index, epoch=epoch, clock=self.clock
        )

    def learn(self, item_id, times=1):
        for _ in range(times):
            self._events += 1
            user, item = self.learner.add_user(f"u{self._events % 7}"), self.learner.add_item(item_id)
            self.learner.learn([user], [item], [1.0], [event_seed(str(self._events))], [len(self.learner.items)])
        touched = self.learner.take_touched()
        self.outbox.items.update(dict.fromkeys(touched.positives.tolist()))
        self.outbox.background.update(dict.fromkeys(touched.others.tolist()))

    def renew_map(self):
        teachers = Teachers.of(self.learner)
        records = [self.content.catalogue.get(self.learner.items.id(row)) for row in teachers.rows.tolist()]
        self.content.begin_anew()
        self.content.adopt(learn_predictions(teachers, records, self.content.catalogue.copy(), lambda: None))

    def publish(self, **how):
        for _ in range(5):
            self.seq = self.publication.publish(self.seq + 1, **{"slow": True, "idle": True} | how)
        assert self.publication.exact

    def held(self, item_id):
        """What the index holds of an item, (d + 1) + (d) + 2 numbers; None when it cannot be found."""
        rows = self.index.table.rows_of([item_id])
        if not len(rows):
            return None
        d, columns = MODEL.dimension, self.index.table.columns[rows[0]]
        return np.concatenate([columns[: d + 1], self.index.table.contexts[rows[0]], columns[d + 1 :]])

    def check(self, *without_row):
        """Every item is held as it has to be, and no other one."""
        learner, catalogue = self.learner, self.content.catalogue
        kept = [item_id for item_id in learner.items.ids if not catalogue.is_deleted(item_id)]
        alive = self.index.table.item_ids(np.flatnonzero(self.index.table.alive))
        assert sorted(alive) == sorted([*kept, *without_row])
        popularity = learner.popularity_columns()
        for item_id in kept:
            row = learner.items.row(item_id)
            own = content_columns(learner, np.array([row]))
            predicted, known = self.content.predicted([item_id])
            positives = learner.popularity.counts(len(learner.items))[[row]]
            if known[0] and positives[0] < MOST_BLENDED:
                own = blend(own, predicted, positives, EVIDENCE)
            assert np.array_equal(self.held(item_id), np.concatenate([own[0], popularity[row]])), item_id
        floor = np.log(np.full(2, 1 / len(learner.items), np.float32))
        for item_id in without_row:
            predicted = self.content.predicted([item_id])[0][0]
            assert np.array_equal(self.held(item_id), np.concatenate([predicted, floor])), item_id


@pytest.fixture
def world():
    world = World()
    world.content.put(Item("new", category="x"))
    world.content.put(Item("bare"))
    world.content.put(Item("hidden", category="x", available=False))
    return world


def test_before_there_is_a_map_the_index_holds_what_is_learned(world):
    world.publish()
    world.check()


def test_an_item_without_events_is_found_by_its_content_and_nothing_else_is(world):
    world.publish()
    world.renew_map()
    world.publish()
    world.check("new")
    world.content.put(Item("later", category="y"))
    assert world.publication.urgent
    world.seq = world.publication.publish(world.seq + 1, slow=False, idle=False)
    assert world.held("later") is not None and not world.publication.urgent
    world.publish()
    world.check("new", "later")


def test_with_the_first_map_what_nobody_could_find_goes_out_before_all_that_changed_a_little(world, monkeypatch):
    monkeypatch.setattr("stores.index_publication.MOST_ROWS", 10)
    world.publish()
    world.renew_map()
    for _ in range(2):  # the map is noticed, and what it says of items without a row goes out with the next flush
        world.clock.moment_s += 0.03
        world.seq = world.publication.publish(world.seq + 1, slow=False, idle=False)
    assert world.held("new") is not None and world.held("bare") is None and not world.publication.exact
    world.publish()
    world.check("new")


def test_its_first_positive_changes_its_vector_and_not_its_place(world):
    world.renew_map()
    world.publish()
    [place] = world.index.table.places_of(["new"])
    world.learn("never a record")
    world.learn("new")
    world.publish()
    world.check()
    assert world.index.table.places_of(["new"]) == [place] != [world.learner.items.row("new")]
    world.learn("new", 3)
    world.learn("yet another")
    world.publish()
    world.check()


def test_deleted_and_hidden_items_leave_and_come_back(world):
    world.renew_map()
    world.publish()
    world.content.delete("3")
    world.content.put(Item("new", category="x", available=False))
    world.learn("3")
    world.publish()
    world.check()
    assert world.held("3") is None and world.held("new") is None
    world.learn("3")
    world.learn("another")
    world.publish()
    world.check()
    world.content.put(Item("3", category="y"))
    world.content.put(Item("new", category="y"))
    world.publish()
    world.check("new")


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_index_that_lost_everything_gets_it_again(world, epoch):
    world.renew_map()
    world.publish()
    world.content.delete("5")
    world.publish()
    world.index = ItemIndex()
    if epoch == 2:
        world.begin(epoch)
    else:
        world.publication._index = world.index  # the server at the same address, restarted
    world.learn("new")
    world.content.put(Item("later", category="x"))
    world.publish()
    world.check("later")


def test_a_known_item_is_believed_alone(world):
    world.learn("2", MOST_BLENDED)
    world.renew_map()
    world.publish()
    world.check("new")
    row = np.array([world.learner.items.row("2")])
    assert np.array_equal(world.held("2")[:-2], content_columns(world.learner, row)[0])


def test_another_map_reaches_every_item_by_and_by(world):
    world.renew_map()
    world.publish()
    world.learn("2", 20)
    world.publish()
    world.renew_map()
    before = world.held("new")
    assert not world.publication.exact
    world.seq = world.publication.publish(world.seq + 1, slow=False, idle=False)
    assert np.array_equal(world.held("new"), before)
    world.clock.moment_s += 2.0
    world.publish(idle=False)
    world.check("new")


def test_an_index_that_has_a_table_may_keep_it_while_the_first_map_is_learned(world):
    world.renew_map()
    world.publish()
    before = world.index.status()
    world.content.adopt(None)
    world.begin(2)
    assert world.publication.publish(9, slow=True, idle=True, hold=True) == 9
    assert world.index.status() == before and not world.publication.stands
    world.renew_map()
    world.publish()
    world.check("new")
    world.index = ItemIndex()
    world.begin(3)
    world.publish(hold=True)
    world.check("new")


def test_what_was_touched_beside_positives_goes_out_in_time_however_steadily_they_come(world):
    world.publish()
    world.outbox.background[4] = None
    world.publish()
    world.outbox.background[5] = None
    for _ in range(round(BACKGROUND_S / 0.03) + 2):
        world.clock.moment_s += 0.03
        world.outbox.items[3] = None
        world.seq = world.publication.publish(world.seq + 1, slow=False, idle=False)
    assert not world.outbox.background
