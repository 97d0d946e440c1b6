"""The servers that ``python -m services`` knows, in the order in which they start."""

from __future__ import annotations

from services.graphite import Carbon, GraphiteWeb
from services.kafka import Kafka
from services.mongo import Mongo
from services.redis import RedisServer
from services.server import Server
from services.statsd import Statsd

SERVERS: tuple[type[Server], ...] = (Kafka, Mongo, RedisServer, Carbon, GraphiteWeb, Statsd)
