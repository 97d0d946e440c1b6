"""How gunicorn runs the faiss server. Options on gunicorn's own command line win over these."""

from typing import Any

from stores.garbage import collect_rarely
from stores.orphan_watch import end_with

bind = "127.0.0.1:8001"
worker_class = "uvicorn_worker.UvicornWorker"
# One process holds the one table; a second would be a second index that the trainer does not know of.
workers = 1
# Longer than clients' pools keep an idle connection, so that it is never closed under a request.
keepalive = 75
graceful_timeout = 10
# Loading a table of millions of rows must not look like a hung worker.
timeout = 120
# A second gunicorn on the machine would use the same socket.
control_socket_disable = True


def post_fork(server: Any, _worker: Any) -> None:
    """Have the worker end when the master is killed, and look for garbage less often than Python would."""
    end_with(server.pid)
    collect_rarely()
