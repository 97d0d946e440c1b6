"""The faiss server as an ASGI application: one process, without ``--preload``, run by ``python -m faiss_server`` or

    gunicorn 'faiss_server.app:app_from_env()' -k uvicorn_worker.UvicornWorker --workers 1 --bind 127.0.0.1:8001

Searches and writes run on the one event loop, each to its end: that is what keeps them apart, without locks. Only the
loading of a whole table and the building of inverted lists, which take long, run in threads beside it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import falcon.asgi

from faiss_server import problems
from faiss_server.item_index import ItemIndex
from faiss_server.openapi import DocumentRoutes
from faiss_server.rebuilding import Rebuilding
from faiss_server.resources import HealthRoutes, IndexRoutes
from faiss_server.settings import FaissServerSettings
from models.settings import load
from stores.adapters import open_metrics
from stores.clock import SystemClock
from stores.ports import Clock, Metrics
from stores.recording_metrics import RecordingMetrics


class _Background:
    """Runs the rebuilding as long as the server runs."""

    def __init__(self, rebuilding: Rebuilding) -> None:
        self._rebuilding = rebuilding
        self._task: asyncio.Task[None] | None = None

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        self._task = asyncio.create_task(self._rebuilding.run())

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def create_app(
    index: ItemIndex,
    settings: FaissServerSettings,
    *,
    clock: Clock,
    metrics: Metrics,
    exposition: Callable[[], str],
    version: str,
) -> falcon.asgi.App:
    """Build the application. ``exposition`` writes the metrics as Prometheus text."""
    rebuilding = Rebuilding(index, settings.approximate_from_items, clock, metrics)
    app = falcon.asgi.App(middleware=[_Background(rebuilding)])
    app.set_error_serializer(problems.serialize)
    app.add_error_handler(Exception, problems.unexpected)
    for refusal in problems.REFUSALS:
        app.add_error_handler(refusal, problems.refused)
    routes = IndexRoutes(
        index, rebuilding, clock, metrics, settings.index_max_body_bytes, settings.index_max_table_bytes
    )
    for name in ("search", "similar", "vectors", "upsert", "popularity", "delete", "snapshot", "status"):
        app.add_route(f"/v1/{name}", routes, suffix=name)
    health = HealthRoutes(index, metrics, exposition, version)
    for name in ("healthz", "readyz", "version", "metrics"):
        app.add_route(f"/{name}", health, suffix=name)
    description = DocumentRoutes(version)
    app.add_route("/openapi.json", description, suffix="openapi")
    app.add_route("/docs", description, suffix="docs")
    return app


def app_from_env() -> falcon.asgi.App:
    """Read the settings and return the application over an empty index; raises ``BadSettings``."""
    settings = load(FaissServerSettings, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    metrics = RecordingMetrics(open_metrics(settings.metrics_url))
    return create_app(
        ItemIndex(),
        settings,
        clock=SystemClock(),
        metrics=metrics,
        exposition=metrics.prometheus_text,
        version=_version(),
    )


def _version() -> str:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
