"""The faiss server as an ASGI application, run by ``python -m faiss_server`` or

    gunicorn 'faiss_server.app:app_from_env()' -k uvicorn_worker.UvicornWorker --workers 1

One process, one event loop: searches and writes take turns on it, so neither needs a lock, and faiss is never searched
and written at once. ``app_from_env`` alone reads the environment.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import falcon.asgi

from faiss_server import problems
from faiss_server.item_index import ItemIndex
from faiss_server.resources import HealthResource, IndexResource
from faiss_server.settings import FaissServerSettings
from models.settings import load
from stores.ports import Metrics
from stores.recording_metrics import RecordingMetrics


def create_app(
    index: ItemIndex,
    settings: FaissServerSettings,
    metrics: Metrics,
    *,
    exposition: Callable[[], str],
    version: str,
) -> falcon.asgi.App:
    """Build the application. ``exposition`` writes the metrics as Prometheus text."""
    app = falcon.asgi.App()
    app.set_error_serializer(problems.serialize)
    app.add_error_handler(Exception, problems.translate)
    resource = IndexResource(
        index,
        metrics,
        max_body_bytes=settings.index_max_body_bytes,
        max_table_bytes=settings.index_max_table_bytes,
    )
    for name in ("search", "similar", "upsert", "popularity", "delete", "snapshot", "status"):
        app.add_route(f"/v1/{name}", resource, suffix=name)
    health = HealthResource(index, metrics, exposition, version)
    for name in ("healthz", "readyz", "version", "metrics"):
        app.add_route(f"/{name}", health, suffix=name)
    return app


def app_from_env() -> falcon.asgi.App:
    """Read the settings and return the application with an empty index. Raises ``BadSettings``."""
    settings = load(FaissServerSettings, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    metrics = RecordingMetrics()
    return create_app(ItemIndex(), settings, metrics, exposition=metrics.prometheus_text, version=_version())


def _version() -> str:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
