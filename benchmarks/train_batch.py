"""How fast is batch training, and how soon is it good?

``python -m benchmarks.train_batch --data FOLDER``

What initial training does with pairs without order (``initial_training.factorisation``) against the usual loop:
``DataLoader``, autograd, Adam, the same number of factors, the paper's four negatives per pair. Leave-one-out on
ml-1m, as ``benchmarks.batch_quality`` reads and scores it; ``--data`` is the folder of the NCF files. Without it the
pairs are synthetic, as many of them, of as many users and items, and HR@10 means nothing beyond this run.

A sample is one user with one item, wanted or sampled. What ships is trained to its end, HR@10 is that of its last
epoch, and the seconds until HR@10 was .72 are read from the curve, evaluation left out. The usual loop would take over
an hour to its end, so its rate is that of the first part of an epoch, before and after, and its quality what it had
reached then; what it reaches in the end is told by ``benchmarks.batch_quality --recipe ncf``. All on one core, in
processor time. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baselines.data_loader import Samples, training
from benchmarks.batch_quality import LeaveOneOut, by_factors, load_leave_one_out
from benchmarks.verdict import Bar, conclude
from initial_training.factorisation import Progress, Recipe, factorise
from initial_training.ncf_recipe import NEGATIVES
from models.gmf import GMF

SHAPE, PAIRS = (6040, 3706), 994_169
USUAL_SAMPLES, QUICK_USUAL_SAMPLES = 200_000, 50_000
QUICK_SHARE = 0.1
GOOD_HR10 = 0.72
BARS = {"times_samples": 20.0, "times_epoch": 20.0}


def synthetic(pairs: int, shape: tuple[int, int], seed: int = 0) -> LeaveOneOut:
    """Return pairs that a model of sixteen factors and popularity explains in part."""
    chance = np.random.default_rng(seed)
    users, items = (chance.standard_normal((rows, 16), np.float32) for rows in shape)
    popularity = 3.0 * chance.standard_normal(shape[1], np.float32)
    wanted = users @ items.T / 2 + popularity + chance.gumbel(size=shape).astype(np.float32)
    counts = 1 + chance.multinomial(pairs, chance.dirichlet(np.ones(shape[0])))
    counts = np.minimum(counts, shape[1] - 100)
    order = np.argsort(-wanted, axis=1)
    had = [row[:count] for row, count in zip(order, counts.tolist(), strict=True)]
    rest = [chance.choice(row[count:], 99, replace=False) for row, count in zip(order, counts.tolist(), strict=True)]
    last = np.array([chance.choice(row) for row in had])
    kept = [row[row != out] for row, out in zip(had, last.tolist(), strict=True)]
    return LeaveOneOut(
        np.repeat(np.arange(shape[0]), [len(row) for row in kept]).astype(np.int32),
        np.concatenate(kept).astype(np.int32),
        shape,
        np.arange(shape[0]),
        np.hstack([last[:, None], np.array(rest)]),
    )


class Watched:
    """Follows a training run, its own work left out of the time."""

    def __init__(self, data: LeaveOneOut) -> None:
        self._data = data
        self.seconds = 0.0
        self.good_after_s: float | None = None
        self.epochs_s: list[float] = []
        self.figures: dict[str, float] = {}
        self._resumed_s = time.process_time()

    def __call__(self, progress: Progress) -> None:
        """Take note of a sweep or an epoch."""
        step_s = time.process_time() - self._resumed_s
        self.seconds += step_s
        if progress.step == "epoch":
            self.epochs_s.append(step_s)
        factors = progress.factors
        self.figures = self._data.figures(by_factors(factors.users, factors.items, factors.biases))
        if self.good_after_s is None and self.figures["hr10"] >= GOOD_HR10:
            self.good_after_s = self.seconds
        self._resumed_s = time.process_time()


def train_shipped(data: LeaveOneOut, recipe: Recipe) -> dict[str, Any]:
    """Train what ships to its end; return its figures."""
    # The first call compiles.
    few = slice(0, 1000)
    cpu = torch.device("cpu")
    factorise(
        data.users[few], data.items[few], data.shape, Recipe(recipe.dimension, sweeps=1, epochs=1), seed=0, device=cpu
    )
    watched = Watched(data)
    factorise(data.users, data.items, data.shape, recipe, seed=0, device=cpu, on_progress=watched)
    epoch_s = float(np.median(watched.epochs_s))
    return watched.figures | {
        "seconds": watched.seconds,
        "epoch_s": epoch_s,
        "samples_per_s": len(data.users) * (1 + recipe.negatives) / epoch_s,
        "seconds_to_good": watched.good_after_s,
    }


def train_usual(data: LeaveOneOut, samples: Samples, dimension: int, most: int) -> dict[str, Any]:
    """Train the usual loop on so many samples; return its figures, those of a whole epoch extrapolated."""
    model = GMF(*data.shape, dimension, generator=torch.Generator().manual_seed(0))
    began_s, done = time.process_time(), 0
    for size in training(samples, model, seed=0):
        done += size
        if done >= most:
            break
    samples_per_s = done / (time.process_time() - began_s)
    with torch.no_grad():
        scorer = by_factors(model.user_embeddings.weight.numpy(), model.item_vectors()[:, :-1].numpy())
    return data.figures(scorer) | {
        "samples_per_s": samples_per_s,
        "epoch_s": len(samples) / samples_per_s,
        "share_of_epoch": done / len(samples),
    }


def measure(data: LeaveOneOut, recipe: Recipe, most: int) -> dict[str, Any]:
    """Return all figures."""
    samples = Samples(data.users, data.items, data.shape, seed=0)
    runs = [train_usual(data, samples, recipe.dimension, most // 2)]
    shipped = train_shipped(data, recipe)
    runs.append(train_usual(data, samples, recipe.dimension, most))
    usual = runs[-1] | {name: float(np.median([run[name] for run in runs])) for name in ("samples_per_s", "epoch_s")}
    return {
        "shipped": rounded(shipped),
        "usual": rounded(usual),
        "times_samples": round(shipped["samples_per_s"] / usual["samples_per_s"], 1),
        "times_epoch": round(usual["epoch_s"] / shipped["epoch_s"], 1),
    }


def rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return figures with four digits."""
    return {name: None if value is None else float(f"{value:.4g}") for name, value in figures.items()}


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    shipped, usual = figures["shipped"], figures["usual"]
    table = Table("", "shipped", "DataLoader and autograd")
    for name, what in (
        ("samples_per_s", "samples per second"),
        ("epoch_s", "an epoch, s"),
        ("hr10", "HR@10"),
        ("ndcg10", "NDCG@10"),
    ):
        table.add_row(what, f"{shipped[name]:,.4g}", f"{usual[name]:,.4g}")
    table.add_row("after", f"{shipped['seconds']:.4g} s, its end", f"{usual['share_of_epoch']:.3f} of its first epoch")
    table.add_row(f"seconds to HR@10 {GOOD_HR10}", str(shipped["seconds_to_good"]), "")
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_batch", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the NCF files (ml-1m.test.rating.gz, …)")
    parser.add_argument("--quick", action="store_true", help="synthetic pairs, a tenth of them")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = Recipe()
    if options.data and not options.quick:
        data = load_leave_one_out(options.data)
    else:
        print("the pairs are synthetic: HR@10 is for comparison within this run only")
        data = synthetic(round(PAIRS * (QUICK_SHARE if options.quick else 1)), SHAPE)
    figures = measure(data, recipe, QUICK_USUAL_SAMPLES if options.quick else USUAL_SAMPLES)
    figures |= {"pairs": len(data.users), "synthetic": options.quick or options.data is None}
    show(figures)
    bars = [Bar(name, figures[name], at_least=bar) for name, bar in BARS.items()]
    settings = asdict(recipe) | {"usual_negatives": NEGATIVES}
    conclude("train_batch", figures, bars, settings, ("torch", "numba", "numpy"))


if __name__ == "__main__":
    main()
