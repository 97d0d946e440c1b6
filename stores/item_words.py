"""The words of an item, and of a search: what a store without a text index of its own looks up.

As SQLite's FTS5 cuts them: runs of letters and digits, without accents and case.
"""

from __future__ import annotations

import re
import unicodedata

from models.items import Item

# What an index keeps of one item, and a search looks at, at most; a longer text finds nothing more and only costs time.
MAX_ITEM_WORDS = 2000
MAX_SEARCH_WORDS = 12
_MAX_LENGTH = 64
# A word of the title counts as much as ten of the text, and a little more the fewer words the title has.
TITLE_WEIGHT, TEXT_WEIGHT = 10.0, 1.0

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in order."""
    # Half a surrogate pair is no letter, and no store takes it.
    decomposed = unicodedata.normalize("NFKD", text.encode(errors="ignore").decode())
    plain = "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()
    return [word[:_MAX_LENGTH] for word in _WORD.findall(plain)]


def weighted_words(item: Item) -> tuple[list[str], list[str], dict[str, float]]:
    """Return the distinct words of an item's title, those of its text, and what each weighs in a search."""
    title = list(dict.fromkeys(words_of(item.title)))[:MAX_ITEM_WORDS]
    text = list(dict.fromkeys(words_of(item.text or "")))[: MAX_ITEM_WORDS - len(title)]
    weights = dict.fromkeys(text, TEXT_WEIGHT)
    for word in title:
        weights[word] = weights.get(word, 0.0) + TITLE_WEIGHT + 1.0 / len(title)
    return title, text, weights
