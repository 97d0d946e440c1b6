"""What the evaluation computes for every item at every scored positive, compiled: one pass over the item table.

With NumPy and PyTorch, call by call, one scored positive among 5,000 items took 0.7 ms, and one in five is scored.
A compiled function calls its own file only: numba keeps machine code until THIS file changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

# The rank of a positive that is not in the list at all.
MISS = 2**31 - 1
# Stands for the row of an item when none is to be ranked.
NOTHING = -1
# Recall at each of these, then NDCG at 10, then the reciprocal rank.
RECALLS_AT = (1, 5, 10, 20)
# So many scores are compared with the worst of the best at once.
BLOCK = 32


# An edge's weight is its count over n_j ** .7 times n_i ** .3: mostly "how often j led to i", and a little less for
# items that everything leads to.
SOURCE_EXPONENT = 0.7
TARGET_EXPONENT = 0.3


@compiled
def model_features(
    embedding: NDArray[np.float32],
    recent: NDArray[np.int32],
    context_length: int,
    context_decay: float,
    head: NDArray[np.float32],
    contexts: NDArray[np.float32],
    items: NDArray[np.float32],
    by_context: NDArray[np.float32],
    by_embedding: NDArray[np.float32],
    by_long: NDArray[np.float32],
) -> None:
    """Add head . (c * q_i) of the context and of the long one, and head . (p_u * q_i), of the first n items, (n,) each.

    ``embedding``: p_u (d,). ``recent``: rows of the items that form the contexts, newest first.
    """
    d = len(embedding)
    context, long = np.zeros(d, np.float32), np.zeros(d, np.float32)
    near = min(len(recent), context_length)
    weight = np.float32(1.0)
    for k in range(near):
        for f in range(d):
            context[f] += weight * contexts[recent[k], f]
        weight *= np.float32(context_decay)
    for k in range(near, len(recent)):
        for f in range(d):
            long[f] += contexts[recent[k], f]
    own = np.empty(d, np.float32)
    for f in range(d):
        context[f] *= head[f]
        long[f] *= head[f] / np.float32(max(1, len(recent) - near))
        own[f] = head[f] * embedding[f]
    for row in range(len(by_context)):
        of_context = np.float32(0.0)
        of_long = np.float32(0.0)
        of_own = np.float32(0.0)
        for f in range(d):
            of_context += context[f] * items[row, f]
            of_long += long[f] * items[row, f]
            of_own += own[f] * items[row, f]
        by_context[row] += of_context
        by_long[row] += of_long
        by_embedding[row] += of_own


@compiled
def edge_weights(
    item: int,
    targets: NDArray[np.int32],
    counts: NDArray[np.float32],
    visits: NDArray[np.float64],
    powers: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write count / (visits of the item ** .7 * visits of the target ** .3) of every edge of an item.

    ``powers``: (capacity, 2), a power of visits and what it was computed from; those that are out of date are renewed.
    Computing each of them anew would take longer than all else that a ranking does.
    """
    own = visits[item] ** SOURCE_EXPONENT
    for edge in range(len(targets)):
        target = targets[edge]
        if powers[target, 1] != visits[target]:
            powers[target, 0] = visits[target] ** TARGET_EXPONENT
            powers[target, 1] = visits[target]
        out[edge] = counts[edge] / (own * powers[target, 0])


@compiled
def transition_weights(
    recent: NDArray[np.int32],
    decay: float,
    memory: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]],
    t_all: NDArray[np.float32],
    t_last: NDArray[np.float32],
) -> None:
    """Add the weights of all edges from recent items, newest first, to (n,) each: of all, decayed, and of the newest.

    ``memory``: neighbours, counts, degrees, visits and powers of visits.
    """
    neighbours, counts, degrees, visits, powers = memory
    weights = np.empty(counts.shape[1], np.float32)
    factor = np.float32(1.0)
    for k in range(len(recent)):
        item = recent[k]
        targets = neighbours[item, : degrees[item]]
        edge_weights(item, targets, counts[item], visits, powers, weights)
        for edge in range(len(targets)):
            t_all[targets[edge]] += factor * weights[edge]
            if k == 0:
                t_last[targets[edge]] += weights[edge]
        factor *= np.float32(decay)


@compiled
def logarithms(values: NDArray[np.float32]) -> None:
    """Replace positive values (n,) by their logarithms, to 1e-7 of them: the polynomial of Cephes' ``logf``.

    Its own, because a loop that calls the library's takes them one by one, and NumPy's takes twice as long.
    """
    bits = values.view(np.int32)
    for place in range(len(values)):
        # value = (1 + x) 2 ** exponent, 1 + x between the roots of 1/2 and of 2
        exponent = (bits[place] - np.int32(0x3F3504F3)) >> np.int32(23)
        bits[place] -= exponent << np.int32(23)
        x = values[place] - np.float32(1.0)
        p = np.float32(7.0376836e-2)
        p = p * x - np.float32(1.1514610e-1)
        p = p * x + np.float32(1.1676999e-1)
        p = p * x - np.float32(1.2420141e-1)
        p = p * x + np.float32(1.4249323e-1)
        p = p * x - np.float32(1.6668058e-1)
        p = p * x + np.float32(2.0000715e-1)
        p = p * x - np.float32(2.4999994e-1)
        p = p * x + np.float32(3.3333331e-1)
        values[place] = np.float32(exponent) * np.float32(0.69314718) + (x + x * x * (x * p - np.float32(0.5)))


@compiled
def transition_features(features: NDArray[np.float32], scale: float) -> None:
    """Turn transitions (n,) into log(1 + t / scale) in place."""
    for item in range(len(features)):
        features[item] = np.float32(1.0) + features[item] / np.float32(scale)
    logarithms(features)


@compiled
def log_shares(
    decayed: NDArray[np.float64], scales: NDArray[np.float64], fast: NDArray[np.float32], slow: NDArray[np.float32]
) -> None:
    """Write the logarithm of each decayed count (capacity, 2) times its scale plus one equal share, (n,) each."""
    size = len(fast)
    floor = np.float32(1.0 / max(size, 1))
    for item in range(size):
        fast[item] = np.float32(decayed[item, 0] * scales[0]) + floor
        slow[item] = np.float32(decayed[item, 1] * scales[1]) + floor
    logarithms(fast)
    logarithms(slow)


@compiled
def all_features(
    tables: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    embedding: NDArray[np.float32],
    recent: NDArray[np.int32],
    context_length: int,
    context_decay: float,
    popularity: tuple[NDArray[np.float64], NDArray[np.float64]],
    memory: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]],
    leading: NDArray[np.int32],
    transition_decay: float,
    transition_scale: float,
    out: tuple[NDArray[np.float32], ...],
) -> None:
    """Write every feature of all n items, (n,) each, in the order of ``ranking.FEATURES``: one call does all of it.

    ``tables``: head, contexts, item embeddings, biases. ``recent`` form the contexts, transitions come from
    ``leading``, both newest first. ``popularity``: decayed counts, scales. ``memory``: as in ``transition_weights``.
    ``out`` must be zero.
    """
    head, contexts, items, biases = tables
    by_context, fast, slow, t_all, by_embedding, t_last, by_long = out
    by_context[:] = biases[: len(by_context)]
    model_features(
        embedding, recent, context_length, context_decay, head, contexts, items, by_context, by_embedding, by_long
    )
    log_shares(popularity[0], popularity[1], fast, slow)
    transition_weights(leading, transition_decay, memory, t_all, t_last)
    transition_features(t_all, transition_scale)
    transition_features(t_last, transition_scale)


@compiled
def score_all(
    weights: NDArray[np.float32], features: NDArray[np.float32], allowed: NDArray[np.bool_], out: NDArray[np.float32]
) -> bool:
    """Write the score of every item under every choice of weights, (choices, n): minus infinity where not allowed.

    ``weights``: (choices, 7), ``features``: (7, n). Returns whether all scores are finite.
    """
    finite = True
    for choice in range(len(weights)):
        w0, w1, w2 = weights[choice, 0], weights[choice, 1], weights[choice, 2]
        w3, w4, w5, w6 = weights[choice, 3], weights[choice, 4], weights[choice, 5], weights[choice, 6]
        for item in range(features.shape[1]):
            score = (
                w0 * features[0, item]
                + w1 * features[1, item]
                + w2 * features[2, item]
                + w3 * features[3, item]
                + w4 * features[4, item]
                + w5 * features[5, item]
                + w6 * features[6, item]
            )
            finite &= abs(score) < np.inf
            out[choice, item] = score if allowed[item] else np.float32(-np.inf)
    return finite


@compiled
def ranks_in(scores: NDArray[np.float32], item: int, out: NDArray[np.int64]) -> None:
    """Write the rank of an item, 1 the best, in each row of scores (rows, n); ties lose."""
    for row in range(len(scores)):
        own = scores[row, item]
        rank = 0
        for other in range(scores.shape[1]):
            rank += scores[row, other] >= own
        out[row] = rank


@compiled
def rank_among(values: NDArray[np.generic], allowed: NDArray[np.bool_], item: int) -> int:
    """Return the rank of an allowed item among the allowed ones by ``values`` (n,), 1 the best; ties lose."""
    own = values[item]
    rank = 0
    for other in range(len(values)):
        rank += allowed[other] & (values[other] >= own)
    return rank


@compiled
def best_in(scores: NDArray[np.float32], out: NDArray[np.int64]) -> int:
    """Write the places of the best scores (n,) above minus infinity, best first, equal ones in order of place.

    Returns how many there are, at most the length of ``out``.
    """
    found, least = 0, np.float32(-np.inf)
    for start in range(0, len(scores), BLOCK):
        block = range(start, min(start + BLOCK, len(scores)))
        better = 0
        for place in block:  # counted without a way out: a dozen are looked at in one instruction
            better += scores[place] > least
        if better == 0:
            continue
        for place in block:
            score = scores[place]
            if not score > least:
                continue
            found = min(found + 1, len(out))
            slot = found - 1
            while slot > 0 and scores[out[slot - 1]] < score:
                out[slot] = out[slot - 1]
                slot -= 1
            out[slot] = place
            if found == len(out):
                least = scores[out[found - 1]]
    return found


@compiled
def mean_distance(
    items: NDArray[np.float32], head: NDArray[np.float32], biases: NDArray[np.float32], rows: NDArray[np.int64]
) -> float:
    """Return the mean cosine distance between any two of these items' vectors (head * q, bias); of less than two, 0."""
    n, d = len(rows), items.shape[1]
    if n < 2:
        return 0.0
    directions = np.zeros(d + 1)
    for row in rows:
        square = float(biases[row]) ** 2
        for f in range(d):
            square += (head[f] * items[row, f]) ** 2
        length = max(np.sqrt(square), 1e-12)
        for f in range(d):
            directions[f] += head[f] * items[row, f] / length
        directions[d] += biases[row] / length
    # The sum of all cosines is the square of the sum of directions; n of them are of a vector with itself.
    total = 0.0
    for f in range(d + 1):
        total += directions[f] * directions[f]
    return float(1.0 - (total - n) / (n * (n - 1)))


@compiled
def rank_all(
    weights: NDArray[np.float32],
    served: int,
    features: NDArray[np.float32],
    by_embedding: NDArray[np.float32],
    biases: NDArray[np.float32],
    counts: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    item: int,
    ranks: NDArray[np.int64],
    hardest: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> tuple[int, int]:
    """Rank an item, or ``NOTHING``, under every choice of weights, by embedding and bias, and by counts: one call.

    Writes the (choices + 2,) ``ranks``, and the places of the best under the first choice and under the ``served`` one.
    Returns how many of either there are; (-1, -1) where a score is not finite.
    """
    scores = np.empty((len(weights), len(allowed)), np.float32)
    if not score_all(weights, features, allowed, scores):
        return -1, -1
    if item != NOTHING:
        ranks_in(scores, item, ranks[: len(weights)])
        ranks[len(weights)] = rank_among(by_embedding + biases, allowed, item)
        ranks[len(weights) + 1] = rank_among(counts, allowed, item)
    found = best_in(scores[0], hardest)
    if served == 0:
        listed = min(found, len(shown))
        shown[:listed] = hardest[:listed]
        return found, listed
    return found, best_in(scores[served], shown)


@compiled
def metrics(ranks: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Write recall at 1, 5, 10, 20, NDCG at 10 and the reciprocal rank of each rank (n,) into (n, 6)."""
    for place in range(len(ranks)):
        rank = ranks[place]
        for at in range(len(RECALLS_AT)):
            out[place, at] = 1.0 if rank <= RECALLS_AT[at] else 0.0
        out[place, 4] = 1.0 / np.log2(rank + 1.0) if rank <= 10 else 0.0
        out[place, 5] = 1.0 / rank if rank < MISS else 0.0
