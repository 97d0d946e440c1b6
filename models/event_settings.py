"""The settings by which events are read; every room that reads events takes the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from models.events import DEFAULT_POSITIVES, EventDecoder, PositiveRule
from models.settings import setting


def parse_field_map(text: str) -> dict[str, str]:
    """Read ``theirs:ours, theirs:ours``; raises ``ValueError`` naming the pair that cannot be read."""
    field_map: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        theirs, colon, ours = (part.strip() for part in pair.partition(":"))
        if not (theirs and colon and ours):
            raise ValueError(f"cannot read {pair!r}; write theirs:ours")
        field_map[theirs] = ours
    return field_map


def _check_field_map(text: str) -> None:
    EventDecoder(PositiveRule(DEFAULT_POSITIVES), parse_field_map(text))


@dataclass(frozen=True)
class EventSettings:
    """Which events count, and what their fields are called."""

    positive_events: str = setting(
        "POSITIVE_EVENTS",
        DEFAULT_POSITIVES,
        doc="Which events are learned from, and how strongly.",
        check=PositiveRule,  # type: ignore[arg-type]
    )
    field_map: str = setting(
        "EVENT_FIELDS", "", doc="Other people's field names, as theirs:ours pairs.", check=_check_field_map
    )

    def decoder(self) -> EventDecoder:
        """Return the decoder these settings describe."""
        return EventDecoder(PositiveRule(self.positive_events), parse_field_map(self.field_map))
