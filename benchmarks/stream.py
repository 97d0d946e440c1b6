"""A log as a stream of positives, and which of them are scored: the protocol behind every stream figure.

Time order, ties in the order of the file. A (user, item) pair counts once: repeats are neither scored nor learned.
Scored are events of users with at least one earlier positive, evenly spaced when there are too many.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from models.prequential import Positive
from stores.history import ColumnMap, History, HistoryError, load_history

_COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Stream:
    """Positives in time order, all (n,): users and items as int32 positions in their ids.

    Ids are in order of first sight, so a learner that takes the whole stream gives them the same rows. ``rows``:
    position of each positive among all events of the log. ``eligible``: whether it may be scored.
    """

    user_ids: list[str]
    item_ids: list[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    rows: NDArray[np.int64]
    eligible: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def positives(self, seed: int, start: int, end: int) -> Iterator[Positive]:
        """Yield positives by position; the seed is part of their event_ids, which decide the negatives."""
        for position in range(start, end):
            user_id, item_id = self.user_ids[self.users[position]], self.item_ids[self.items[position]]
            yield Positive(user_id, item_id, 1.0, f"{seed}:{position}")

    def scored(self, *, start: float, every: int, at_most: int) -> NDArray[np.int64]:
        """Return the positions that are scored.

        ``start``: a share of the positives below 1, a row of the log otherwise. ``every``: only rows divisible by it.
        """
        has_earlier = np.ones(len(self), dtype=bool)
        has_earlier[np.unique(self.users, return_index=True)[1]] = False
        late = self.rows >= start if start >= 1 else np.arange(len(self)) >= start * len(self)
        positions = np.flatnonzero(has_earlier & late & (self.rows % every == 0) & self.eligible)
        if len(positions) > at_most:
            positions = positions[np.linspace(0, len(positions) - 1, at_most).astype(np.int64)]
        return positions

    def in_first_half(self) -> NDArray[np.bool_]:
        """Return whether each positive's user already occurs in the first half of the stream."""
        first_half = np.zeros(len(self.user_ids), dtype=bool)
        first_half[self.users[: len(self) // 2]] = True
        return first_half[self.users]


def read_stream(
    path: Path,
    *,
    users: str,
    items: str,
    time: str,
    positive: str | None = None,
    score_only: str | None = None,
    since: float = 0.0,
) -> Stream:
    """Read a log.

    ``positive``, ``score_only``: conditions that an event must meet to be in the stream, or to be scored: on one column
    of numbers, such as ``rating>=4``, or of words, such as ``event==buy``. ``since``: the share of the log, from its
    start, that is left out. Raises ``HistoryError``, also when nothing is positive.
    """
    conditions = [condition for text in (positive, score_only) if (condition := _condition(text))]
    value, kind = (_one_column(conditions, of_words) for of_words in (False, True))
    history = load_history(path, ColumnMap(user=users, item=items, time=time, value=value, type=kind))
    rows = np.flatnonzero(holds(positive, history))
    rows = without_repeats(history, rows[rows >= since * len(history)])
    if not len(rows):
        raise HistoryError(f"{path} has no positive event")
    users_seen, users_in_order = _in_order_of_first_sight(history.users[rows])
    items_seen, items_in_order = _in_order_of_first_sight(history.items[rows])
    return Stream(
        user_ids=[history.user_ids[code] for code in users_seen],
        item_ids=[history.item_ids[code] for code in items_seen],
        users=users_in_order,
        items=items_in_order,
        rows=rows,
        eligible=holds(score_only, history)[rows],
    )


class _Condition(NamedTuple):
    """``number`` compared with a column of numbers or, where it is ``None``, ``word`` with a column of words."""

    column: str
    comparison: str
    word: str
    number: float | None


def _condition(text: str | None) -> _Condition | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|>|<)\s*(.+?)\s*", text)
    try:
        return _Condition(match[1], match[2], match[3], float(match[3])) if match else _unreadable(text)
    except ValueError:
        return _Condition(match[1], match[2], match[3].strip("\"'"), None) if match[2] == "==" else _unreadable(text)


def _unreadable(text: str) -> NoReturn:
    raise HistoryError(f"cannot read {text!r}: write COLUMN>=NUMBER or COLUMN==WORD")


def _one_column(conditions: list[_Condition], of_words: bool) -> str | None:
    columns = sorted({condition.column for condition in conditions if (condition.number is None) == of_words})
    if len(columns) > 1:
        raise HistoryError(f"conditions can be on one such column only, not on {' and '.join(columns)}")
    return next(iter(columns), None)


def holds(text: str | None, history: History) -> NDArray[np.bool_]:
    """Return which events of a log, (n,), meet a condition on its values or types. Raises ``HistoryError``."""
    condition = _condition(text)
    if condition is None:
        return np.ones(len(history), dtype=bool)
    if condition.number is None:
        return np.array([name == condition.word for name in history.type_names])[history.types]
    return _COMPARISONS[condition.comparison](history.values, np.float32(condition.number))


def without_repeats(history: History, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the rows, in order, whose pair of user and item no earlier one has."""
    pairs = history.users[rows].astype(np.int64) * len(history.item_ids) + history.items[rows]
    return rows[np.sort(np.unique(pairs, return_index=True)[1])]


def _in_order_of_first_sight(codes: NDArray[np.int32]) -> tuple[list[int], NDArray[np.int32]]:
    """Return the distinct codes in order of first sight, and each code's place in that order."""
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return distinct[order].tolist(), place[inverse]
