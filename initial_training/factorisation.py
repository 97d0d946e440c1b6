"""The best batch model of (user, item) pairs without order: alternating least squares, then a sampled softmax.

Alternating least squares (Hu et al. 2008, with the regularisation of Rendle et al., arXiv 2110.14037) weighs every pair
that did not happen and lands, in a few sweeps of dense algebra, near the optimum of its own loss. Stochastic descent on
a sampled softmax, which is what the stream goes on with, then sharpens the top of the list: neither alone gets there in
the time. Sweeps are PyTorch, on a GPU when there is one; the descent is sequential and compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from initial_training.loss import refuse_non_finite
from models.compiled import compiled_for_long
from models.learning_kernel import softmax_gradient

# Beyond this dimension one model overfits; two smaller ones, whose mean is one inner product too, do not.
LARGEST_PART = 128

Rows = NDArray[np.int32]
Floats = NDArray[np.float32]

# Bounds of one batch of least-squares problems: gathered vectors and matrices, in numbers.
_MOST_GATHERED, _MOST_SOLVED = 4_000_000, 4_000_000


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters, found on pairs cut from the training half of ml-1m; see ``docs/quality.md``.

    ``unobserved_weight`` and ``least_squares_l2`` belong to the sweeps, ``rate`` (falling linearly to zero), ``l2`` and
    ``negatives`` to the descent. Scores of the sweeps lie between 0 and 1; ``sharpness`` turns them into logits.
    """

    dimension: int = 64
    sweeps: int = 6
    unobserved_weight: float = 0.15
    least_squares_l2: float = 0.3
    sharpness: float = 8.0
    epochs: int = 24
    rate: float = 0.05
    l2: float = 0.008
    negatives: int = 16

    @property
    def parts(self) -> list[int]:
        """Return the dimensions of the models that are trained side by side."""
        whole, rest = divmod(self.dimension, LARGEST_PART)
        return [LARGEST_PART] * whole + ([rest] if rest else [])


@dataclass(frozen=True)
class Factors:
    """What was learned: (users, d), (items, d) and (items,); score = user . item + bias."""

    users: Floats
    items: Floats
    biases: Floats

    @classmethod
    def mean(cls, parts: Sequence[Factors]) -> Factors:
        """Return factors whose score is the mean of the scores of these."""
        scale = np.float32(1 / math.sqrt(len(parts)))
        return cls(
            np.hstack([scale * part.users for part in parts]),
            np.hstack([scale * part.items for part in parts]),
            np.mean([part.biases for part in parts], axis=0),
        )

    def scores(self, users: NDArray[np.integer]) -> Floats:
        """Return the scores of all items for these users, (n, items)."""
        return self.users[users] @ self.items.T + self.biases


@dataclass(frozen=True)
class Progress:
    """One sweep or epoch is done: its name, how many there are in all, the mean loss, and what is learned so far."""

    step: str
    done: int
    total: int
    loss: float
    factors: Factors


def factorise(
    users: Rows,
    items: Rows,
    shape: tuple[int, int],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Factors:
    """Learn from pairs, (n,) rows each, of ``shape`` (users, items).

    The result depends on the arguments alone. Raises ``NonFiniteLoss``.
    """
    parts: list[Factors] = []
    steps = recipe.sweeps + recipe.epochs
    total = steps * len(recipe.parts)
    for number, dimension in enumerate(recipe.parts):
        one = replace(recipe, dimension=dimension)
        for done, (step, loss, learned) in enumerate(_train_part(users, items, shape, one, seed + number, device), 1):
            refuse_non_finite(f"{step} {done}", loss)
            on_progress(Progress(step, number * steps + done, total, loss, Factors.mean([*parts, learned])))
        parts.append(learned)
    return Factors.mean(parts)


def _train_part(
    users: Rows, items: Rows, shape: tuple[int, int], recipe: Recipe, seed: int, device: torch.device
) -> Iterator[tuple[str, float, Factors]]:
    """Yield (what was done, mean loss, what is learned so far) after each sweep and epoch."""
    scale = np.float32(math.sqrt(recipe.sharpness))
    learned = Factors(*_start(shape, recipe, seed), np.zeros(shape[1], np.float32))
    for loss, x, y in _sweep(users, items, learned, recipe, device):
        learned = Factors(scale * x, scale * y, learned.biases)
        yield "sweep", loss, learned
    generator = np.random.default_rng(seed)
    for epoch in range(recipe.epochs):
        loss = _descend(
            users,
            items,
            generator.permutation(len(users)),
            generator.integers(2**63, size=1, dtype=np.uint64),
            learned.users,
            learned.items,
            learned.biases,
            recipe.negatives,
            np.float32(recipe.rate * (1 - epoch / recipe.epochs)),
            np.float32(recipe.l2),
        )
        yield "epoch", loss, learned


def _start(shape: tuple[int, int], recipe: Recipe, seed: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    scale = np.float32(0.1 / math.sqrt(recipe.dimension))
    return (
        generator.standard_normal((shape[0], recipe.dimension), np.float32) * scale,
        generator.standard_normal((shape[1], recipe.dimension), np.float32) * scale,
    )


# --- alternating least squares --------------------------------------------------------------------------------------


def _sweep(
    users: Rows, items: Rows, start: Factors, recipe: Recipe, device: torch.device
) -> Iterator[tuple[float, Floats, Floats]]:
    """Yield (mean loss, x, y) after each sweep over both sides."""
    x, y = torch.from_numpy(start.users).to(device), torch.from_numpy(start.items).to(device)
    of_users = _Side(users, items, len(x), len(y), recipe, device)
    of_items = _Side(items, users, len(y), len(x), recipe, device)
    rows, columns = torch.from_numpy(users).to(device), torch.from_numpy(items).to(device)
    parts = torch.arange(len(rows), device=device).split(1 << 18)
    for _ in range(recipe.sweeps):
        of_users.solve(x, y)
        of_items.solve(y, x)
        fitted = torch.cat([(x[rows[part]] * y[columns[part]]).sum(1) for part in parts])
        everywhere = recipe.unobserved_weight * float(((x.T @ x) * (y.T @ y)).sum())
        loss = (float(((1 - fitted) ** 2).sum()) + everywhere) / len(rows)
        yield loss, x.cpu().numpy(), y.cpu().numpy()


class _Side:
    """The least-squares problems of one side, batched: rows with about as many partners are solved together."""

    def __init__(
        self, rows: Rows, partners: Rows, size: int, others: int, recipe: Recipe, device: torch.device
    ) -> None:
        counts = np.bincount(rows, minlength=size)
        starts = np.concatenate([[0], np.cumsum(counts)])
        sorted_partners = partners[np.argsort(rows, kind="stable")]
        # The weight of a row's penalty grows with the root of the weight of its data.
        penalty = recipe.least_squares_l2 * np.sqrt(counts + recipe.unobserved_weight * others)
        self._unobserved_weight = recipe.unobserved_weight
        self._batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for batch in _batches(counts, recipe.dimension):
            # Missing partners point at a row of zeros behind the last.
            padded = np.full((len(batch), counts[batch].max()), others, np.int64)
            mask = np.arange(padded.shape[1]) < counts[batch][:, None]
            padded[mask] = np.concatenate([sorted_partners[starts[row] : starts[row + 1]] for row in batch])
            weights = penalty[batch].astype(np.float32)
            self._batches.append(
                (
                    torch.from_numpy(batch).to(device),
                    torch.from_numpy(padded).to(device),
                    torch.from_numpy(weights).to(device),
                )
            )

    def solve(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Set the rows of ``x`` that have partners to their optimum given ``y``."""
        everything = self._unobserved_weight * (y.T @ y)
        eye = torch.eye(y.shape[1], device=y.device)
        padded_y = torch.cat([y, y.new_zeros(1, y.shape[1])])
        for rows, partners, penalty in self._batches:
            gathered = padded_y[partners]
            matrix = gathered.mT @ gathered + everything + penalty[:, None, None] * eye
            factor = torch.linalg.cholesky(matrix)
            x[rows] = torch.cholesky_solve(gathered.sum(1).unsqueeze(-1), factor).squeeze(-1)


def _batches(counts: NDArray[np.int64], dimension: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows with at least one partner; within a batch the counts differ by a quarter at most."""
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        widest = max(counts[order[start]] * 5 // 4, counts[order[start]] + 4)
        stop = int(np.searchsorted(counts[order], widest, side="right"))
        size = min(_MOST_GATHERED // (dimension * widest), _MOST_SOLVED // dimension**2)
        stop = min(stop, start + max(1, int(size)))
        yield order[start:stop]
        start = stop


# --- descent --------------------------------------------------------------------------------------------------------


@compiled_for_long
def _descend(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    order: NDArray[np.int64],
    state: NDArray[np.uint64],
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    biases: NDArray[np.float32],
    negatives: int,
    rate: np.float32,
    l2: np.float32,
) -> float:
    """Take one step per pair, in ``order``; return the mean cross entropy before each step."""
    d = p.shape[1]
    candidates = np.empty(negatives + 1, np.int32)
    products = np.empty(negatives + 1, np.float32)
    squares = np.empty(negatives + 1, np.float32)
    slopes = np.empty(negatives + 1, np.float32)
    gradient = np.empty(d, np.float32)
    total = 0.0
    for pair in order:
        user = users[pair]
        candidates[0] = items[pair]
        for position in range(1, negatives + 1):
            # xorshift64: uniform enough for negatives, and one dependency fewer inside the loop.
            state[0] ^= state[0] << np.uint64(13)
            state[0] ^= state[0] >> np.uint64(7)
            state[0] ^= state[0] << np.uint64(17)
            candidates[position] = np.int32(((state[0] >> np.uint64(32)) * np.uint64(len(q))) >> np.uint64(32))
        softmax_gradient(p[user], q, biases, candidates, products, squares, slopes, gradient)
        total -= np.log(slopes[0] + np.float32(1.0))
        for position in range(negatives + 1):
            row = candidates[position]
            slope = slopes[position]
            biases[row] -= rate * (slope + l2 * biases[row])
            for f in range(d):
                q[row, f] -= rate * (slope * p[user, f] + l2 * q[row, f])
        for f in range(d):
            p[user, f] -= rate * (gradient[f] + l2 * p[user, f])
    return total / len(order)
