"""Transition memory: what tends to be consumed after what, bounded, and published as the item graph.

When an item follows another within the last ten positives of a user, the edge between them gains weight, and the edge
back gains half of it. A user is led by the edges of his last twenty positives: looking
back further than edges reach helps where order matters little, and costs nothing where it matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.growable_array import GrowableArray
from models.histories import Recent
from models.prefetch import CACHE_LINE_BYTES, prefetch
from models.scoring_kernel import edge_weights

# An item follows each of the ten newest positives, an older one by less. Counts of an item's edges decay with each
# visit of the item; the edge back from it gains half of the edge to it.
FOLLOWED = 10
FOLLOWED_DECAY = 0.8
VISIT_DECAY = 0.999
BACKWARD = 0.5


class TransitionArrays(NamedTuple):
    """What remembering works on.

    ``neighbours`` (capacity, edges) int32 and ``weights`` (capacity, edges) float32, of which the first ``degrees``
    (capacity,) int32 of a row are used; ``visits`` (capacity,) float64, decayed visits of each item.
    """

    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32]
    degrees: NDArray[np.int32]
    visits: NDArray[np.float64]


class Transitions:
    """The transition memory of all items, growing with them."""

    def __init__(self, edges: int, capacity: int) -> None:
        self._neighbours = GrowableArray(capacity, (edges,), np.int32)
        self._weights = GrowableArray(capacity, (edges,), np.float32)
        self._degrees = GrowableArray(capacity, (), np.int32)
        self._visits = GrowableArray(capacity, (), np.float64)
        # Of each item: visits ** TARGET_EXPONENT, and the visits it was computed from.
        self._powers = GrowableArray(capacity, (2,), np.float64)

    def grow(self, capacity: int) -> None:
        """Raise the capacity. Safe to repeat."""
        for array in (self._neighbours, self._weights, self._degrees, self._visits, self._powers):
            array.grow(capacity)

    def remember(self, items: NDArray[np.int32], recent: Recent) -> None:
        """Let items (n,) follow, in order, what their users had before them. NOT safe to repeat."""
        memory = TransitionArrays(self._neighbours.rows, self._weights.rows, self._degrees.rows, self._visits.rows)
        _remember(memory, items, recent.items, recent.counts)

    def memory(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        """Return what ranking reads: neighbours, counts, degrees, visits, and powers of visits, which it renews."""
        return self._neighbours.rows, self._weights.rows, self._degrees.rows, self._visits.rows, self._powers.rows

    def neighbours(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the neighbours of an item and the weights of the edges, strongest first."""
        targets = self._neighbours.rows[item, : self._degrees.rows[item]]
        weights = np.empty(len(targets), np.float32)
        edge_weights(item, targets, self._weights.rows[item], self._visits.rows, self._powers.rows, weights)
        order = np.lexsort((targets, -weights))
        return targets[order], weights[order]

    def state(self, size: int) -> dict[str, NDArray[np.generic]]:
        """Return copies of all that is needed to go on; edges item after item."""
        degrees = self._degrees.rows[:size].copy()
        used = np.arange(self._neighbours.rows.shape[1]) < degrees[:, None]
        return {
            "degrees": degrees,
            "visits": self._visits.rows[:size].copy(),
            "neighbours": self._neighbours.rows[:size][used],
            "weights": self._weights.rows[:size][used],
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take over a state; the capacity must suffice."""
        size = len(state["degrees"])
        self._degrees.rows[:size] = state["degrees"]
        self._visits.rows[:size] = state["visits"]
        used = np.arange(self._neighbours.rows.shape[1]) < self._degrees.rows[:size, None]
        self._neighbours.rows[:size][used] = state["neighbours"]
        self._weights.rows[:size][used] = state["weights"]


@compiled
def _place_of(target: int, neighbours: NDArray[np.int32], source: int, degree: int) -> int:
    """Return where a neighbour of ``source`` stands, -1 when it is none."""
    found = np.int32(-1)
    for slot in range(degree):  # without a way out: a dozen are looked at in one instruction
        found = max(found, np.int32(slot) if neighbours[source, slot] == target else np.int32(-1))
    return int(found)


@compiled
def _weakest(bits: NDArray[np.int32], source: int) -> int:
    """Return where the first of the weakest edges of ``source`` stands, whose row is full."""
    least = bits[source, 0]
    for slot in range(1, bits.shape[1]):
        least = min(least, bits[source, slot])
    weakest = np.int32(bits.shape[1])
    for slot in range(bits.shape[1]):
        weakest = min(weakest, np.int32(slot) if bits[source, slot] == least else np.int32(bits.shape[1]))
    return int(weakest)


@compiled
def _follow(memory: TransitionArrays, bits: NDArray[np.int32], recent: NDArray[np.int32], item: int) -> None:
    """Let ``item`` follow each of ``recent``, newest first. ``bits``: those of the weights.

    No weight is negative, so their bits, as integers, are in the same order, and integers are compared a dozen at once.
    """
    neighbours, weights, degrees = memory.neighbours, memory.weights, memory.degrees
    amount = 1.0
    for k in range(len(recent)):
        for backward in range(2):
            source, target = (item, recent[k]) if backward else (recent[k], item)
            gained = amount * BACKWARD if backward else amount
            degree = degrees[source]
            slot = _place_of(target, neighbours, source, degree)
            if slot >= 0:
                weights[source, slot] += gained
                continue
            if degree < weights.shape[1]:
                slot = degree
                degrees[source] += 1
            else:
                slot = _weakest(bits, source)
                if weights[source, slot] > gained:
                    continue
            neighbours[source, slot] = target
            weights[source, slot] = gained
        amount *= FOLLOWED_DECAY


@compiled
def _fetch(memory: TransitionArrays, items: NDArray[np.int32]) -> None:
    """Ask for the edges of items, so that they are near when they change."""
    neighbours, weights, width = memory.neighbours.ctypes.data, memory.weights.ctypes.data, memory.weights.strides[0]
    for position in range(len(items)):
        row = np.int64(items[position])
        prefetch(memory.visits.ctypes.data + memory.visits.strides[0] * row)
        prefetch(memory.degrees.ctypes.data + memory.degrees.strides[0] * row)
        for offset in range(0, width, CACHE_LINE_BYTES):
            prefetch(neighbours + width * row + offset)
            prefetch(weights + width * row + offset)


@compiled
def _remember(
    memory: TransitionArrays, items: NDArray[np.int32], recent: NDArray[np.int32], counts: NDArray[np.int64]
) -> None:
    bits = memory.weights.view(np.int32)
    for event in range(len(items)):
        if event + 1 < len(items):
            _fetch(memory, items[event + 1 : event + 2])
            _fetch(memory, recent[event + 1, : min(counts[event + 1], FOLLOWED)])
        item = items[event]
        for slot in range(memory.degrees[item]):
            memory.weights[item, slot] *= VISIT_DECAY
        memory.visits[item] = memory.visits[item] * VISIT_DECAY + 1.0
        _follow(memory, bits, recent[event, : min(counts[event], FOLLOWED)], item)
