"""What every item index must do. A subclass supplies two fixtures:

``writer``: an empty ``ItemIndexWriter``, closed by the fixture; ``open_reader``: a function that returns a new
``ItemIndexReader`` on the same index; it is called inside the event loop that will use the reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.ports import Candidates, Gap, ItemIndexReader, ItemRows, Query, StaleEpoch, Stamp

D = 4


def _rows(*item_ids: str, seed: int = 0, d: int = D) -> ItemRows:
    """Rows whose numbers depend on the item and the seed alone."""
    n = len(item_ids)
    vectors, contexts, popularity = np.zeros((n, d + 1)), np.zeros((n, d)), np.zeros((n, 2))
    for row, item_id in enumerate(item_ids):
        chance = np.random.default_rng([seed, *item_id.encode()])
        vectors[row], contexts[row], popularity[row] = (chance.normal(size=size) for size in (d + 1, d, 2))
    as_f4 = [table.astype(np.float32) for table in (vectors, contexts, popularity)]
    return ItemRows(list(item_ids), *as_f4)


def _query(k: int = 3, seed: int = 1, **rest: object) -> Query:
    vector = np.random.default_rng(seed).normal(size=D + 3).astype(np.float32)
    return Query(vector=vector, k=k, **rest)


def _scores(rows: ItemRows, query: Query) -> dict[str, float]:
    """What the index must compute, from the definition."""
    vector = query.vector.astype(np.float64).copy()
    contexts = dict(zip(rows.item_ids, rows.contexts, strict=True))
    for item_id, weight in zip(query.recent, query.recent_weights, strict=True):
        if item_id in contexts:
            vector[:D] += weight * contexts[item_id]
    scores = np.hstack([rows.vectors, rows.popularity]).astype(np.float64) @ vector
    lifts = dict(zip(query.lifted, query.lifts, strict=True))
    return {item: score + lifts.get(item, 0.0) for item, score in zip(rows.item_ids, scores.tolist(), strict=True)}


def _check(found: Candidates, scores: dict[str, float], query: Query) -> None:
    """``found`` must be the right answer to ``query`` when these items have these scores."""
    allowed = {x: s for x, s in scores.items() if x not in query.exclude}
    if query.within is not None:
        allowed = {x: s for x, s in allowed.items() if x in query.within}
    best = sorted(allowed.values(), reverse=True)[: query.k]
    assert len(found.item_ids) == len(set(found.item_ids)) == len(best)
    assert set(found.item_ids) <= set(allowed)
    assert found.scores.dtype == np.float32
    assert found.scores.tolist() == pytest.approx(best, abs=1e-4)
    assert [allowed[item_id] for item_id in found.item_ids] == pytest.approx(best, abs=1e-4)


def _stack(*parts: ItemRows) -> ItemRows:
    """The table after these upserts, in the order in which items first came."""
    last: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for part in parts:
        for row, item_id in enumerate(part.item_ids):
            last[item_id] = (part.vectors[row], part.contexts[row], part.popularity[row])
    return ItemRows(list(last), *(np.array(column) for column in zip(*last.values(), strict=True)))


class ItemIndexContract:
    @pytest.fixture
    def writer(self):
        raise NotImplementedError

    @pytest.fixture
    def open_reader(self) -> Callable[[], ItemIndexReader]:
        raise NotImplementedError

    def run(
        self, open_reader: Callable[[], ItemIndexReader], scenario: Callable[[ItemIndexReader], Awaitable]
    ) -> object:
        """Run an async scenario with the index as serving reads it."""

        async def with_reader() -> object:
            reader = open_reader()
            try:
                return await scenario(reader)
            finally:
                await reader.close()

        return asyncio.run(with_reader())

    @pytest.fixture
    def rows(self) -> ItemRows:
        return _rows(*(f"i{n}" for n in range(20)))

    @pytest.fixture
    def filled(self, writer, rows):
        """An index that stands at epoch 1, seq 3."""
        writer.replace(rows, Stamp(1, 0, 3))
        return writer

    def search(self, writer, *queries: Query) -> list[Candidates]:
        return writer.search(queries)

    def ids(self, writer, k: int = 100) -> set[str]:
        return set(self.search(writer, _query(k))[0].item_ids)

    # --- where it stands

    def test_an_empty_index_finds_nothing(self, writer):
        status = writer.status()
        assert (status.items, status.rows) == (0, 0)
        assert status.boot_id

    def test_a_whole_table_takes_it_to_where_the_stamp_says(self, writer, rows):
        returned = writer.replace(rows, Stamp(4, 0, 17))
        status = writer.status()
        assert returned == status
        assert (status.epoch, status.seq, status.items, status.rows) == (4, 17, 20, 20)
        assert status.dimension == D
        assert status.ready
        assert status.kind

    def test_writes_in_a_row_are_accepted(self, filled, rows):
        assert filled.upsert(_rows("new"), Stamp(1, 3, 4)).seq == 4
        assert filled.set_popularity(np.zeros((21, 2), np.float32), Stamp(1, 4, 6)).seq == 6
        assert filled.delete(["i0"], Stamp(1, 6, 7)).seq == 7
        assert filled.status().boot_id == filled.upsert(_rows("i0"), Stamp(1, 7, 8)).boot_id

    def test_a_repeated_write_is_answered_again_as_done(self, filled):
        for _ in range(2):
            assert filled.upsert(_rows("new"), Stamp(1, 3, 4)).seq == 4
        assert filled.status().rows == 21
        for _ in range(2):
            assert filled.delete(["new"], Stamp(1, 4, 5)).seq == 5
        for _ in range(2):
            assert filled.set_popularity(np.zeros((21, 2), np.float32), Stamp(1, 5, 6)).seq == 6

    @pytest.mark.parametrize("stamp", [Stamp(1, 4, 5), Stamp(1, 0, 2), Stamp(1, 2, 4), Stamp(2, 9, 10)])
    def test_a_write_from_elsewhere_is_a_gap_and_changes_nothing(self, filled, rows, stamp):
        before = filled.status()
        with pytest.raises(Gap):
            filled.upsert(_rows("new"), stamp)
        with pytest.raises(Gap):
            filled.set_popularity(np.zeros((20, 2), np.float32), stamp)
        with pytest.raises(Gap):
            filled.delete(["i0"], stamp)
        assert filled.status() == before
        assert self.ids(filled) == set(rows.item_ids)

    def test_an_older_epoch_is_refused_by_every_write(self, writer, rows):
        writer.replace(rows, Stamp(5, 0, 3))
        before = writer.status()
        for stamp in (Stamp(4, 3, 4), Stamp(4, 0, 3)):
            with pytest.raises(StaleEpoch):
                writer.upsert(_rows("new"), stamp)
            with pytest.raises(StaleEpoch):
                writer.set_popularity(np.zeros((20, 2), np.float32), stamp)
            with pytest.raises(StaleEpoch):
                writer.delete(["i0"], stamp)
            with pytest.raises(StaleEpoch):
                writer.replace(_rows("new"), stamp)
        assert writer.status() == before
        assert self.ids(writer) == set(rows.item_ids)

    def test_a_whole_table_is_accepted_from_anywhere_in_this_epoch_or_a_newer_one(self, filled):
        assert filled.replace(_rows("a"), Stamp(1, 90, 91)).seq == 91
        assert filled.replace(_rows("a", "b"), Stamp(7, 0, 1)).epoch == 7
        assert filled.upsert(_rows("c"), Stamp(7, 1, 2)).items == 3

    def test_replacing_forgets_everything_else(self, filled):
        filled.delete(["i1"], Stamp(1, 3, 4))
        filled.replace(_rows("i5", "new", seed=9), Stamp(1, 4, 5))
        status = filled.status()
        assert (status.items, status.rows) == (2, 2)
        query = _query(100, lifted=["i0", "i1", "i5"], lifts=[1.0, 2.0, 3.0])
        _check(self.search(filled, query)[0], _scores(_rows("i5", "new", seed=9), query), query)

    def test_an_empty_table_can_be_loaded(self, filled):
        filled.replace(_rows(), Stamp(1, 3, 4))
        assert filled.status().items == 0
        assert self.ids(filled) == set()
        assert filled.upsert(_rows("a"), Stamp(1, 4, 5)).items == 1
        assert self.ids(filled) == {"a"}

    # --- what is found

    def test_the_best_are_found_best_first(self, filled, rows):
        query = _query(5)
        [found] = self.search(filled, query)
        _check(found, _scores(rows, query), query)

    def test_several_queries_are_answered_in_order(self, filled, rows):
        queries = [_query(k, seed=seed) for seed, k in enumerate((1, 7, 3, 20))]
        answers = self.search(filled, *queries)
        assert len(answers) == 4
        for query, found in zip(queries, answers, strict=True):
            _check(found, _scores(rows, query), query)
        assert self.search(filled) == []

    def test_fewer_than_k_when_no_more_exist(self, filled):
        assert len(self.ids(filled, k=1_000)) == 20

    def test_recent_items_are_folded_in_and_unknown_ones_left_out(self, filled, rows):
        query = _query(20, recent=["i3", "unknown", "i7"], recent_weights=[1.0, 0.8, 0.64])
        [found] = self.search(filled, query)
        _check(found, _scores(rows, query), query)
        plain = self.search(filled, _query(20))[0].scores
        assert not np.allclose(np.sort(found.scores), np.sort(plain), atol=1e-3)

    def test_excluded_items_are_never_found_and_others_fill_their_places(self, filled, rows):
        best = self.search(filled, _query(5))[0].item_ids
        query = _query(5, exclude=[*best, "unknown"])
        [found] = self.search(filled, query)
        _check(found, _scores(rows, query), query)
        everything = _query(5, exclude=rows.item_ids)
        assert self.search(filled, everything)[0].item_ids == []

    @pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
    def test_lifted_items_are_found_where_their_lifts_bring_them(self, filled, rows, size):
        worst = self.search(filled, _query(20))[0].item_ids[::-1]
        lifted = [*worst[:6], "unknown", *worst[-3:]]
        for k, exclude in ((2, []), (5, worst[:2]), (20, worst[-1:])):
            query = _query(k, lifted=lifted, lifts=[size * (n + 1) for n in range(10)], exclude=exclude)
            several = self.search(filled, query, *[_query(3, seed=seed) for seed in range(5)])
            for [found, *_] in (several, self.search(filled, query)):
                _check(found, _scores(rows, query), query)

    @pytest.mark.parametrize("lifts", [[-1.0, 1.0], [float("nan"), 1.0], [float("inf"), 1.0], [1.0], [1.0, 1.0, 1.0]])
    def test_lifts_that_cannot_be_added_are_refused(self, filled, lifts):
        with pytest.raises(ValueError):
            self.search(filled, _query(3, lifted=["i1", "i2"], lifts=lifts))
        with pytest.raises(ValueError):
            self.search(filled, _query(3, lifted=["i1", "i1"], lifts=[1.0, 1.0]))

    def test_only_the_items_given_are_searched_when_some_are_given(self, filled, rows):
        for within in (["i2", "unknown", "i11", "i3"], [], ["unknown"]):
            query = _query(2, within=within, exclude=["i3"], lifted=["i0", "i2"], lifts=[9.0, 9.0])
            [found] = self.search(filled, query)
            _check(found, _scores(rows, query), query)

    def test_serving_finds_the_same(self, filled, rows, open_reader):
        queries = [
            _query(5),
            _query(3, recent=["i3"], recent_weights=[1.0], exclude=["i1"], lifted=["i2"], lifts=[1.0]),
        ]
        answers = self.run(open_reader, lambda reader: reader.search(queries))
        for query, found in zip(queries, answers, strict=True):
            _check(found, _scores(rows, query), query)
        assert self.run(open_reader, lambda reader: reader.status()) == filled.status()

    def test_similar_items_are_nearest_by_cosine_of_their_vectors(self, filled, rows, open_reader):
        answer = self.run(open_reader, lambda reader: reader.similar(["i3", "unknown", "i8"], 4))
        assert set(answer) == {"i3", "i8"}
        embeddings = rows.vectors[:, :D]  # the bias says nothing about likeness
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        for item_id, found in answer.items():
            row = rows.item_ids.index(item_id)
            cosines = unit @ unit[row]
            cosines[row] = -np.inf
            assert [x for x, _ in found] == [rows.item_ids[n] for n in np.argsort(-cosines)[:4]]
            assert [s for _, s in found] == pytest.approx(np.sort(cosines)[::-1][:4], abs=1e-4)

    def test_vectors_of_known_items_come_at_length_1(self, filled, rows, open_reader):
        nothing = ItemRows(["none"], *(np.zeros((1, width), np.float32) for width in (D + 1, D, 2)))
        filled.upsert(nothing, Stamp(1, 3, 4))
        answer = self.run(open_reader, lambda reader: reader.vectors(["i8", "unknown", "none", "i3"]))
        assert list(answer) == ["i8", "none", "i3"]
        for item_id in ("i8", "i3"):
            embedding = rows.vectors[rows.item_ids.index(item_id), :D]
            assert answer[item_id] == pytest.approx(embedding / np.linalg.norm(embedding), abs=1e-6)
        assert not answer["none"].any()
        assert self.run(open_reader, lambda reader: reader.vectors([])) == {}

    # --- what is written

    def test_a_written_item_is_found_at_once_as_it_was_written_last(self, filled, rows):
        changed = _rows("i3", "new", "i5", seed=9)
        filled.upsert(changed, Stamp(1, 3, 4))
        query = _query(100, recent=["i3", "new"], recent_weights=[1.0, 0.8])
        [found] = self.search(filled, query)
        _check(found, _scores(_stack(rows, changed), query), query)
        assert filled.status().items == 21

    def test_the_popularity_columns_are_in_table_order(self, filled, rows):
        changed = _rows("i3", "new", "i5", seed=9)
        filled.upsert(changed, Stamp(1, 3, 4))
        table = _stack(rows, changed)
        columns = np.random.default_rng(5).normal(size=(21, 2)).astype(np.float32)
        filled.set_popularity(columns, Stamp(1, 4, 5))
        query = _query(100)
        expected = ItemRows(table.item_ids, table.vectors, table.contexts, columns)
        _check(self.search(filled, query)[0], _scores(expected, query), query)

    @pytest.mark.parametrize("count", [0, 19, 21])
    def test_popularity_columns_of_another_length_are_a_gap(self, filled, count):
        with pytest.raises(Gap):
            filled.set_popularity(np.zeros((count, 2), np.float32), Stamp(1, 3, 4))
        assert filled.status().seq == 3

    def test_a_deleted_item_is_not_found_and_keeps_its_row(self, filled, rows, open_reader):
        status = filled.delete(["i3", "unknown", "i5"], Stamp(1, 3, 4))
        assert (status.items, status.rows) == (18, 20)
        query = _query(100, lifted=["i3", "i4"], lifts=[1.0, 2.0])
        left = {x: s for x, s in _scores(rows, query).items() if x not in ("i3", "i5")}
        _check(self.search(filled, query)[0], left, query)
        within = _query(100, within=["i3", "i4"])
        assert self.search(filled, within)[0].item_ids == ["i4"]
        answer = self.run(open_reader, lambda reader: reader.similar(["i3", "i4"], 100))
        assert set(answer) == {"i4"}
        assert {"i3", "i5"}.isdisjoint(x for x, _ in answer["i4"])
        assert len(answer["i4"]) == 17
        columns = np.random.default_rng(5).normal(size=(20, 2)).astype(np.float32)
        assert filled.set_popularity(columns, Stamp(1, 4, 5)).items == 18
        assert "i3" not in self.ids(filled)

    def test_a_deleted_item_comes_back_into_its_row(self, filled, rows):
        filled.delete(["i3"], Stamp(1, 3, 4))
        again = _rows("i3", seed=9)
        status = filled.upsert(again, Stamp(1, 4, 5))
        assert (status.items, status.rows) == (20, 20)
        query = _query(100)
        _check(self.search(filled, query)[0], _scores(_stack(rows, again), query), query)

    def test_any_order_of_writes_and_searches(self, filled, rows):
        item_ids = st.lists(st.sampled_from([f"i{n}" for n in range(25)]), max_size=6, unique=True)
        action = st.tuples(st.sampled_from(["upsert", "delete", "popularity"]), item_ids)

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(action, max_size=8))
        def check(actions: list[tuple[str, list[str]]]) -> None:
            seq = filled.status().seq + 1
            filled.replace(rows, Stamp(1, seq - 1, seq))
            table, gone = rows, set[str]()
            for nth, (name, chosen) in enumerate(actions):
                stamp = Stamp(1, seq, seq + 1)
                seq += 1
                if name == "upsert":
                    changed = _rows(*chosen, seed=nth + 10)
                    filled.upsert(changed, stamp)
                    table, gone = _stack(table, changed), gone - set(chosen)
                elif name == "delete":
                    filled.delete(chosen, stamp)
                    gone |= set(chosen) & set(table.item_ids)
                else:
                    columns = np.random.default_rng(nth).normal(size=(len(table.item_ids), 2)).astype(np.float32)
                    filled.set_popularity(columns, stamp)
                    table = ItemRows(table.item_ids, table.vectors, table.contexts, columns)
            query = _query(10, exclude=["i2"], lifted=["i4", "i24"], lifts=[2.0, 1.0])
            left = {x: s for x, s in _scores(table, query).items() if x not in gone}
            _check(self.search(filled, query)[0], left, query)
            status = filled.status()
            assert (status.seq, status.items, status.rows) == (seq, len(left), len(table.item_ids))

        check()

    # --- what is refused

    def test_rows_of_another_dimension_are_refused_by_name(self, filled):
        with pytest.raises(ValueError, match=r"\d"):
            filled.upsert(_rows("new", d=D + 1), Stamp(1, 3, 4))
        assert filled.status().seq == 3

    @pytest.mark.parametrize("columns", [D, D + 2, D + 4])
    def test_a_query_of_another_dimension_is_refused_by_name(self, filled, open_reader, columns):
        query = Query(vector=np.zeros(columns, np.float32), k=3)
        with pytest.raises(ValueError, match=r"\d"):
            self.search(filled, query)

        async def search(reader: ItemIndexReader) -> Sequence[Candidates]:
            return await reader.search([query])

        with pytest.raises(ValueError, match=r"\d"):
            self.run(open_reader, search)
