"""The recommender of the usual design: ``gunicorn 'benchmarks.usual_design.recommender_app:app_from_env()'``."""

from __future__ import annotations

import json
import os
from typing import Any

import falcon
import pymongo
import redis
import requests


class Recommendations:
    """``GET /recommendations?user_id=…&k=10``: the user's vector, a search, ten single reads of metadata."""

    def __init__(self, users: Any, items: redis.Redis, prefix: str, search_url: str) -> None:
        self._users = users
        self._items = items
        self._prefix = prefix
        self._search_url = search_url

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Recommend k items that the user has not seen."""
        k = request.get_param_as_int("k", default=10)
        user = self._users.find_one({"_id": request.get_param("user_id", required=True)})
        seen = set(user["seen"])
        answer = requests.post(self._search_url, json={"vector": user["embedding"], "k": k + len(seen)}, timeout=10)
        found = answer.json()
        hits = [hit for hit in zip(found["labels"], found["scores"], strict=True) if hit[0] not in seen][:k]
        response.media = {
            "items": [
                json.loads(self._items.get(f"{self._prefix}:{label}")) | {"score": score} for label, score in hits
            ]
        }


def app_from_env() -> falcon.App:
    """Build the application over ``USERS_URL``, ``ITEMS_URL`` with ``ITEMS_PREFIX``, and ``SEARCH_URL``."""
    users = pymongo.MongoClient(os.environ["USERS_URL"]).get_default_database()["usual_users"]
    items = redis.Redis.from_url(os.environ["ITEMS_URL"])
    app = falcon.App()
    resource = Recommendations(users, items, os.environ["ITEMS_PREFIX"], os.environ["SEARCH_URL"])
    app.add_route("/recommendations", resource)
    return app
