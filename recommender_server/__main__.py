"""Check the settings, then become gunicorn: ``python -m recommender_server [options of gunicorn]``.

Checked here and not in a worker only, because gunicorn starts a worker that exits over its settings again for ever.
"""

from __future__ import annotations

import os
import sys

from models.settings import check_or_exit
from recommender_server.settings import RecommenderSettings

if __name__ == "__main__":
    check_or_exit(os.environ, RecommenderSettings)
    configuration = "python:recommender_server.gunicorn_conf"
    application = "recommender_server.app:app_from_env()"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", configuration, *sys.argv[1:], application])
