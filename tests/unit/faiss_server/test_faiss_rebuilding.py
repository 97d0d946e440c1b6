"""What happens to an index in the background, with real tables, real lists and a clock that is stepped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from faiss_server.item_index import ItemIndex
from faiss_server.item_table import POPULARITY_SLICE, PUT_SLICE
from faiss_server.rebuilding import MEASURE_EVERY_S, RETRY_AFTER_S, Rebuilding
from stores.ports import ItemRows, Query, StaleEpoch, Stamp
from stores.recording_metrics import RecordingMetrics
from tests.unit.faiss_server.index_worlds import learned_rows, plain, structureless_rows, subset, user_queries

N = 6000
PATIENCE_S = 30.0


class SteppedClock:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class World:
    def __init__(self) -> None:
        self.index, self.clock, self.metrics = ItemIndex(), SteppedClock(), RecordingMetrics()
        self.rebuilding = Rebuilding(self.index, 1000, self.clock, self.metrics)
        self.seq = 0

    def replace(self, rows: ItemRows) -> None:
        self.seq += 1
        self.index.replace(rows, Stamp(1, 0, self.seq))
        self.rebuilding.wake()

    def stamp(self) -> Stamp:
        self.seq += 1
        return Stamp(1, self.seq - 1, self.seq)

    def upsert(self, rows: ItemRows) -> None:
        self.index.upsert(rows, self.stamp())
        self.rebuilding.wake()

    @property
    def builds(self) -> int:
        text = self.metrics.prometheus_text()
        lines = [line for line in text.splitlines() if line.startswith("index_rebuild_seconds_count")]
        return int(lines[0].split()[1]) if lines else 0

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.005)

    def recall(self) -> float:
        """Recall@10 of the answers, against the definition, on queries that nothing was tuned on."""
        queries = user_queries(100, seed=77)
        table = self.index.table
        scores = np.where(table.alive, queries @ table.columns.T, -np.inf)
        right = np.argsort(-scores, axis=1)[:, :10]
        hits = 0
        for query, rows in zip(queries, right, strict=True):
            [found] = self.index.search([plain(query)])
            hits += len(set(found.item_ids) & set(table.item_ids(rows)))
        return hits / right.size


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def with_world() -> None:
        world = World()
        task = asyncio.create_task(world.rebuilding.run())
        try:
            await scenario(world)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(with_world())


def test_a_small_table_is_searched_exactly():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(999))
        await asyncio.sleep(0.1)
        assert (world.index.status().kind, world.builds) == ("exact", 0)

    run(scenario)


def test_a_large_table_is_searched_in_lists_with_the_recall_promised():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        assert world.index.status().kind.startswith("ivf")
        assert world.index.approximate.nprobe < world.index.approximate.max_nprobe
        assert world.recall() >= 0.98

    run(scenario)


def test_a_table_without_structure_stays_exact_and_is_tried_again_later():
    async def scenario(world: World) -> None:
        world.replace(structureless_rows(N))
        await world.until(lambda: world.builds == 1)
        assert world.index.status().kind == "exact"
        assert world.recall() == 1.0
        world.upsert(subset(structureless_rows(N), np.array([1])))
        await asyncio.sleep(0.05)
        assert world.builds == 1
        # By now it has been learned.
        world.upsert(learned_rows(N))
        world.clock.sleep(RETRY_AFTER_S)
        world.rebuilding.wake()
        await world.until(lambda: world.index.approximate is not None)

    run(scenario)


def test_writes_during_a_rebuild_are_not_lost():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.changed is not None)
        # All of it in the time that the lists are built from the old rows, or partly from them.
        changed = np.arange(0, N, 3)
        world.upsert(subset(learned_rows(N, seed=5), changed))
        new = learned_rows(500, seed=6)
        world.upsert(ItemRows([f"new-{row}" for row in range(500)], new.vectors, new.contexts, new.popularity))
        world.index.delete([f"i{row}" for row in range(0, N, 5)], world.stamp())
        popularity = np.random.default_rng(3).normal(-9, 1, (N + 500, 2)).astype(np.float32)
        world.index.set_popularity(popularity, world.stamp())
        assert world.index.approximate is None
        await world.until(lambda: world.index.approximate is not None)
        await world.until(lambda: not world.index.approximate.refresh(world.index.table.columns, 0))
        assert world.index.approximate is not None
        assert world.recall() >= 0.95
        alive = np.flatnonzero(world.index.table.alive)
        world.index.approximate.use(10_000, 1.0)
        every = world.index.approximate.search(user_queries(1), len(world.index.table))[0]
        assert sorted(every[every >= 0]) == alive.tolist()

    run(scenario)


def test_a_whole_table_that_comes_during_a_rebuild_gets_lists_of_its_own():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.changed is not None)
        world.replace(learned_rows(N + 100, seed=8))
        await world.until(lambda: world.index.approximate is not None)
        assert world.index.status().rows == N + 100
        assert world.recall() >= 0.98

    run(scenario)


def test_a_table_that_doubled_gets_new_lists():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        first = world.index.approximate
        world.upsert(learned_rows(2 * N - 1))
        await asyncio.sleep(0.05)
        assert world.builds == 1
        world.upsert(learned_rows(2 * N))
        await world.until(lambda: world.builds == 2)
        assert world.index.approximate is not first
        assert world.recall() >= 0.98

    run(scenario)


def test_lists_that_lost_their_recall_are_dropped():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        noise = structureless_rows(N)
        world.upsert(noise)
        queries = np.random.default_rng(4).normal(size=(256, noise.vectors.shape[1] + 2)).astype(np.float32)
        world.index.search([plain(query) for query in queries])
        world.clock.sleep(MEASURE_EVERY_S)
        world.rebuilding.wake()
        await world.until(lambda: world.index.approximate is None)
        assert world.recall() == 1.0

    run(scenario)


def test_real_queries_decide_how_many_lists_are_probed():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        world.index.approximate.use(world.index.approximate.max_nprobe, 1.0)
        world.index.search([plain(query) for query in user_queries(256)])
        world.rebuilding.wake()
        await world.until(lambda: world.index.approximate.nprobe < world.index.approximate.max_nprobe)
        assert world.recall() >= 0.98

    run(scenario)


@pytest.mark.parametrize("excluded", [0, 40, 900, N - 700])
def test_as_many_as_were_asked_for_come_whatever_is_excluded(excluded):
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        world.index.approximate.use(1, 0.0)
        gone = [f"i{row}" for row in range(excluded)]
        for query in user_queries(10):
            [found] = world.index.search([type(plain(query))(vector=query, k=700, exclude=gone)])
            assert len(found.item_ids) == len(set(found.item_ids)) == 700
            assert set(gone).isdisjoint(found.item_ids)
            assert (np.diff(found.scores) <= 0).all()

    run(scenario)


@pytest.mark.parametrize("best_excluded", [3, 200])
def test_what_comes_after_the_excluded_is_found_however_many_of_the_best_they_are(best_excluded):
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        table, hits = world.index.table, 0
        for query in user_queries(50, seed=78):
            order = np.argsort(-(table.columns @ query))
            gone = [*table.item_ids(order[:best_excluded]), "unknown", *table.item_ids(order[-100:])]
            [found] = world.index.search([Query(vector=query, k=10, exclude=gone)])
            assert len(found.item_ids) == 10 and set(gone).isdisjoint(found.item_ids)
            hits += len(set(found.item_ids) & set(table.item_ids(order[best_excluded : best_excluded + 10])))
        assert hits / 500 >= 0.95

    run(scenario)


def test_popularity_is_written_in_steps_that_others_may_search_between():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(POPULARITY_SLICE + 10))
        columns = np.full((POPULARITY_SLICE + 10, 2), -3.0, np.float32)
        stamp = world.stamp()
        for _ in world.index.popularity_steps(columns, stamp):
            assert world.index.status().seq == stamp.from_seq
            world.index.search([plain(query) for query in user_queries(2)])
        assert world.index.status().seq == stamp.to_seq
        assert (world.index.table.columns[:, -2:] == -3.0).all()

    run(scenario)


def test_rows_are_written_in_steps_that_others_may_search_between():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N))
        await world.until(lambda: world.index.approximate is not None)
        stamp, steps = world.stamp(), 0
        for _ in world.index.upsert_steps(learned_rows(N + 500, seed=9), stamp):
            assert world.index.status().seq == stamp.from_seq
            steps += 1
            if steps % 50 == 0:
                world.index.search([plain(query) for query in user_queries(2)])
        assert steps == -(-(N + 500) // PUT_SLICE)
        assert world.index.status().seq == stamp.to_seq
        world.index.approximate.use(10_000, 1.0)
        assert world.recall() == 1.0

    run(scenario)


@pytest.mark.parametrize("approximate", [False, True])
def test_rows_for_a_table_that_was_replaced_meanwhile_do_not_count(approximate):
    async def scenario(world: World) -> None:
        world.replace(learned_rows(N if approximate else 50))
        await world.until(lambda: (world.index.approximate is not None) == approximate)
        steps = world.index.upsert_steps(learned_rows(100, seed=9), world.stamp())
        next(steps)
        world.index.replace(learned_rows(40), Stamp(2, 0, 9))
        with pytest.raises(StaleEpoch):
            next(steps)
        assert (world.index.status().rows, world.index.changed) == (40, None)

    run(scenario)


def test_popularity_for_a_table_that_was_replaced_meanwhile_does_not_count():
    async def scenario(world: World) -> None:
        world.replace(learned_rows(50))
        steps = world.index.popularity_steps(np.full((50, 2), -3.0, np.float32), world.stamp())
        next(steps)
        world.index.replace(learned_rows(60), Stamp(2, 0, 9))
        with pytest.raises(StaleEpoch):
            next(steps)
        assert not (world.index.table.columns[:, -2:] == -3.0).any()
        assert (world.index.status().epoch, world.index.status().seq) == (2, 9)

    run(scenario)
