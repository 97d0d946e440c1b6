"""How good is batch training? Leave-one-out on ml-1m with 99 given negatives, the protocol of the NCF paper.

``python -m benchmarks.batch_quality --data FOLDER --factors 64 --seeds 3`` trains on everything but each user's last
item, ranks that item among the 99 sampled ones that come with the data, and reports HR@10 and NDCG@10 of the LAST
epoch: nothing is ever chosen on the test half. A tie counts as a loss. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from initial_training.factorisation import Recipe, factorise
from initial_training.ncf_recipe import train_ncf

# Users by candidates in, scores out: (n,) and (n, 100) rows in, (n, 100) scores out.
Scorer = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating[Any]]]

PUBLISHED_TRAINING_PAIRS = 994_169
ALS_ITERATIONS = 15


@dataclass(frozen=True)
class LeaveOneOut:
    """Training pairs (n,) each, and per test user his held-out item followed by 99 negatives, (users, 100)."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    shape: tuple[int, int]
    test_users: NDArray[np.int64]
    candidates: NDArray[np.int64]

    def figures(self, score: Scorer) -> dict[str, float]:
        """Return HR@10 and NDCG@10."""
        scores = score(self.test_users, self.candidates)
        # In some rows of the original file the held-out item is among its own negatives.
        rivals = self.candidates[:, 1:] != self.candidates[:, :1]
        rank = 1 + ((scores[:, 1:] >= scores[:, :1]) & rivals).sum(axis=1)
        hit = rank <= 10
        return {"hr10": float(hit.mean()), "ndcg10": float(np.where(hit, 1 / np.log2(rank + 1), 0).mean())}


def load_leave_one_out(folder: Path) -> LeaveOneOut:
    """Read the NCF files; a missing training file is rebuilt from all pairs, which must then lie in ``../ml-1m``."""
    test = _integers(folder / "ml-1m.test.rating.gz")[:, :2]
    with gzip.open(folder / "ml-1m.test.negative.gz", "rt") as lines:
        negatives = np.array([line.split("\t")[1:] for line in lines], dtype=np.int64)
    if len(negatives) != len(test):
        raise SystemExit(f"{folder}: {len(test)} test pairs but {len(negatives)} rows of negatives")
    path = folder / "train.pairs.tsv.gz"
    train = _integers(path) if path.exists() else _rebuilt_training_pairs(folder, test)
    if len(train) != PUBLISHED_TRAINING_PAIRS:
        print(f"note: {len(train):,} training pairs, the published split has {PUBLISHED_TRAINING_PAIRS:,}")
    candidates = np.hstack([test[:, 1:], negatives])
    shape = (int(max(train[:, 0].max(), test[:, 0].max())) + 1, int(max(train[:, 1].max(), candidates.max())) + 1)
    return LeaveOneOut(train[:, 0].astype(np.int32), train[:, 1].astype(np.int32), shape, test[:, 0], candidates)


def _integers(path: Path, skip: int = 0) -> NDArray[np.int64]:
    with gzip.open(path, "rt") as lines:
        return np.loadtxt(lines, dtype=np.int64, skiprows=skip, ndmin=2)


def _rebuilt_training_pairs(folder: Path, test: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = _integers(folder.parent / "ml-1m" / "pairs_in_ratings_dat_order.tsv.gz")
    ids = _integers(folder / "item_ids.tsv.gz", skip=1)
    row_of_movie = np.full(ids[:, 1].max() + 1, -1, np.int64)
    row_of_movie[ids[:, 1]] = ids[:, 0]
    pairs = np.stack([pairs[:, 0] - 1, row_of_movie[pairs[:, 1]]], axis=1)
    width = pairs[:, 1].max() + 1
    return pairs[~np.isin(pairs[:, 0] * width + pairs[:, 1], test[:, 0] * width + test[:, 1])]


def by_factors(users: NDArray[Any], items: NDArray[Any], biases: NDArray[Any] | None = None) -> Scorer:
    """Return the scorer of an inner product with biases."""

    def score(test_users: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        scores = np.einsum("nd,nkd->nk", users[test_users], items[candidates])
        return scores if biases is None else scores + biases[candidates]

    return score


def train_shipped(data: LeaveOneOut, factors: int, seed: int, device: torch.device) -> Scorer:
    """Train what initial training uses for pairs without order."""
    learned = factorise(data.users, data.items, data.shape, Recipe(factors), seed=seed, device=device)
    return by_factors(learned.users, learned.items, learned.biases)


def train_paper(data: LeaveOneOut, factors: int, seed: int, device: torch.device) -> Scorer:
    """Train the paper's own configuration."""
    model = train_ncf(data.users, data.items, data.shape, factors, seed=seed, device=device).cpu()
    with torch.no_grad():
        return by_factors(model.user_embeddings.weight.numpy(), model.item_vectors()[:, :-1].numpy())


RECIPES = {"shipped": train_shipped, "ncf": train_paper}


def popularity(data: LeaveOneOut) -> dict[str, float]:
    """Return the figures of ranking by how often an item occurs in training."""
    counts = np.bincount(data.items, minlength=data.shape[1])
    return data.figures(lambda users, candidates: counts[candidates])


def als(data: LeaveOneOut, factors: int) -> dict[str, Any]:
    """Return the figures of ``implicit``'s alternating least squares; says so where it is not installed.

    Its two weights were chosen as ours were, on pairs cut from the training half.
    """
    try:
        import implicit.als
        import scipy.sparse
        import threadpoolctl
    except ImportError:
        return {"unavailable": "pip install -r requirements-bench.txt"}
    ones = np.ones(len(data.users), np.float32)
    matrix = scipy.sparse.csr_matrix((ones, (data.users, data.items)), shape=data.shape)
    started_s = time.perf_counter()
    with threadpoolctl.threadpool_limits(1, "blas"):  # as it asks for: its own threads are the fast ones
        model = implicit.als.AlternatingLeastSquares(
            factors=factors, regularization=60.0, alpha=7.0, iterations=ALS_ITERATIONS, random_state=0
        )
        model.fit(matrix, show_progress=False)
    times = {"seconds": round(time.perf_counter() - started_s, 1)}
    return data.figures(by_factors(model.user_factors, model.item_factors)) | times


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the NCF files (ml-1m.test.rating.gz, …)")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="shipped")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load_leave_one_out(options.data)
    seeds = []
    for seed in range(options.seeds):
        started_s, cpu_started_s = time.perf_counter(), time.process_time()
        scorer = RECIPES[options.recipe](data, options.factors, seed, torch.device(options.device))
        # On a busy machine the processor's time says what an idle one would need: training uses one thread.
        times = {"seconds": time.perf_counter() - started_s, "cpu_seconds": time.process_time() - cpu_started_s}
        seeds.append(data.figures(scorer) | {name: round(value, 1) for name, value in times.items()})
        print(f"seed {seed}: " + "  ".join(f"{name} {value:.4g}" for name, value in seeds[-1].items()))
    mean = {name: float(np.mean([one[name] for one in seeds])) for name in ("hr10", "ndcg10", "seconds")}
    result = {
        "hr10": mean["hr10"],
        "ndcg10": mean["ndcg10"],
        "factors": options.factors,
        "seconds": round(mean["seconds"], 1),
        "recipe": options.recipe,
        "seeds": seeds,
        "popularity": popularity(data),
        "als": als(data, options.factors),
    }
    _print_table(result)
    print(json.dumps(result))


def _print_table(result: dict[str, Any]) -> None:
    table = Table("method", "HR@10", "NDCG@10", "training, s", title=f"{result['factors']} factors, last epoch")
    for name, figures in (
        (f"{result['recipe']}, mean of {len(result['seeds'])} seeds", result),
        ("implicit ALS", result["als"]),
        ("popularity", result["popularity"]),
    ):
        if "hr10" in figures:
            seconds = f"{figures['seconds']:.1f}" if "seconds" in figures else ""
            table.add_row(name, f"{figures['hr10']:.4f}", f"{figures['ndcg10']:.4f}", seconds)
        else:
            table.add_row(name, figures["unavailable"], "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
