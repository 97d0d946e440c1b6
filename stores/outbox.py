"""The outbox: rows changed and not yet acknowledged by every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.learner import Learner

Row = TypeVar("Row", int, str)


@dataclass
class Outbox:
    """Rows changed and not yet acknowledged; insertion-ordered sets.

    ``users_sent`` are on their way to a store that works apart, and perhaps changed again, then in ``users`` too.
    ``forgotten`` are ids, not rows: of users whose documents have to go.
    ``items`` go out at once, ``background`` (touched as negatives or context only) within two seconds, ``edges`` about
    once a second.
    """

    users: dict[int, None] = field(default_factory=dict)
    users_sent: dict[int, None] = field(default_factory=dict)
    items: dict[int, None] = field(default_factory=dict)
    background: dict[int, None] = field(default_factory=dict)
    edges: dict[int, None] = field(default_factory=dict)
    forgotten: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of_everything(cls, learner: Learner) -> Outbox:
        """Return the outbox that publishes all users and edges; the items go as one table, see ``Publisher``."""
        return cls(users=dict.fromkeys(range(len(learner.users))), edges=dict.fromkeys(range(len(learner.items))))

    def record(self) -> dict[str, list[Any]]:
        """Return the JSON-able form that a snapshot keeps."""
        waiting: dict[str, dict[Any, None]] = vars(self) | {"users": self.users_sent | self.users}
        return {name: list(rows) for name, rows in waiting.items() if name != "users_sent"}

    @classmethod
    def from_record(cls, record: Mapping[str, list[Any]]) -> Outbox:
        """Return the outbox that a snapshot kept."""
        return cls(**{name: dict.fromkeys(rows) for name, rows in record.items()})


def acknowledge(waiting: dict[Row, None], rows: Iterable[Row]) -> None:
    """Take rows that a store has acknowledged out of one of the sets. Safe to repeat."""
    for row in rows:
        waiting.pop(row, None)
