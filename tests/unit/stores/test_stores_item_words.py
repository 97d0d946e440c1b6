import pytest

from models.items import Item
from stores.item_words import MAX_ITEM_WORDS, TEXT_WEIGHT, TITLE_WEIGHT, weighted_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("!!! — \0", []),
        ("Star-Wars (1977)", ["star", "wars", "1977"]),
        ("Café MÜLLER, Straße", ["cafe", "muller", "strasse"]),
        ("Танец и кофе", ["танец", "и", "кофе"]),
        ("snake_case it's", ["snake", "case", "it", "s"]),
        ("half \ud800pair", ["half", "pair"]),
        ("w" * 1000, ["w" * 64]),
    ],
)
def test_words_are_letters_and_digits_without_case_and_accents(text: str, words: list[str]):
    assert words_of(text) == words


def test_a_word_of_the_title_weighs_ten_times_as_much_and_most_in_a_short_title():
    title, text, weights = weighted_words(Item("i", title="White Whale", text="The white captain, the sea"))
    assert title == ["white", "whale"]
    assert text == ["the", "white", "captain", "sea"]
    assert weights["captain"] == TEXT_WEIGHT
    assert weights["white"] > weights["whale"] > TITLE_WEIGHT
    assert weighted_words(Item("i", title="Whale"))[2]["whale"] > weights["whale"]


def test_an_endless_text_costs_no_more_than_a_long_one():
    title, text, weights = weighted_words(Item("i", title="a b", text=" ".join(map(str, range(10_000)))))
    assert title == ["a", "b"]
    assert len(text) == MAX_ITEM_WORDS - 2
    assert len(weights) == MAX_ITEM_WORDS
