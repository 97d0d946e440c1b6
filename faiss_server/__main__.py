"""Check the settings, then become gunicorn: ``python -m faiss_server [options of gunicorn]``.

Checked here and not in a worker only, because gunicorn starts a worker that exits over its settings again for ever.
"""

from __future__ import annotations

import os
import sys

from faiss_server.settings import FaissServerSettings
from models.settings import check_or_exit

if __name__ == "__main__":
    check_or_exit(os.environ, FaissServerSettings)
    configuration = "python:faiss_server.gunicorn_conf"
    application = "faiss_server.app:app_from_env()"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", configuration, *sys.argv[1:], application])
