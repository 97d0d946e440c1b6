"""The messages of the index: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stores import index_wire as wire
from stores.ports import Candidates, ItemRows, Query, Stamp

floats = arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False))
texts = st.lists(st.text(max_size=5), max_size=5)


@given(floats, st.integers(1, 10**9), texts, texts, st.none() | texts)
def test_a_query_comes_out_as_it_went_in(vector, k, exclude, lifted, within):
    lifts = [0.1 * n for n in range(len(lifted))]
    query = Query(vector=vector, k=k, exclude=exclude, lifted=lifted, lifts=lifts, within=within)
    [back] = wire.decode(wire.Search, wire.encode(wire.Search([query]))).queries
    assert back.vector.tobytes() == vector.tobytes() and back.vector.dtype == np.float32
    assert (back.k, back.exclude, back.lifted, back.lifts, back.within) == (k, exclude, lifted, lifts, within)


@given(st.integers(0, 5), st.integers(1, 8), st.integers(0, 2**62))
def test_rows_come_out_as_they_went_in_in_both_forms(n, d, seq):
    chance = np.random.default_rng(n)
    tables = [chance.normal(size=(n, width)).astype(np.float32) for width in (d + 1, d, 2)]
    message = wire.Upsert(ItemRows([f"i{row}" for row in range(n)], *tables), Stamp(1, seq, seq + 1))
    for media_type in (wire.MSGPACK, wire.JSON) if n else (wire.MSGPACK,):
        back = wire.decode(wire.Upsert, wire.encode(message, media_type), media_type)
        assert back.stamp == message.stamp and back.rows.item_ids == message.rows.item_ids
        for table, found in zip(tables, (back.rows.vectors, back.rows.contexts, back.rows.popularity), strict=True):
            np.testing.assert_array_equal(found, table)


def test_arrays_that_do_not_lie_in_one_piece_are_written_in_order():
    whole = np.arange(24, dtype=np.float64).reshape(4, 6)
    for array in (whole[::2, 1], whole[0, ::-1]):
        back = wire.decode(wire.Found, wire.encode(wire.Found([Candidates(["a"], array)]))).answers[0]
        assert back.scores.tolist() == array.tolist()


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_message_or_a_bad_message(body):
    for kind in (wire.Search, wire.Upsert, wire.SetPopularity):
        for media_type in (wire.MSGPACK, wire.JSON):
            with pytest.raises(wire.BadMessage):
                wire.decode(kind, body, media_type)


@given(st.integers(0, 10**6), st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFF]))
def test_a_message_with_one_byte_changed_is_a_message_or_a_bad_message(place, byte):
    message = bytearray(wire.encode(wire.SetPopularity(np.ones((3, 2), np.float32), Stamp(1, 2, 3))))
    message[place % len(message)] = byte
    try:
        back = wire.decode(wire.SetPopularity, message)
    except wire.BadMessage:
        return
    assert back.columns.dtype == np.float32


@pytest.mark.parametrize("shape", [[3], [2, -3], [1, 1, 6], [2**62, 4], ["a"], [True, 6], []])
def test_a_shape_that_does_not_fit_its_bytes_is_refused(shape):
    stamp = {"epoch": 1, "from_seq": 2, "to_seq": 3}
    body = msgspec.msgpack.encode({"columns": [shape, b"\0" * 24], "stamp": stamp})
    with pytest.raises(wire.BadMessage):
        wire.decode(wire.SetPopularity, body)
