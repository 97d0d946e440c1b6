import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import DEFAULT_POSITIVES, BadEvent, EventDecoder, Interaction, PositiveRule

NOW_S = 1_700_000_000.0
DECODER = EventDecoder(PositiveRule(DEFAULT_POSITIVES))


def decode(value: bytes, decoder: EventDecoder = DECODER) -> Interaction:
    return decoder.decode(value, default_event_id="user_events:0:7", arrival_s=NOW_S)


def event(**fields: object) -> bytes:
    return msgspec.json.encode({"user_id": "u", "item_id": "i", "type": "click"} | fields)


def test_what_is_not_said_has_a_default():
    interaction = decode(event())
    assert (interaction.event_id, interaction.timestamp_s, interaction.lateness_s) == ("user_events:0:7", NOW_S, 0.0)
    assert (interaction.feedback, interaction.strength) == ("positive", 1.0)


@pytest.mark.parametrize(
    ("fields", "feedback", "strength"),
    [
        ({"type": "buy"}, "positive", 1.0),
        ({"type": "addToCart"}, "positive", 0.7),
        ({"type": "pageView"}, "positive", 0.5),
        ({"type": "rating", "value": 4}, "positive", 1.0),
        ({"type": "rating", "value": 3.5}, "history", 0.0),
        ({"type": "rating"}, "history", 0.0),
        ({"type": "dislike"}, "negative", 0.0),
        ({"type": "hide"}, "negative", 0.0),
        ({"type": "whatever"}, "history", 0.0),
    ],
)
def test_the_rule_says_what_is_learned_and_how_strongly(fields, feedback, strength):
    interaction = decode(event(**fields))
    assert (interaction.feedback, interaction.strength) == (feedback, strength)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 16_000, "not_json"),
        (b'{"user_id": NaN}', "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (event(user_id=None), "bad_user_id"),
        (event(user_id=""), "bad_user_id"),
        (event(user_id="x" * 257), "bad_user_id"),
        (event(user_id="a\nb"), "bad_user_id"),
        (event(user_id=True), "bad_user_id"),
        (event(user_id=1.5), "bad_user_id"),
        (event(item_id={}), "bad_item_id"),
        (event(event_id=""), "bad_event_id"),
        (event(type=""), "bad_type"),
        (event(type=3), "bad_type"),
        (event(value="5"), "bad_value"),
        (event(value=True), "bad_value"),
        (b'{"user_id":"u","item_id":"i","type":"rating","value":1e999}', "not_json"),
        (event(value=10**400), "bad_value"),
        (event(timestamp="yesterday"), "bad_timestamp"),
        (event(timestamp="2026-01-31T12:00:00"), "bad_timestamp"),
        (event(timestamp=-1), "bad_timestamp"),
        (event(timestamp="2099-01-01T00:00:00Z"), "timestamp_in_future"),
        (event(timestamp=4_070_908_800), "timestamp_in_future"),
        (event(note="x" * 20_000), "too_large"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(value, reason):
    with pytest.raises(BadEvent) as caught:
        decode(value)
    assert caught.value.reason == reason
    assert str(caught.value)


def test_clocks_are_never_trusted_beyond_the_arrival():
    ahead = decode(event(timestamp=NOW_S + 60))
    assert (ahead.timestamp_s, ahead.lateness_s) == (NOW_S, -60)
    late = decode(event(timestamp="2023-11-14T22:13:10Z"))
    assert (late.timestamp_s, late.lateness_s) == (NOW_S - 10, 10)


def test_ids_may_be_whole_numbers():
    assert decode(event(user_id=7)).user_id == "7"


def test_other_peoples_field_names_are_read():
    theirs = {"uuid": "user_id", "sourceprodid": "item_id", "userevent": "type", "clicked_epoch": "timestamp"}
    decoder = EventDecoder(PositiveRule(DEFAULT_POSITIVES), theirs)
    value = b'{"uuid":"u9","sourceprodid":42,"userevent":"buy","clicked_epoch":1699999999,"ontology":"x","price":3}'
    interaction = decode(value, decoder)
    assert (interaction.user_id, interaction.item_id, interaction.type) == ("u9", "42", "buy")
    assert interaction.timestamp_s == NOW_S - 1
    with pytest.raises(ValueError, match="unknown fields"):
        EventDecoder(PositiveRule(DEFAULT_POSITIVES), {"uuid": "user"})


@pytest.mark.parametrize("text", ["", "buy", "buy:0", "buy:1.5", "buy:x", "rating>=:1", "hide:1.0", "buy:1.0,,:"])
def test_a_rule_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        PositiveRule(text)


def test_a_limit_can_be_strict():
    rule = PositiveRule("rating>3:0.5, rating>=4:1.0")
    assert [rule.strength("rating", value) for value in (3, 3.5, 4)] == [0, 0.5, 1.0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional={name: JSON for name in ("user_id", "item_id", "type", "value", "timestamp")})
)
def test_anything_is_either_an_interaction_or_a_bad_event(raw):
    try:
        interaction = DECODER.validate(raw, default_event_id="d", arrival_s=NOW_S)
    except BadEvent:
        return
    assert 0 <= interaction.timestamp_s <= NOW_S
    assert interaction.value is None or math.isfinite(interaction.value)
    assert 0 < len(interaction.user_id.encode()) <= 256


@given(st.binary(max_size=200))
def test_any_bytes_are_either_an_interaction_or_a_bad_event(value):
    try:
        decode(value)
    except BadEvent as error:
        assert error.reason


def test_an_event_of_type_forget_without_item_forgets_its_user():
    decoder = EventDecoder(PositiveRule(DEFAULT_POSITIVES))
    wish = decoder.decode(b'{"user_id": "u", "type": "forget"}', default_event_id="e", arrival_s=1e9)
    assert (wish.feedback, wish.item_id, wish.strength) == ("forget", "", 0.0)
    other = decoder.decode(b'{"user_id": "u", "item_id": "i", "type": "forget"}', default_event_id="e", arrival_s=1e9)
    assert (other.feedback, other.item_id) == ("history", "i")
