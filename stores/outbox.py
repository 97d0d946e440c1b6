"""The outbox: rows changed and not yet acknowledged by every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.learner import Learner


@dataclass
class Outbox:
    """Rows changed and not yet acknowledged; insertion-ordered sets.

    ``items`` go out at once, ``background`` (touched as negatives or context only) within two seconds, ``edges`` about
    once a second.
    """

    users: dict[int, None] = field(default_factory=dict)
    items: dict[int, None] = field(default_factory=dict)
    background: dict[int, None] = field(default_factory=dict)
    edges: dict[int, None] = field(default_factory=dict)

    @classmethod
    def of_everything(cls, learner: Learner) -> Outbox:
        """Return the outbox that publishes all users and edges; the items go as one table, see ``Publisher``."""
        return cls(users=dict.fromkeys(range(len(learner.users))), edges=dict.fromkeys(range(len(learner.items))))

    def record(self) -> dict[str, list[int]]:
        """Return the JSON-able form that a snapshot keeps."""
        return {name: list(rows) for name, rows in vars(self).items()}

    @classmethod
    def from_record(cls, record: Mapping[str, list[int]]) -> Outbox:
        """Return the outbox that a snapshot kept."""
        return cls(**{name: dict.fromkeys(rows) for name, rows in record.items()})


def acknowledge(waiting: dict[int, None], rows: Iterable[int]) -> None:
    """Take rows that a store has acknowledged out of one of the sets. Safe to repeat."""
    for row in rows:
        waiting.pop(row, None)
