import numpy as np
import pytest

from models import catalogue as catalogue_module
from models import teachers as teachers_module
from models.catalogue import Catalogue
from models.item_content import ItemContent, learn_predictions
from models.items import Item
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings
from models.teachers import Teachers, content_columns, is_refresh

MODEL = ModelSettings(dimension=4, negatives=4, recent_pool=20, edges=5)


def test_a_catalogue_is_in_the_order_of_the_last_records():
    catalogue = Catalogue()
    for item_id in "abc":
        catalogue.put(Item(item_id, title=item_id))
    catalogue.put(Item("a", title="anew"))
    catalogue.put(Item("b", available=False))
    catalogue.delete("c")
    assert catalogue.item_ids() == ["a", "b"] and list(catalogue.newest()) == ["a"]
    assert catalogue.get("a") == Item("a", title="anew") and catalogue.get("c") is None
    assert catalogue.is_deleted("c") and not catalogue.available("b") and catalogue.available("a")
    catalogue.put(Item("c"))
    assert not catalogue.is_deleted("c") and catalogue.deletions == 0 and list(catalogue.newest()) == ["c", "a"]


def test_a_catalogue_knows_its_bytes_and_keeps_within_its_bounds(monkeypatch):
    catalogue = Catalogue(["gone"])
    catalogue.put(Item("long", text="x" * 100_000))
    catalogue.put(Item("wide", attributes={str(n): n for n in range(10_000)}))
    assert len(catalogue.get("long").text) == catalogue_module.MOST_TEXT and catalogue.get("wide") == Item("wide")
    monkeypatch.setattr(catalogue_module, "MOST_BYTES", catalogue.content_bytes)
    catalogue.put(Item("more", title="more"))
    assert catalogue.get("more") == Item("more") and catalogue.available("more")
    catalogue.delete("long")
    catalogue.put(Item("more", title="more"))
    assert catalogue.get("more").title == "more"
    for item_id in ("more", "wide"):
        catalogue.delete(item_id)
    assert catalogue.content_bytes == 0 and catalogue.deleted == ["gone", "long", "more", "wide"]


def test_a_record_read_again_is_no_news():
    content = content_of([Item("a", title="a"), Item("b")])
    content.changed.clear()
    assert not content.put(Item("a", title="a")) and not content.changed
    assert content.catalogue.item_ids() == ["b", "a"]
    assert content.put(Item("a", title="b")) and content.put(Item("a", title="b", available=False))
    content.delete("a")
    assert content.put(Item("a", title="b", available=False)) and list(content.changed) == ["a"]


def test_a_copy_of_a_catalogue_does_not_follow():
    catalogue = Catalogue()
    catalogue.put(Item("a", title="a"))
    copy = catalogue.copy()
    catalogue.delete("a")
    assert copy.get("a") == Item("a", title="a") and not copy.is_deleted("a")


def learned(positives):
    """A learner that learned this many positives of each item."""
    learner = Learner(MODEL)
    for item_id, count in positives.items():
        learner.add_item(item_id)
        for n in range(count):
            user = learner.add_user(f"u{n}")
            row = learner.items.row(item_id)
            learner.learn([user], [row], [1.0], [event_seed(f"{item_id}:{n}")], [len(learner.items)])
    return learner


def test_teachers_are_the_items_with_most_positives_and_do_not_follow(monkeypatch):
    monkeypatch.setattr(teachers_module, "MOST_TEACHERS", 3)
    learner = learned({"a": 2, "b": 5, "none": 0, "c": 2, "d": 2})
    teachers = Teachers.of(learner)
    assert [learner.items.id(row) for row in teachers.rows] == ["b", "a", "c"]
    assert teachers.positives.tolist() == [5, 2, 2]
    assert np.array_equal(teachers.vectors, content_columns(learner, teachers.rows))
    restored = Teachers.from_state(teachers.state())
    assert all(np.array_equal(*pair) for pair in zip(teachers, restored, strict=True))
    assert Teachers.from_state({}) is None
    before = teachers.vectors.copy()
    learner.learn([0], [1], [1.0], [7], [5])
    assert np.array_equal(teachers.vectors, before)


def test_the_map_is_renewed_often_at_first_and_then_regularly():
    points = [n for n in range(100_000) if is_refresh(n)]
    assert points[:4] == [64, 128, 256, 512] and points[-3:] == [65_536, 81_920, 98_304]


def taught(count=40):
    """Items of two categories, and teachers whose vectors tell the categories apart."""
    items = [Item(f"{n}", category="xy"[n % 2]) for n in range(count)]
    vectors = np.repeat([[1.0, 0.0, 3.0]], count, axis=0).astype(np.float32)
    vectors[1::2] = [0.0, 1.0, 3.0]
    return items, Teachers(np.arange(count), vectors, np.full(count, 50))


def content_of(items, *more):
    content = ItemContent(Catalogue())
    for item in [*items, *more]:
        content.put(item)
    return content


def test_what_content_says_follows_the_catalogue():
    items, teachers = taught()
    content = content_of(items, Item("new x", category="x"), Item("bare"))
    assert content.predicted(["new x"])[0] is None
    pauses = []
    content.begin_anew()
    content.adopt(learn_predictions(teachers, items, content.catalogue.copy(), lambda: pauses.append(1)))
    vectors, known = content.predicted(["new x", "bare", "unheard"])
    assert known.tolist() == [True, False, False] and vectors[0, 0] > 0.8 > 0.2 > vectors[0, 1] and pauses
    content.put(Item("new x", category="y"))
    content.put(Item("late", category="y"))
    vectors, known = content.predicted(["new x", "late", "0"])
    assert known.all() and (vectors[:2, 1] > 0.8).all() and vectors[2, 0] > 0.8
    content.delete("late")
    assert content.predicted(["late"])[1].tolist() == [False]


def test_a_record_that_came_while_the_map_was_learned_is_predicted_by_the_new_map():
    items, teachers = taught()
    content = content_of(items, Item("new", category="x"))
    for _ in range(2):
        content.begin_anew()
        predictions = learn_predictions(teachers, items, content.catalogue.copy(), lambda: None)
        content.put(Item("new", category="y"))
        content.adopt(predictions)
        assert content.predicted(["new"])[0][0, 1] > 0.8
        content.put(Item("new", category="x"))
        assert content.predicted(["new"])[0][0, 0] > 0.8


@pytest.mark.parametrize("known", [0, 9])
def test_too_few_teachers_with_a_record_give_no_map(known):
    items, teachers = taught()
    given = [item if place < known else None for place, item in enumerate(items)]
    assert learn_predictions(teachers, given, Catalogue(), lambda: None) is None
    assert learn_predictions(teachers, items, Catalogue(), lambda: None) is not None
