"""Learning, one positive after another, on the memory of the tables.

The gradient is derived by hand; PyTorch's autograd is the oracle in the tests. Per-event autograd is 50 to 100 times
slower, and mini-batches of a bursty stream lose quality or diverge.

A compiled function calls, and takes constants from, its own file only: numba keeps machine code until THAT file changes
and would not notice a change elsewhere.

For a positive (u, i): x = p_u + sum_k decay**k c_{recent k}; logits = head . (x * q_j) + b_j over i and sampled
negatives j; loss = cross entropy of i. Row-wise Adagrad (one accumulator per row) decides every step but the biases'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.learning_arrays import PoolArrays, Positives, Steps, TableArrays, TouchedArrays
from models.prefetch import CACHE_LINE_BYTES, prefetch

POSITIVE = 1
MERELY_TOUCHED = 2

# A rejection of an item that was as likely as any other steps back a tenth of what a positive steps forward, and at
# most five times that: found by ``benchmarks.rejections``. Bolder steps cost positives.
REJECTION = 0.1
REJECTION_AT_MOST = 5.0

# A positive pulls a fresh item (``models.popularity``) so much further: of news little is known and much is asked.
FRESH_PULL = 1.5


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
def _multiply(
    table: NDArray[np.float32],
    rows: NDArray[np.int32],
    direction: NDArray[np.float32],
    products: NDArray[np.float32],
    squares: NDArray[np.float32],
) -> None:
    """Write direction . row and row . row of each row, (n,)."""
    for position in range(len(rows)):
        row = rows[position]
        product = np.float32(0.0)
        square = np.float32(0.0)
        for f in range(table.shape[1]):
            product += direction[f] * table[row, f]
            square += table[row, f] * table[row, f]
        products[position] = product
        squares[position] = square


@compiled
def _add_rows(
    table: NDArray[np.float32], rows: NDArray[np.int32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Add weight * row of each row to ``out`` (d,)."""
    fours = len(rows) - len(rows) % 4  # four at a time: what is added to is read and written once for all of them
    for position in range(0, fours, 4):
        row0, row1, row2, row3 = rows[position], rows[position + 1], rows[position + 2], rows[position + 3]
        weight0, weight1 = weights[position], weights[position + 1]
        weight2, weight3 = weights[position + 2], weights[position + 3]
        for f in range(len(out)):
            out[f] += (
                weight0 * table[row0, f]
                + weight1 * table[row1, f]
                + weight2 * table[row2, f]
                + weight3 * table[row3, f]
            )
    for position in range(fours, len(rows)):
        row, weight = rows[position], weights[position]
        for f in range(len(out)):
            out[f] += weight * table[row, f]


@compiled
def softmax_gradient(
    x: NDArray[np.float32],
    items: NDArray[np.float32],
    biases: NDArray[np.float32],
    candidates: NDArray[np.int32],
    products: NDArray[np.float32],
    squares: NDArray[np.float32],
    slopes: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> None:
    """Differentiate the cross entropy of the first candidate under logits x . q_j + b_j.

    Writes d loss / d logit into ``slopes`` (n,) and d loss / d x into ``gradient`` (d,). The gradient of q_j is
    slopes[j] x, of b_j slopes[j]. ``products``, ``squares`` (n,) receive x . q_j and q_j . q_j.
    ``initial_training.factorisation`` is compiled with it and does not notice a change here: change that file too.
    """
    n = len(candidates)
    _multiply(items, candidates, x, products, squares)
    highest = np.float32(-np.inf)
    for position in range(n):
        slopes[position] = products[position] + biases[candidates[position]]
        highest = max(highest, slopes[position])
    total = np.float32(0.0)
    for position in range(n):
        slopes[position] = np.exp(slopes[position] - highest)
        total += slopes[position]
    for position in range(n):
        slopes[position] /= total
    slopes[0] -= np.float32(1.0)
    gradient[:] = 0.0
    _add_rows(items, candidates, slopes, gradient)


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
    rows: NDArray[np.int32],
    slopes: NDArray[np.float32],
    direction: NDArray[np.float32],
    products: NDArray[np.float32],
    squares: NDArray[np.float32],
    strength: np.float32,
    pull: np.float32,
    steps: Steps,
) -> None:
    """Step each row along slope * direction + l2 * row, at the rate that its accumulated mean squared gradient leaves.

    The first row steps ``pull`` times as far.

    The squared gradient needs no pass over the row: it is made of ``products`` = direction . row and ``squares`` =
    row . row. Of an item that was drawn twice they are those before its first step, which differ by what l2 lets them
    count. All rows in one call: numba counts references to the arrays of each call, which took longer than a step.
    """
    d = table.shape[1]
    l2, offset = np.float32(steps.l2), np.float32(steps.offset)
    full_rate = strength * np.float32(steps.rate)
    square = np.float32(0.0)
    for f in range(d):
        square += direction[f] * direction[f]
    for position in range(len(rows)):
        row, slope = rows[position], slopes[position]
        squared = slope * slope * square + np.float32(2.0) * slope * l2 * products[position]
        squared = max(squared + l2 * l2 * squares[position], np.float32(0.0))
        accumulated = accumulators[row] + squared / np.float32(d)
        accumulators[row] = accumulated
        rate = full_rate / (offset + np.sqrt(accumulated))
        if position == 0:
            rate *= pull
        kept, moved = np.float32(1.0) - rate * l2, rate * slope
        for f in range(d):
            table[row, f] = kept * table[row, f] - moved * direction[f]


@compiled
def _step_biases(
    biases: NDArray[np.float32], rows: NDArray[np.int32], slopes: NDArray[np.float32], rate: np.float32
) -> None:
    for position in range(len(rows)):
        biases[rows[position]] -= rate * slopes[position]


@compiled
def _mark(touched: TouchedArrays, rows: NDArray[np.int32], mark: int) -> None:
    for position in range(len(rows)):
        item = rows[position]
        if touched.item_marks[item] == 0:
            touched.items[touched.sizes[1]] = item
            touched.sizes[1] += 1
        touched.item_marks[item] |= mark


@compiled
def _fetch(array: NDArray[Any], rows: NDArray[np.int32]) -> None:
    """Ask for these rows of an array, so that they are near when they are learned."""
    width = array.strides[0]
    for position in range(len(rows)):
        address = array.ctypes.data + width * np.int64(rows[position])
        for offset in range(0, width, CACHE_LINE_BYTES):
            prefetch(address + offset)


@compiled
def _draw_candidates(
    event: int,
    positives: Positives,
    tables: TableArrays,
    recents: NDArray[np.int32],
    counts: NDArray[np.int64],
    pool: PoolArrays,
    touched: TouchedArrays,
    steps: Steps,
    random: NDArray[np.uint64],
    out: NDArray[np.int32],
) -> int:
    """Write an event's candidates into ``out``, return how many; ask for all rows it will touch; let the pool have it.

    None of it depends on what is learned, so it is done one event ahead: memory comes while the one before is learned.
    """
    item = positives.items[event]
    random[0] = positives.seeds[event]
    size = _sample(pool, positives.users[event], item, positives.known_items[event], steps.negatives, random, out)
    candidates = out[:size]
    _fetch(tables.items, candidates)
    _fetch(tables.item_accumulators, candidates)
    _fetch(tables.biases, candidates)
    _fetch(touched.item_marks, candidates)
    context = recents[event, : min(counts[event], steps.context_length)]
    _fetch(tables.contexts, context)
    _fetch(tables.context_accumulators, context)
    _fetch(touched.item_marks, context)
    user = positives.users[event : event + 1]
    _fetch(tables.users, user)
    _fetch(tables.user_accumulators, user)
    _fetch(touched.user_marks, user)
    if positives.strengths[event] > 0.0:  # what was rejected is nothing that others passed over
        slot = pool.total[0] % len(pool.items)
        pool.items[slot] = item
        pool.users[slot] = positives.users[event]
        pool.total[0] += 1
    return size


@compiled
def learn_positives(
    positives: Positives,
    tables: TableArrays,
    recents: NDArray[np.int32],
    counts: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    pool: PoolArrays,
    touched: TouchedArrays,
    steps: Steps,
) -> None:
    """Learn positives strictly one after another; the result does not depend on how a stream is cut into calls.

    ``recents`` (n, length), ``counts`` (n,): what each user had before, as ``models.histories.Recent`` says.
    ``fresh`` (n,): whether it pulls its item further.
    """
    d = tables.items.shape[1]
    x = np.empty(d, np.float32)
    gradient = np.empty(d, np.float32)
    drawn = np.empty((2, steps.negatives + 1), np.int32)
    most = max(steps.negatives, steps.context_length) + 1
    products, squares, slopes = np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.float32)
    weights = np.ones(steps.context_length + 1, np.float32)
    for k in range(1, len(weights)):
        weights[k] = weights[k - 1] * np.float32(steps.context_decay)
    random = np.empty(1, np.uint64)
    events = len(positives.users)
    upcoming = 0
    for ahead in range(events + 1):
        size = upcoming
        if ahead < events:
            upcoming = _draw_candidates(
                ahead, positives, tables, recents, counts, pool, touched, steps, random, drawn[ahead % 2]
            )
        if ahead == 0:
            continue
        event = ahead - 1
        candidates = drawn[event % 2, :size]
        user = positives.users[event : event + 1]
        recent = recents[event, : counts[event]]
        context = recent[: steps.context_length]
        strength = positives.strengths[event]
        even = np.float32(1.0)
        pull = np.float32(FRESH_PULL) if fresh[event] else even

        x[:] = tables.users[user[0]]
        _add_rows(tables.contexts, context, weights, x)
        for f in range(d):
            x[f] *= tables.head[f]
        softmax_gradient(x, tables.items, tables.biases, candidates, products, squares, slopes, gradient)
        if strength < 0.0:
            strength = -strength
            turn = _rejection(slopes[0] + 1.0, 1.0 / size)
            for position in range(size):
                slopes[position] *= turn
            for f in range(d):
                gradient[f] *= turn
        for f in range(d):
            gradient[f] *= tables.head[f]

        _adagrad(
            tables.items, tables.item_accumulators, candidates, slopes, x, products, squares, strength, pull, steps
        )
        _step_biases(tables.biases, candidates, slopes, strength * np.float32(steps.bias_rate))
        _multiply(tables.users, user, gradient, products, squares)
        _adagrad(
            tables.users, tables.user_accumulators, user, weights, gradient, products, squares, strength, even, steps
        )
        _multiply(tables.contexts, context, gradient, products, squares)
        _adagrad(
            *(tables.contexts, tables.context_accumulators, context, weights, gradient, products, squares),
            *(strength, even, steps),
        )

        if touched.user_marks[user[0]] == 0:
            touched.user_marks[user[0]] = 1
            touched.users[touched.sizes[0]] = user[0]
            touched.sizes[0] += 1
        _mark(touched, candidates[:1], POSITIVE)
        _mark(touched, candidates[1:], MERELY_TOUCHED)
        _mark(touched, recent, MERELY_TOUCHED)
