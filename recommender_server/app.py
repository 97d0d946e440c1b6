"""The recommender as an ASGI application, run by ``python -m recommender_server`` or

    gunicorn 'recommender_server.app:app_from_env()' -k uvicorn_worker.UvicornWorker

``app_from_env`` alone reads the environment and opens the stores; everything else is given what it needs.
"""

from __future__ import annotations

import logging
import os
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.asgi

from models.events import PositiveRule
from models.settings import load
from recommender_server import problems
from recommender_server.access import Access
from recommender_server.background import Background
from recommender_server.batch_resource import BatchResource
from recommender_server.catalogue import Catalogue
from recommender_server.content_similarity import ContentSimilarity
from recommender_server.current_state import CurrentState
from recommender_server.data_routes import add_data_routes
from recommender_server.degradation import Deadline
from recommender_server.dependencies import Collaborators, Dependencies
from recommender_server.health import Health
from recommender_server.history import Histories
from recommender_server.ingesting import Ingest
from recommender_server.live_report import LiveReport
from recommender_server.openapi import DocumentResource
from recommender_server.page_resource import PageResource
from recommender_server.rank_resource import RankResource
from recommender_server.ranking_given import GivenRanker
from recommender_server.recommendations_resource import RecommendationsResource
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds
from recommender_server.rules_resource import RulesResource
from recommender_server.served_log import ServedLog
from recommender_server.served_resource import ServedResource
from recommender_server.settings import RecommenderSettings
from recommender_server.similar_resource import SimilarResource
from recommender_server.traffic import Traffic
from recommender_server.vital_signs import VitalSigns
from stores.adapters import open_async_event_log, open_index_reader, open_item_reader, open_metrics, open_user_reader
from stores.clock import SystemClock
from stores.recording_metrics import RecordingMetrics


def create_app(
    collaborators: Collaborators,
    settings: RecommenderSettings,
    *,
    exposition: Callable[[], str],
    version: str,
    chance: random.Random | None = None,
) -> falcon.asgi.App:
    """Build the application. ``exposition`` writes the metrics as Prometheus text."""
    clock, metrics = collaborators.clock, collaborators.metrics
    deadline_s = settings.deadline_ms / 1000
    bounds = Bounds(settings.default_k, settings.max_k, settings.max_body_bytes, settings.max_batch)
    dependencies = Dependencies(collaborators, settings)
    current = CurrentState(dependencies, clock, deadline_s)
    chance = chance or random.Random()
    recommender = Recommender(
        dependencies,
        current,
        clock,
        metrics,
        deadline_s,
        exploration_share=settings.exploration_share,
        chance=chance,
    )
    ranker = GivenRanker(dependencies, current, clock, deadline_s)
    ingest = Ingest(dependencies, settings.decoder(), clock, metrics, deadline_s)
    served = ServedLog(dependencies, clock, metrics, settings.served_sample_rate, chance)
    traffic = Traffic(metrics, settings.max_in_flight)

    def deadline() -> Deadline:
        return Deadline(clock, deadline_s)

    vital_signs = VitalSigns(dependencies, traffic, metrics)
    health = Health(dependencies, recommender, traffic, vital_signs, exposition, version, deadline)
    live_report = LiveReport(dependencies, recommender, deadline)
    access = Access(settings.keys(), settings.rate_limit_per_s, clock, metrics)
    middleware: list[Any] = [traffic, access, vital_signs, live_report, Background(dependencies, served, clock)]
    app = falcon.asgi.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = False
    app.set_error_serializer(problems.serialize)
    app.add_error_handler(Exception, problems.unexpected)
    app.add_route("/v1/recommendations", RecommendationsResource(recommender, served, bounds, deadline))
    app.add_route("/v1/recommendations:batch", BatchResource(recommender, served, bounds, deadline))
    app.add_route("/v1/recommendations/{request_id}", ServedResource(dependencies, deadline))
    app.add_route("/v1/rank", RankResource(ranker, bounds, deadline))
    stored_rules = RulesResource(dependencies, bounds, deadline)
    app.add_route("/v1/rules", stored_rules, suffix="all")
    app.add_route("/v1/rules/{name}", stored_rules)
    histories = Histories(dependencies, clock, deadline_s)
    positives = PositiveRule(settings.positive_events)
    add_data_routes(app, dependencies, ingest, histories, recommender, current, positives, bounds, clock, deadline)
    app.add_route("/v1/metrics/stream", live_report)
    content = ContentSimilarity(dependencies, Catalogue(dependencies, ingest, deadline), clock, deadline_s)
    app.add_route("/v1/items/{item_id}/similar", SimilarResource(recommender, content, bounds))
    description = DocumentResource(version, bounds)
    app.add_route("/openapi.json", description, suffix="openapi")
    app.add_route("/docs", description, suffix="docs")
    app.add_route("/v1/status", health, suffix="status")
    page = PageResource()
    app.add_route("/", page)
    app.add_route("/page/{name}", page, suffix="file")
    for name in ("healthz", "readyz", "version", "metrics"):
        app.add_route(f"/{name}", health, suffix=name)
    return app


def app_from_env() -> falcon.asgi.App:
    """Read the settings, open the stores and return the application. Raises ``ValueError`` for a bad setting or URL."""
    settings = load(RecommenderSettings, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    metrics = RecordingMetrics(open_metrics(settings.metrics_url))
    collaborators = Collaborators(
        log=open_async_event_log(settings.events_url),
        users=open_user_reader(settings.users_url),
        items=open_item_reader(settings.items_url),
        index=open_index_reader(settings.index_url),
        metrics=metrics,
        clock=SystemClock(),
    )
    return create_app(collaborators, settings, exposition=metrics.prometheus_text, version=_version())


def _version() -> str:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
