import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import content, content_features
from models.content import ContentMap, ContentSettings, blend
from models.content_features import ContentFeatures
from models.items import Item, decode_item, encode_item

PEOPLE = [f"person {number}" for number in range(12)]
SETTINGS = ContentSettings(ridge=0.1)


def movies(count, seed):
    rng = np.random.default_rng(seed)
    for number in range(count):
        cast = rng.choice(PEOPLE, size=2, replace=False)
        yield Item(
            f"{seed}-{number}",
            category=str(rng.choice(["drama", "comedy|musical", "war"])),
            attributes={"cast": ", ".join(cast), "year": int(rng.integers(1930, 2000))},
        )


def vector(item):
    """The world's law: every person and genre adds to the vector, and so does the year."""
    directions = np.random.default_rng(7).normal(size=(20, 3))
    tags = ["drama", "comedy", "musical", "war", *PEOPLE]
    own = item.category.split("|") + item.attributes["cast"].split(", ")
    return sum(directions[tags.index(tag)] for tag in own) + directions[19] * (item.attributes["year"] - 1965) / 20


def learned(items, positives=100, chosen=SETTINGS):
    return ContentMap.learn(items, np.array([vector(item) for item in items]), np.full(len(items), positives), chosen)


def test_vectors_of_unknown_items_follow_from_their_content():
    known, new = list(movies(300, 1)), list(movies(50, 2))
    wanted = np.array([vector(item) for item in new])
    wrong = learned(known).predict(new) - wanted
    assert (wrong**2).sum() < 0.02 * ((wanted - wanted.mean(axis=0)) ** 2).sum()


def test_words_of_title_and_text_tell_items_apart():
    known = [
        *(Item(f"s{n}", title="The Ship", text="A captain sails the sea") for n in range(20)),
        *(Item(f"h{n}", title="The Horse", text="A sheriff rides the desert") for n in range(20)),
    ]
    vectors = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20, axis=0)
    found = ContentMap.learn(known, vectors, np.full(40, 50), SETTINGS)
    by_title, by_text = found.predict([Item("x", title="SHIP!"), Item("y", text="… the sheriff, the desert")])
    assert by_title[0] > by_title[1] + 0.2 and by_text[1] > by_text[0] + 0.2


def test_an_item_of_which_nothing_is_known_gets_the_mean_of_those_that_teach():
    known = list(movies(50, 1))
    vectors = np.array([vector(item) for item in known])
    nothing, unheard = learned(known).predict([Item("x"), Item("y", category="opera", attributes={"cast": "nobody"})])
    assert np.allclose(nothing, vectors.mean(axis=0), atol=1e-6)
    assert np.array_equal(nothing, unheard)
    assert learned(known).predict([]).shape == (0, 3)


def test_an_item_with_few_positives_teaches_less_and_one_without_nothing():
    items = [Item("a", category="x"), Item("b", category="x"), Item("c", category="y"), Item("d", category="y")]
    vectors = np.array([[1.0], [1.0], [-1.0], [-1.0]])

    def towards_x(positives):
        found = ContentMap.learn(items, vectors, np.array([positives, positives, 500, 500]), ContentSettings())
        return found.predict([Item("n", category="x")])[0, 0] - found.predict([Item("o")])[0, 0]

    assert towards_x(500) > towards_x(5) > towards_x(1) > 0
    vectors[:2] = np.nan
    assert towards_x(0) == 0


def test_a_field_of_weight_0_is_ignored():
    known = list(movies(100, 1))
    blind = learned(known, chosen=ContentSettings(weights={"category": 0.0}, attribute_weight=0.0))
    assert np.ptp(blind.predict(known), axis=0).max() == 0


def test_the_map_does_not_depend_on_the_order_of_items_or_attributes():
    known, new = list(movies(80, 1)), list(movies(9, 2))
    turned = [
        Item(item.item_id, category=item.category, attributes=dict(reversed(item.attributes.items())))
        for item in reversed(known)
    ]
    assert np.allclose(learned(known).predict(new), learned(turned).predict(new), atol=1e-5)
    assert np.array_equal(learned(known).predict(new), learned(known).predict(new))


def test_a_restored_map_predicts_the_same_bits_whatever_json_did_to_its_facts():
    known, new = list(movies(80, 1)), list(movies(9, 2))
    arrays, facts = learned(known).state()
    restored = ContentMap.from_state(arrays, json.loads(json.dumps(facts, sort_keys=True)))
    assert np.array_equal(restored.predict(new), learned(known).predict(new))


def test_items_beyond_the_bound_do_not_teach_and_rare_terms_are_not_kept(monkeypatch):
    monkeypatch.setattr(content, "MOST_TAUGHT", 2)
    monkeypatch.setattr(content_features, "MOST_TERMS", 1)
    items = [Item("a", category="x"), Item("b", category="x|y"), Item("c", category="y|z")]
    found = ContentMap.learn(items, np.array([[5.0], [5.0], [0.0]]), np.array([9, 8, 7]), SETTINGS)
    assert found.predict([Item("n", category="y")])[0, 0] == pytest.approx(5)
    assert ContentFeatures.learn(items, {}, 1.0).size == 1


@pytest.mark.parametrize("category", ["toys/outdoor", "toys > outdoor", "Outdoor|Toys", "outdoor, toys"])
def test_however_a_catalogue_writes_its_categories_they_are_the_same_tags(category):
    known = [Item(f"{n}", category="toys;outdoor" if n % 2 else "books") for n in range(10)]
    found = ContentMap.learn(known, np.arange(10.0)[:, None] % 2, np.full(10, 9), SETTINGS)
    assert np.allclose(*found.predict([Item("x", category=category), known[1]]))
    assert found.predict(known[:2])[1, 0] > 0.8 > 0.2 > found.predict(known[:2])[0, 0]


def test_what_cannot_be_learned_is_refused():
    items = list(movies(3, 1))
    with pytest.raises(ValueError, match="no item has positives"):
        ContentMap.learn(items, np.zeros((3, 2)), np.zeros(3, np.int64), SETTINGS)
    with pytest.raises(ValueError, match="finite"):
        ContentMap.learn(items, np.full((3, 2), np.nan), np.ones(3, np.int64), SETTINGS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
any_items = st.builds(
    Item,
    st.just("x"),
    title=st.text(),
    category=st.none() | st.text(),
    price=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    text=st.none() | st.text(),
    attributes=st.dictionaries(st.sampled_from(["a", "b", "title", "category", "price"]), json_values),
)


@given(known=st.lists(any_items, min_size=1, max_size=6), new=st.lists(any_items, max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_catalogue_gives_finite_vectors(known, new):
    vectors = np.arange(2.0 * len(known)).reshape(-1, 2)
    found = ContentMap.learn(known, vectors, np.arange(1, len(known) + 1), SETTINGS)
    assert np.isfinite(found.predict([*known, *new])).all()


def test_a_number_of_any_size_in_a_record_is_taken():
    item = decode_item(b'{"item_id":"x","attributes":{"views":1' + b"0" * 400 + b',"tags":["a",1,null]}}')
    assert decode_item(encode_item(item)) == item
    assert np.isfinite(ContentMap.learn([item], np.ones((1, 2)), np.ones(1, np.int64), SETTINGS).predict([item])).all()


@given(st.integers(0, 10**9), st.floats(-10, 10), st.floats(-10, 10))
def test_the_stream_takes_over_as_evidence_comes(positives, from_stream, from_content):
    learned_part, predicted = np.array([[from_stream]], np.float32), np.array([[from_content]], np.float32)
    blended = blend(learned_part, predicted, np.array([positives]), 3.0)
    assert blended.dtype == np.float32
    share = positives / (positives + 3.0)
    assert blended[0, 0] == pytest.approx(share * from_stream + (1 - share) * from_content, abs=1e-4)


def test_the_two_ends_of_the_blend():
    one, other = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert blend(one, other, np.array([0, 10]), 10.0).tolist() == [[0.0] * 3, [0.5] * 3]
