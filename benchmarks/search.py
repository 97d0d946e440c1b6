"""How fast is the index, and how much of what exact search finds does it find?

``python -m benchmarks.search [--quick] [--data PATH --users COLUMN --items COLUMN --time COLUMN]``

The shipped index with its defaults, in process, over learned item vectors (of a simulated world, or of a real log) at
4,000, 100,000 and a million items, and over noise. Beside it, in the same run and one query at a time on one thread:
faiss's flat index at every size, hnswlib and usearch at 100,000 items. The lists are tuned on other queries than those
that are measured. *plain* is a query for the best ten; *whole* is what serving sends: recent items folded in, the
neighbours of recent items scored too; *excluding* leaves out 500 items, and *excluding_best* the best 250 among them,
after which others lie in the lists than those that were looked into. Ratios are of CPU time
per query, medians of interleaved repetitions. *under writes*: the messages that the trainer's own publisher sends at
2,000 events a second arrive while searches come, 200 a second. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import matplotlib
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.search_rivals import Flat, Hnswlib, Rival, Rows, Usearch
from benchmarks.search_worlds import learn, logged, noise, replicated, simulated
from benchmarks.search_writes import EVENTS_PER_S, MOVED, latencies_s, trainer_writes
from benchmarks.verdict import ROOT, Bar, conclude
from faiss_server.item_index import ItemIndex
from faiss_server.rebuilding import Rebuilding
from faiss_server.settings import FaissServerSettings
from stores import index_wire as wire
from stores.clock import SystemClock
from stores.history import ColumnMap
from stores.ports import ItemRows, Query, Stamp, Vectors
from stores.recording_metrics import RecordingMetrics

K, EXCLUDED = 10, 500
TUNED_ON, MEASURED = 256, 256
REPETITIONS, QUICK_REPETITIONS = 5, 2
PATIENCE_S = 120.0
PLOT = ROOT / "docs/img/performance-search.png"


@dataclass
class Searched:
    """One set in the shipped index, and what was measured of it."""

    name: str
    rows: ItemRows
    queries: list[Query]
    index: ItemIndex
    truth: list[Rows] = field(default_factory=list)
    figures: dict[str, float | str] = field(default_factory=dict)
    # Per contender: recall and microseconds, as wide as it looked.
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


async def fill(index: ItemIndex, rows: ItemRows, tuned_on: Sequence[Query]) -> None:
    """Load a set as the trainer does, have it asked, and wait until lists are built, or found to be of no use."""
    index.replace(rows, Stamp(1, 0, 1))
    index.search(tuned_on)
    settings, metrics = FaissServerSettings(), RecordingMetrics()
    rebuilding = Rebuilding(index, settings.approximate_from_items, SystemClock(), metrics)
    running = asyncio.create_task(rebuilding.run())
    rebuilding.wake()
    async with asyncio.timeout(PATIENCE_S):
        while len(index.table) >= settings.approximate_from_items and not built(metrics):
            await asyncio.sleep(0.01)
    while index.approximate is not None and index.approximate.refresh(index.table.columns, 0):
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def built(metrics: RecordingMetrics) -> bool:
    """Return whether lists have been built, whatever came of it."""
    return "index_rebuild_seconds_count" in metrics.prometheus_text()


def resident_mib() -> float:
    """Return this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def microseconds_each(search: Callable[[Query], Any], queries: Sequence[Query]) -> tuple[list[float], list[float]]:
    """Return the CPU and the wall microseconds of every search; queries come off the wire just before, as they do."""
    cpu, wall = [], []
    for query in queries:
        [arrived] = wire.decode(wire.Search, wire.encode(wire.Search([query]))).queries
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        search(arrived)
        cpu.append(1e6 * (time.process_time() - began_cpu_s))
        wall.append(1e6 * (time.perf_counter() - began_s))
    return cpu, wall


def recall(found: Sequence[Rows], truth: Sequence[Rows]) -> float:
    """Return the share of what is right that was found."""
    hits = sum(np.intersect1d(mine, right).size for mine, right in zip(found, truth, strict=True))
    return hits / sum(map(len, truth))


def rows_found(one: Searched, query: Query) -> Rows:
    """Return the rows that the shipped index answers with."""
    [answer] = one.index.search([query])
    return one.index.table.rows_of(answer.item_ids)


def variants(one: Searched) -> dict[str, list[Query]]:
    """Return the queries without anything beside, context folded in already, and those that exclude 500 items."""
    d, table = one.index.table.dimension, one.index.table
    found: dict[str, list[Query]] = {"plain": [], "excluding": [], "excluding_best": []}
    chance = np.random.default_rng(3)
    for query in one.queries:
        vector = query.vector.copy()
        vector[:d] += np.array(query.recent_weights, np.float32) @ table.contexts[table.rows_of(query.recent)]
        [best] = one.index.search([Query(vector, EXCLUDED // 2)])
        some = table.item_ids(chance.choice(len(table), EXCLUDED, replace=False))
        found["plain"].append(Query(vector, K))
        found["excluding"].append(Query(vector, K, exclude=some))
        found["excluding_best"].append(Query(vector, K, exclude=[*best.item_ids, *some[: EXCLUDED // 2]]))
    return found


def measure(one: Searched, rivals: Sequence[Rival], flat: Flat, repetitions: int) -> None:
    """Measure one set: what is found and how soon, beside the rivals."""
    asked = variants(one)
    plain = asked["plain"]
    vectors = np.stack([query.vector for query in plain])
    one.truth = [flat.search(vector, K, 0) for vector in vectors]
    slow = len(one.rows.item_ids) > 500_000

    def search(query: Query) -> Any:
        return one.index.search([query])

    searches: dict[str, tuple[Callable[[Query], Any], Sequence[Query]]] = {
        **{name: (search, queries) for name, queries in asked.items()},
        "whole": (search, one.queries),
        "flat": (lambda query: flat.search(query.vector, K, 0), plain[:40] if slow else plain),
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    wall: list[float] = []
    for _ in range(repetitions):
        for name, (how, queries) in searches.items():
            cpu, walls = microseconds_each(how, queries)
            times[name].append(float(np.mean(cpu)))
            wall += walls if name == "plain" else []
    us = {name: median(samples) for name, samples in times.items()}
    one.figures |= {
        "kind": one.index.status().kind,
        "recall10": round(recall([rows_found(one, query) for query in plain], one.truth), 4),
        "recall10_excluding_best": recall_without(one, flat, asked["excluding_best"][:50]),
        "cpu_us": round(us["plain"], 1),
        "p50_us": round(float(np.percentile(wall, 50)), 1),
        "p99_us": round(float(np.percentile(wall, 99)), 1),
        "whole_cpu_us": round(us["whole"], 1),
        "flat_cpu_us": round(us["flat"], 1),
        "times_faster_than_flat": round(us["flat"] / us["plain"], 2),
        "excluding_ratio": round(us["excluding"] / us["plain"], 3),
        "excluding_best_ratio": round(us["excluding_best"] / us["plain"], 3),
    }
    one.curves["faiss flat"] = [(1.0, us["flat"])]
    one.curves["this index"] = [(float(one.figures["recall10"]), us["plain"])]
    if (lists := one.index.approximate) is not None:
        widths = [width for width in (1, 2, 4, 8, 16, 32, 64, 128, 256) if width <= lists.max_nprobe]
        one.curves["its lists"] = curve(lambda n, width: lists.search(vectors[n][None], K, width)[0], widths, one.truth)
    for rival in rivals:
        one.curves[rival.name] = curve(
            lambda n, width, rival=rival: rival.search(vectors[n], K, width),  # type: ignore[misc]
            rival.widths,
            one.truth,
        )


def recall_without(one: Searched, flat: Flat, queries: Sequence[Query]) -> float:
    """Return the recall of queries that exclude something."""
    truth = []
    for query in queries:
        gone = set(one.index.table.rows_of(query.exclude).tolist())
        best = flat.search(query.vector, K + len(gone), 0).tolist()
        truth.append(np.array([row for row in best if row not in gone][:K]))
    return round(recall([rows_found(one, query) for query in queries], truth), 4)


def curve(
    search: Callable[[int, int], Rows], widths: Sequence[int], truth: Sequence[Rows]
) -> list[tuple[float, float]]:
    """Return recall and CPU microseconds per query at every width."""
    points = []
    for width in widths:
        found = [search(n, width) for n in range(len(truth))]
        began_s = time.process_time()
        for n in range(len(truth)):
            search(n, width)
        points.append((recall(found, truth), (time.process_time() - began_s) / len(truth) * 1e6))
    return points


def measure_writes(one: Searched) -> None:
    """Measure what writing costs, one row and many at a time; the rows are moved a little, as learning does."""
    rows, index = one.rows, one.index
    chance = np.random.default_rng(4)
    step = MOVED * rows.vectors.std(axis=0)

    def upsert(count: int) -> float:
        chosen = np.unique(chance.integers(len(rows.item_ids), size=count))
        vectors = rows.vectors[chosen] + step * chance.standard_normal((len(chosen), len(step)), dtype=np.float32)
        item_ids = [rows.item_ids[row] for row in chosen.tolist()]
        message = ItemRows(item_ids, vectors, rows.contexts[chosen], rows.popularity[chosen])
        seq = index.status().seq
        began_s = time.process_time()
        index.upsert(message, Stamp(1, seq, seq + 1))
        return (time.process_time() - began_s) / len(chosen)

    one.figures["upsert_us"] = round(1e6 * median(upsert(1) for _ in range(1000)), 1)
    one.figures["upserts_per_s"] = round(1 / median(upsert(1000) for _ in range(9)))


def measure_under_writes(one: Searched, rounds: int) -> None:
    """Measure searches while the trainer's messages come, and at rest, in turn."""
    writes = trainer_writes(len(one.rows.item_ids))
    plain = variants(one)["plain"]
    sent = sum(len(write.rows) for write in writes if write.rows is not None)
    p99s: dict[str, list[float]] = {"rest": [], "writes": []}
    for _ in range(rounds):
        for name, messages in (("rest", []), ("writes", writes)):
            found = asyncio.run(latencies_s(one.index, plain, one.rows, messages))
            p99s[name].append(1e6 * float(np.percentile(found, 99)))
    rest, busy = median(p99s["rest"]), median(p99s["writes"])
    one.figures |= {
        "rows_written_per_s": round(sent / max(write.at_s for write in writes)),
        "p99_at_rest_us": round(rest, 1),
        "p99_under_writes_us": round(busy, 1),
        "p99_ratio": round(busy / rest, 2),
    }


def one_set(
    name: str, rows: ItemRows, queries: Sequence[Query], repetitions: int, *, rivals: bool = False, rounds: int = 0
) -> Searched:
    """Fill the index with a set and measure everything."""
    gc.collect()
    before_mib = resident_mib()
    one = Searched(name, rows, list(queries[TUNED_ON : TUNED_ON + MEASURED]), ItemIndex())
    began_s = time.process_time()
    asyncio.run(fill(one.index, rows, queries[:TUNED_ON]))
    one.figures["filled_cpu_s"] = round(time.process_time() - began_s, 1)
    one.figures["memory_mib"] = round(resident_mib() - before_mib)
    columns: Vectors = one.index.table.columns
    graphs: list[Rival] = []
    for kind in (Hnswlib, Usearch) if rivals else ():
        began_s = time.process_time()
        graphs.append(kind(columns))
        one.figures[f"{kind.name}_built_cpu_s"] = round(time.process_time() - began_s, 1)
    measure(one, graphs, Flat(columns), repetitions)
    measure_writes(one)
    if rounds:
        measure_under_writes(one, rounds)
    return one


def bars_of(sets: Mapping[str, Searched], large: Sequence[tuple[str, float]], noisy: str) -> list[Bar]:
    """Return every bar with what was measured."""
    bars = []
    for name, times in large:
        figures: Mapping[str, Any] = sets[name].figures
        bars += [
            Bar(f"{name}_recall10", figures["recall10"], at_least=0.99),
            Bar(f"{name}_times_faster_than_flat", figures["times_faster_than_flat"], at_least=times),
            Bar(f"{name}_excluding_ratio", figures["excluding_ratio"], at_most=1.5),
            Bar(f"{name}_upsert_us", figures["upsert_us"], at_most=50.0),
        ]
        if "p99_ratio" in figures:
            bars.append(Bar(f"{name}_p99_under_writes_ratio", figures["p99_ratio"], at_most=2.0))
    structureless: Any = sets[noisy].figures["recall10"]
    return [*bars, Bar(f"{noisy}_recall10", structureless, at_least=0.9)]


def show(sets: Mapping[str, Searched]) -> None:
    """Print the tables."""
    table = Table("", *sets)
    names = dict.fromkeys(name for one in sets.values() for name in one.figures)
    for name in names:
        table.add_row(name, *(str(one.figures.get(name, "")) for one in sets.values()))
    Console(width=140).print(table)
    for one in sets.values():
        if len(one.curves) > 3:
            rivals = Table("", "recall@10", "CPU us per query", title=f"{one.name}: recall against time")
            for name, points in one.curves.items():
                for found, us in points:
                    rivals.add_row(name, f"{found:.4f}", f"{us:.0f}")
            Console(width=140).print(rivals)


def plot(sets: Sequence[Searched]) -> None:
    """Draw recall against time per query."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(sets), figsize=(5 * len(sets), 4), layout="constrained")
    for panel, one in zip(panels, sets, strict=True):
        for name, points in one.curves.items():
            marker = "*" if name == "this index" else "s" if name == "faiss flat" else "."
            size = 14 if marker == "*" else 7
            panel.plot(*zip(*[(us, found) for found, us in points], strict=True), marker=marker, ms=size, label=name)
        panel.set(
            xscale="log", xlabel="CPU microseconds per query", ylabel="recall@10", title=one.name, ylim=(0.5, 1.01)
        )
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    figure.savefig(PLOT, dpi=90)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0 also where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="30,000 items at most, no graphs, no plot")
    parser.add_argument("--data", type=Path, help="learn from this log instead of a simulated world")
    parser.add_argument("--users", default="user_id", help="its column of user ids")
    parser.add_argument("--items", default="item_id", help="its column of item ids")
    parser.add_argument("--time", default="timestamp", help="its column of times")
    options = parser.parse_args(arguments)
    faiss.omp_set_num_threads(1)
    quick = options.quick
    columns = ColumnMap(user=options.users, item=options.items, time=options.time)
    items, most, repetitions = (2000, 60_000, QUICK_REPETITIONS) if quick else (4000, 200_000, REPETITIONS)
    positives = logged(options.data, columns, most) if options.data else simulated(items, most // 10)
    learned = learn(positives, TUNED_ON + MEASURED, K)
    rounds = 1 if quick else 3
    sizes = {"learned 30k": 30_000} if quick else {"learned 100k": 100_000, "learned 1M": 1_000_000}
    small_name = f"learned {items // 1000}k"
    sets = {small_name: one_set(small_name, learned.rows, learned.queries, repetitions)}
    for name, count in sizes.items():
        rows = replicated(learned.rows, count)
        small = count <= 100_000
        sets[name] = one_set(
            name, rows, learned.queries, repetitions, rivals=small and not quick, rounds=rounds * small
        )
        del rows
        sets[name].rows, sets[name].index = sets[small_name].rows, ItemIndex()  # memory for the next one
    noisy = "noise 30k" if quick else "noise 100k"
    rows, queries = noise(30_000 if quick else 100_000, learned.rows.contexts.shape[1], TUNED_ON + MEASURED, K)
    sets[noisy] = one_set(noisy, rows, queries, repetitions)
    show(sets)
    if not quick:
        plot([sets["learned 100k"], sets["learned 1M"]])
    large = [("learned 30k", 1.5)] if quick else [("learned 100k", 5.0), ("learned 1M", 10.0)]
    figures = {name: one.figures | {"curves": one.curves} for name, one in sets.items()}
    settings = msgspec.to_builtins(FaissServerSettings()) | {
        "data": options.data.name if options.data else "simulated",
        "excluded": EXCLUDED,
        "events_per_s": EVENTS_PER_S,
    }
    conclude("search", figures, bars_of(sets, large, noisy), settings, ("faiss-cpu", "hnswlib", "usearch", "numpy"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
