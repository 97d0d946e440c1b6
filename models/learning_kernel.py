"""Learning, one positive after another, on the memory of the tables.

The gradient is derived by hand; PyTorch's autograd is the oracle in the tests. Per-event autograd is 50 to 100 times
slower, and mini-batches of a bursty stream lose quality or diverge.

A compiled function calls, and takes constants from, its own file only: numba keeps machine code until THAT file changes
and would not notice a change elsewhere.

For a positive (u, i): x = p_u + sum_k decay**k c_{recent k}; logits = head . (x * q_j) + b_j over i and sampled
negatives j; loss = cross entropy of i. Row-wise Adagrad (one accumulator per row) decides every step but the biases'.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.learning_arrays import PoolArrays, Positives, Steps, TableArrays, TouchedArrays

POSITIVE = 1
MERELY_TOUCHED = 2

# A rejection of an item that was as likely as any other steps back a tenth of what a positive steps forward, and at
# most five times that: found by ``benchmarks.rejections``. Bolder steps cost positives.
REJECTION = 0.1
REJECTION_AT_MOST = 5.0


@compiled
def _draw(state: NDArray[np.uint64], bound: int) -> int:
    """Return a number below ``bound`` (splitmix64, then multiply and shift)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return int(((z >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@compiled
def _sample(
    pool: PoolArrays, user: int, item: int, known: int, count: int, random: NDArray[np.uint64], out: NDArray[np.int32]
) -> int:
    """Write the positive, then its negatives, into ``out``; return how many. Half are recent positives, half uniform.

    Recent ones of the same user are left out: his last items are what he likes, not what he passed over.
    """
    out[0] = item
    size = 1
    recent = min(pool.total[0], len(pool.items))
    for draw in range(count):
        if draw % 2 == 0:
            if recent == 0:
                continue
            slot = _draw(random, recent)
            negative = pool.items[slot]
            if pool.users[slot] == user:
                continue
        else:
            negative = np.int32(_draw(random, known))
        if negative != item:
            out[size] = negative
            size += 1
    return size


@compiled
def softmax_gradient(
    x: NDArray[np.float32],
    items: NDArray[np.float32],
    biases: NDArray[np.float32],
    candidates: NDArray[np.int32],
    slopes: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> None:
    """Differentiate the cross entropy of the first candidate under logits x . q_j + b_j.

    Writes d loss / d logit into ``slopes`` (n,) and d loss / d x into ``gradient`` (d,). The gradient of q_j is
    slopes[j] x, of b_j slopes[j].
    """
    d = len(x)
    highest = np.float32(-np.inf)
    for position in range(len(candidates)):
        row = candidates[position]
        logit = biases[row]
        for f in range(d):
            logit += x[f] * items[row, f]
        slopes[position] = logit
        highest = max(highest, logit)
    total = np.float32(0.0)
    for position in range(len(candidates)):
        slopes[position] = np.exp(slopes[position] - highest)
        total += slopes[position]
    for position in range(len(candidates)):
        slopes[position] /= total
    slopes[0] -= np.float32(1.0)
    gradient[:] = 0.0
    for position in range(len(candidates)):
        row = candidates[position]
        slope = slopes[position]
        for f in range(d):
            gradient[f] += slope * items[row, f]


@compiled
def _rejection(share: float, even: float) -> np.float32:
    """Return what the gradient of a positive is multiplied by for a rejection.

    It steps backwards and by less, the less the model expected the item: in proportion to its ``share`` over an
    ``even`` one, as in "unlikelihood" (Welleck et al., ICLR 2020), so that rejections alone push nothing for ever.
    """
    return np.float32(-REJECTION * min(share / even, REJECTION_AT_MOST))


@compiled
def _adagrad(
    table: NDArray[np.float32],
    accumulators: NDArray[np.float32],
    row: int,
    slope: np.float32,
    direction: NDArray[np.float32],
    strength: float,
    steps: Steps,
) -> None:
    """Step a row along slope * direction + l2 * row, at the rate that its accumulated mean squared gradient leaves."""
    d = table.shape[1]
    l2 = np.float32(steps.l2)
    squares = np.float32(0.0)
    for f in range(d):
        g = slope * direction[f] + l2 * table[row, f]
        squares += g * g
    accumulators[row] += squares / np.float32(d)
    rate = np.float32(strength * steps.rate / (steps.offset + np.sqrt(accumulators[row])))
    for f in range(d):
        table[row, f] -= rate * (slope * direction[f] + l2 * table[row, f])


@compiled
def _mark(touched: TouchedArrays, item: int, mark: int) -> None:
    if touched.item_marks[item] == 0:
        touched.items[touched.sizes[1]] = item
        touched.sizes[1] += 1
    touched.item_marks[item] |= mark


@compiled
def learn_positives(
    positives: Positives,
    tables: TableArrays,
    recents: NDArray[np.int32],
    counts: NDArray[np.int64],
    pool: PoolArrays,
    touched: TouchedArrays,
    steps: Steps,
) -> None:
    """Learn positives strictly one after another; the result does not depend on how a stream is cut into calls.

    ``recents`` (n, length), ``counts`` (n,): what each user had before, as ``models.histories.Recent`` says.
    """
    d = tables.items.shape[1]
    x = np.empty(d, np.float32)
    gradient = np.empty(d, np.float32)
    candidates = np.empty(steps.negatives + 1, np.int32)
    slopes = np.empty(steps.negatives + 1, np.float32)
    random = np.empty(1, np.uint64)
    for event in range(len(positives.users)):
        user = positives.users[event]
        item = positives.items[event]
        strength = positives.strengths[event]
        random[0] = positives.seeds[event]
        recent, count = recents[event], counts[event]
        context = min(count, steps.context_length)

        for f in range(d):
            x[f] = tables.users[user, f]
        weight = np.float32(1.0)
        for k in range(context):
            for f in range(d):
                x[f] += weight * tables.contexts[recent[k], f]
            weight *= np.float32(steps.context_decay)
        for f in range(d):
            x[f] *= tables.head[f]

        known = positives.known_items[event]
        size = _sample(pool, user, item, known, steps.negatives, random, candidates)
        softmax_gradient(x, tables.items, tables.biases, candidates[:size], slopes, gradient)
        rejected = strength < 0.0
        if rejected:
            strength = -strength
            turn = _rejection(slopes[0] + 1.0, 1.0 / size)
            for position in range(size):
                slopes[position] *= turn
            for f in range(d):
                gradient[f] *= turn
        for f in range(d):
            gradient[f] *= tables.head[f]

        for position in range(size):
            row = candidates[position]
            _adagrad(tables.items, tables.item_accumulators, row, slopes[position], x, strength, steps)
            tables.biases[row] -= np.float32(steps.bias_rate) * strength * slopes[position]
            _mark(touched, row, POSITIVE if position == 0 else MERELY_TOUCHED)
        _adagrad(tables.users, tables.user_accumulators, user, np.float32(1.0), gradient, strength, steps)
        weight = np.float32(1.0)
        for k in range(context):
            _adagrad(tables.contexts, tables.context_accumulators, recent[k], weight, gradient, strength, steps)
            weight *= np.float32(steps.context_decay)
        if touched.user_marks[user] == 0:
            touched.user_marks[user] = 1
            touched.users[touched.sizes[0]] = user
            touched.sizes[0] += 1

        for k in range(count):
            _mark(touched, recent[k], MERELY_TOUCHED)
        if rejected:
            continue  # it moves embeddings only: it is nothing that others passed over
        slot = pool.total[0] % len(pool.items)
        pool.items[slot] = item
        pool.users[slot] = user
        pool.total[0] += 1
