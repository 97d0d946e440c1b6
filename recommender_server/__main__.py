"""Check the settings, then become gunicorn: ``python -m recommender_server [options of gunicorn]``.

Checked here and not in a worker only, because gunicorn starts a worker that exits over its settings again for ever.
"""

from __future__ import annotations

import os
import sys

from gunicorn.app.wsgiapp import WSGIApplication

from models.settings import check_or_exit, exit_with, load
from recommender_server.access import public_addresses
from recommender_server.settings import RecommenderSettings

if __name__ == "__main__":
    check_or_exit(os.environ, RecommenderSettings)
    configuration = "python:recommender_server.gunicorn_conf"
    application = "recommender_server.app:app_from_env()"
    sys.argv[1:] = ["-c", configuration, *sys.argv[1:], application]
    public = public_addresses(WSGIApplication().cfg.address)  # gunicorn's own reading of all that decides it
    if public and not load(RecommenderSettings, os.environ).keys():
        exit_with(f"{', '.join(public)} can be reached from outside: set API_KEYS, or bind to 127.0.0.1")
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *sys.argv[1:]])
