"""How gunicorn runs the recommender (``gunicorn -c python:recommender_server.gunicorn_conf``).

Options on gunicorn's own command line win over these.
"""

from __future__ import annotations

from typing import Any

bind = "127.0.0.1:8000"
worker_class = "uvicorn_worker.UvicornWorker"
workers = 1
# Longer than clients' pools keep an idle connection, so that it is never closed under a request.
keepalive = 75
graceful_timeout = 10
# A second gunicorn on the machine would use the same socket.
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Refuse bad settings here, once: a worker that exits over them would be started again for ever."""
    from recommender_server.app import settings_from_env

    settings_from_env()
