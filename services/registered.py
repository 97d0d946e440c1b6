"""The servers that ``python -m services`` knows, in the order in which they start."""

from __future__ import annotations

from services.kafka import Kafka
from services.server import Server

SERVERS: tuple[type[Server], ...] = (Kafka,)
