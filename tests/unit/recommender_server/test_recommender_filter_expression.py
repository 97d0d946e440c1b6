from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.items import Item
from recommender_server.filter_expression import MAX_DEPTH, MAX_LENGTH, BadFilter, parse

ALIEN = Item(
    "alien",
    title="Alien",
    category="horror",
    price=9.5,
    attributes={"year": 1979, "genres": ["horror", "sci-fi"], "two words": "x", "cut": {"length": 117}, "dubbed": True},
)
BARE = Item("bare")

PASSES = [
    "category = 'horror'",
    'category = "horror"',
    "CATEGORY_IS = 1 or category = 'horror'".replace("CATEGORY_IS", "attributes.nothing"),
    "category in ('drama', 'horror')",
    "category != 'drama'",
    "price < 9.6 and price > 9.4",
    "price <= 9.5 AND price >= 9.5",
    "price in 9..10",
    "price in 9.5..9.5",
    "price in (1, 9.5)",
    "not price in 10..20",
    "attributes.year = 1979",
    "attributes.year = 1979.0",
    "attributes.year in 1970..1979",
    "attributes.genres = 'sci-fi'",
    "attributes.genres in ('comedy', 'horror')",
    "attributes.genres != 'comedy'",
    "attributes.'two words' = 'x'",
    "attributes.cut.length > 100",
    "attributes.dubbed = true",
    "attributes.nothing = null",
    "attributes.nothing.deeper = null",
    "available = true",
    "title >= 'Al' and title < 'Am'",
    "not (category = 'drama' or price > 20)",
    "category = 'drama' or category = 'horror' and price < 10",
    "not not category = 'horror'",
    "attributes.delta != -1e-3",
    r"title != 'it\'s'",
]
REFUSES = [
    "category = 'Horror'",
    "price = '9.5'",
    "attributes.year = '1979'",
    "attributes.dubbed = 1",
    "attributes.nothing = 1",
    "attributes.nothing < 1",
    "attributes.cut = 'length'",
    "attributes.genres != 'horror'",
    "title < 5",
    "category in ()".replace("()", "('drama')"),
    "price in 10..9",
    "(category = 'drama' or category = 'horror') and price > 10",
    "category = null",
]


@pytest.mark.parametrize("text", PASSES)
def test_passes(text):
    assert parse(text).accepts(ALIEN)


@pytest.mark.parametrize("text", REFUSES)
def test_refuses(text):
    assert not parse(text).accepts(ALIEN)


@pytest.mark.parametrize("text", PASSES + REFUSES)
def test_an_item_of_which_nothing_is_known_but_its_id_breaks_nothing(text):
    assert parse(text).accepts(BARE) in (True, False)


BAD = {
    "": 0,
    "   ": 3,
    "category": 8,
    "category =": 10,
    "category = horror": 11,
    "category == 'horror'": 10,
    "colour = 'red'": 0,
    "attributes = 1": 11,
    "attributes. = 1": 12,
    "category = 'horror": 11,
    "category = 'horror' price = 1": 20,
    "(category = 'horror'": 20,
    "category = 'horror')": 19,
    "price < null": 8,
    "price in 1": 10,
    "price in (1, )": 13,
    "price in ()": 10,
    "price < 1e999": 8,
    "price < 1 & price > 2": 10,
    "not": 3,
    "price ! 3": 6,
    "__import__('os')": 0,
}


@pytest.mark.parametrize(("text", "position"), BAD.items())
def test_a_bad_expression_is_refused_at_its_position(text, position):
    with pytest.raises(BadFilter) as caught:
        parse(text)
    assert caught.value.position == position


def test_length_and_depth_are_bounded():
    parse("(" * (MAX_DEPTH - 1) + "price = 1" + ")" * (MAX_DEPTH - 1))
    for text in ("(" * 500, "not " * 200 + "price = 1", "price = " + "1" * MAX_LENGTH):
        with pytest.raises(BadFilter):
            parse(text)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*"=<>().,'", "and", "not", "in", "price", "1", ".."])).map(" ".join)
)
def test_any_text_is_read_or_refused_within_its_length(text):
    try:
        assert parse(text).accepts(ALIEN) in (True, False)
    except BadFilter as error:
        assert 0 <= error.position <= len(text)


CATEGORIES = st.sampled_from(["a", "b", "c"])
PRICES = st.integers(0, 5)
COMPARISONS = st.one_of(
    st.tuples(st.just("category"), st.sampled_from(["=", "!="]), CATEGORIES),
    st.tuples(st.just("category"), st.just("in"), st.lists(CATEGORIES, min_size=1)),
    st.tuples(st.just("price"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), PRICES),
    st.tuples(st.just("price"), st.just(".."), st.tuples(PRICES, PRICES)),
)
TREES = st.recursive(
    COMPARISONS,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=8,
)


def _written(tree) -> str:
    match tree:
        case ("not", inner):
            return f"not ({_written(inner)})"
        case (field, "in", values) if isinstance(field, str):
            return f"{field} in ({', '.join(map(repr, values))})"
        case (field, "..", (low, high)) if isinstance(field, str):
            return f"{field} in {low}..{high}"
        case (field, sign, value) if isinstance(field, str):
            return f"{field} {sign} {value!r}"
        case (left, word, right):
            return f"({_written(left)}) {word} ({_written(right)})"


def _true(tree, item: Item) -> bool:
    match tree:
        case ("not", inner):
            return not _true(inner, item)
        case ("category", "in", values):
            return item.category in values
        case (_, "..", (low, high)):
            return low <= item.price <= high
        case ("category" | "price" as field, sign, value):
            return eval(f"left {'==' if sign == '=' else sign} right", {"left": getattr(item, field), "right": value})
        case (left, "and", right):
            return _true(left, item) and _true(right, item)
        case (left, _, right):
            return _true(left, item) or _true(right, item)


@given(tree=TREES, category=CATEGORIES, price=PRICES)
def test_an_expression_means_what_it_says(tree, category, price):
    item = Item("i", category=category, price=float(price))
    text = _written(tree)
    if len(text) > MAX_LENGTH or text.count("(") > MAX_DEPTH:
        return
    read = parse(text)
    assert read.accepts(item) == _true(tree, item)
    if read.categories is not None and read.accepts(item):
        assert item.category in read.categories
