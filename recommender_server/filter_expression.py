"""The filter of a request: a small expression over what the catalogue knows of an item.

::

    category = 'drama' and (price < 10 or attributes.year in 1950..1969) and not attributes.genre in ('war', 'noir')

Fields are ``title``, ``category``, ``price``, ``available`` and ``attributes.NAME`` (``attributes."two words"``, and
``attributes.a.b`` for what lies deeper). ``= != < <= > >=`` compare with one value, ``in (…)`` with several,
``in a..b`` with a range, both ends in it. Values are numbers, texts in either quotation mark (a backslash before one
inside), ``true``, ``false``, ``null``. ``not`` binds closer than ``and``, ``and`` closer than ``or``; words may be in
capitals.

A number is compared with numbers only, a text with texts. A list matches when one of its elements does. What is missing
equals ``null`` and matches nothing else; ``!=`` is the opposite of ``=``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from models.items import Item

MAX_LENGTH = 1000
# Parentheses and negations inside one another.
MAX_DEPTH = 20

FIELDS = ("title", "category", "price", "available")
ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>\.\.|!=|<=|>=|[=<>(),.])
    )""",
    re.VERBOSE | re.DOTALL,
)

Value = str | int | float | bool | None
Accepts = Callable[[Item], bool]
# One value of an item against what the expression says.
Test = Callable[[Any], bool]


class BadFilter(ValueError):
    """The expression cannot be read. ``position``: the character, counted from 0, where it went wrong."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.position = position


class Filter(msgspec.Struct, frozen=True):
    """A filter that was read. ``categories``: when not ``None``, only items of these categories can pass.

    ``text``: the whole expression; filters of one text let the same pass.
    """

    accepts: Accepts
    categories: frozenset[str] | None = None
    text: str = ""


def parse(text: str) -> Filter:
    """Read an expression. Raises ``BadFilter``."""
    if len(text) > MAX_LENGTH:
        raise BadFilter(f"a filter has at most {MAX_LENGTH} characters", MAX_LENGTH)
    parser = _Parser(_tokens(text), len(text))
    read = parser.disjunction(0)
    if parser.kind:
        raise parser.expected("and, or, or the end")
    return msgspec.structs.replace(read, text=text)


def of_category(category: str) -> Filter:
    """Return the filter that lets one category pass."""
    wanted = category.replace("\\", r"\\").replace("'", r"\'")
    return Filter(lambda item: item.category == category, frozenset([category]), f"category = '{wanted}'")


def both(one: Filter, other: Filter) -> Filter:
    """Return the filter that both let pass."""
    first, second = one.accepts, other.accepts
    categories = other.categories if one.categories is None else one.categories
    if one.categories is not None and other.categories is not None:
        categories = one.categories & other.categories
    return Filter(lambda item: first(item) and second(item), categories, f"({one.text}) and ({other.text})")


def either(one: Filter, other: Filter) -> Filter:
    """Return the filter that lets pass what one of them does."""
    first, second = one.accepts, other.accepts
    categories = None
    if one.categories is not None and other.categories is not None:
        categories = one.categories | other.categories
    return Filter(lambda item: first(item) or second(item), categories)


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            what = "a text without its end" if text[at] in "'\"" else f"{text[at]!r} means nothing here"
            raise BadFilter(what, at)
        kind = match.lastgroup
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent; every method reads one rule of the grammar and leaves the next token current."""

    def __init__(self, tokens: Sequence[_Token], length: int) -> None:
        self._tokens = [*tokens, _Token("", "", length)]
        self._at = 0

    @property
    def kind(self) -> str:
        """Kind of the current token; empty at the end."""
        return self._tokens[self._at].kind

    def expected(self, what: str) -> BadFilter:
        """Return the error that says what should have come."""
        kind, text, position = self._tokens[self._at]
        found = repr(text) if kind else "the end"
        return BadFilter(f"expected {what}, found {found}", position)

    def disjunction(self, depth: int) -> Filter:
        """``and`` expressions joined by ``or``."""
        read = self._conjunction(depth)
        while self._took("or"):
            read = either(read, self._conjunction(depth))
        return read

    def _conjunction(self, depth: int) -> Filter:
        read = self._negation(depth)
        while self._took("and"):
            read = both(read, self._negation(depth))
        return read

    def _negation(self, depth: int) -> Filter:
        if depth >= MAX_DEPTH:
            raise BadFilter(f"more than {MAX_DEPTH} expressions inside one another", self._tokens[self._at].position)
        if self._took("not"):
            refused = self._negation(depth + 1).accepts
            return Filter(lambda item: not refused(item))
        if self._took("("):
            read = self.disjunction(depth + 1)
            self._must(")")
            return read
        return self._comparison()

    def _comparison(self) -> Filter:
        field, read = self._field()
        kind, sign, _ = self._tokens[self._at]
        categories = None
        if self._took("in"):
            test, values = self._several()
            if field == "category" and values is not None:
                categories = frozenset(value for value in values if isinstance(value, str))
                categories = None if None in values else categories
        elif kind == "sign" and sign in ("=", "!="):
            self._at += 1
            value = self._value()
            test = _equal_to_one_of([value])
            if sign == "!=":
                equal = test
                return Filter(lambda item: not equal(read(item)))
            if field == "category" and isinstance(value, str):
                categories = frozenset([value])
        elif kind == "sign" and sign in ORDERED:
            self._at += 1
            test = _ordered(ORDERED[sign], self._comparable())
        else:
            raise self.expected("one of = != < <= > >= in")
        return Filter(lambda item: test(read(item)), categories)

    def _field(self) -> tuple[str, Callable[[Item], Any]]:
        kind, word, position = self._tokens[self._at]
        if kind != "word":
            raise self.expected("a field, not or (")
        self._at += 1
        if word in FIELDS:
            return word, operator.attrgetter(word)
        if word != "attributes":
            raise BadFilter(f"there is no field {word!r}; fields are {', '.join(FIELDS)} and attributes.NAME", position)
        path = []
        self._must(".")
        while True:
            kind, name, _ = self._tokens[self._at]
            if kind not in ("word", "text"):
                raise self.expected("the name of an attribute")
            self._at += 1
            path.append(_unquoted(name) if kind == "text" else name)
            if not self._took("."):
                return word, lambda item: _inside(item.attributes, path)

    def _several(self) -> tuple[Test, list[Value] | None]:
        if not self._took("("):
            low = self._comparable()
            self._must("..")
            above, below = _ordered(operator.ge, low), _ordered(operator.le, self._comparable())
            return _any_element(lambda value: above(value) and below(value)), None
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._must(")")
        return _equal_to_one_of(values), values

    def _value(self) -> Value:
        kind, text, position = self._tokens[self._at]
        words: dict[str, Value] = {"true": True, "false": False, "null": None}
        if kind == "number":
            value: Value = float(text) if re.search("[.eE]", text) else int(text)
            if isinstance(value, float) and not math.isfinite(value):
                raise BadFilter("the number is too large", position)
        elif kind == "text":
            value = _unquoted(text)
        elif kind == "word" and text.lower() in words:
            value = words[text.lower()]
        else:
            raise self.expected("a number, a 'text', true, false or null")
        self._at += 1
        return value

    def _comparable(self) -> str | int | float:
        position = self._tokens[self._at].position
        value = self._value()
        if value is None or isinstance(value, bool):
            raise BadFilter("only numbers and texts have an order", position)
        return value

    def _took(self, what: str) -> bool:
        kind, text, _ = self._tokens[self._at]
        found = kind in ("word", "sign") and text.lower() == what
        self._at += found
        return found

    def _must(self, what: str) -> None:
        if not self._took(what):
            raise self.expected(what)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _inside(attributes: Any, path: Sequence[str]) -> Any:
    for name in path:
        attributes = attributes.get(name) if isinstance(attributes, dict) else None
    return attributes


def _kind(value: Any) -> type:
    """Return what values are comparable with: whole and broken numbers are one kind, truth is another."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _any_element(test: Test) -> Test:
    return lambda value: any(map(test, value)) if isinstance(value, list) else test(value)


def _equal_to_one_of(wanted: Sequence[Value]) -> Test:
    known = {(_kind(value), value) for value in wanted}
    # What cannot be hashed, an object inside an attribute, equals nothing that can be written here.
    return _any_element(lambda value: not isinstance(value, dict | list) and (_kind(value), value) in known)


def _ordered(compare: Callable[[Any, Any], bool], wanted: str | int | float) -> Test:
    kind = _kind(wanted)
    return _any_element(lambda value: _kind(value) is kind and compare(value, wanted))
