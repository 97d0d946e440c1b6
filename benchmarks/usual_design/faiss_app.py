"""The faiss service of the usual design: ``gunicorn 'benchmarks.usual_design.faiss_app:app_from_env()'``."""

from __future__ import annotations

import os
from typing import Any

import faiss
import falcon
import numpy as np


class Search:
    """``POST /search`` with ``{"vector": [...], "k": 10}``."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer the labels and scores of the best k."""
        wanted = request.get_media()
        scores, labels = self._index.search(np.array([wanted["vector"]], dtype=np.float32), wanted["k"])
        response.media = {"labels": labels[0].tolist(), "scores": scores[0].tolist()}


def app_from_env() -> falcon.App:
    """Build the application over the vectors in the file ``VECTORS``, (items, dimension) float32."""
    vectors = np.load(os.environ["VECTORS"])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    app = falcon.App()
    app.add_route("/search", Search(index))
    return app
