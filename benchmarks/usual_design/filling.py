"""The data of the usual design: users in a MongoDB-wire server, metadata in Redis, vectors in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pymongo
import redis

from models.items import Item, encode_item

DIMENSION, SEEN = 64, 20


@contextmanager
def filled(users_url: str, items_url: str, folder: Path, items: Sequence[Item], users: int) -> Iterator[dict[str, str]]:
    """Fill the stores with random vectors; yield the environment of the apps; empty the stores."""
    chance = np.random.default_rng(0)
    np.save(folder / "vectors.npy", chance.normal(size=(len(items), DIMENSION)).astype(np.float32))
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(users_url)
    collection = client.get_default_database()["usual_users"]
    server, _, prefix = items_url.partition("?prefix=")
    store = redis.Redis.from_url(server)
    keys = [f"{prefix}:{label}" for label in range(len(items))]
    try:
        for start in range(0, users, 500):
            collection.insert_many(
                {
                    "_id": f"user-{user}",
                    "embedding": chance.normal(size=DIMENSION).tolist(),
                    "seen": chance.choice(len(items), size=SEEN, replace=False).tolist(),
                }
                for user in range(start, min(start + 500, users))
            )
        store.mset({key: encode_item(item) for key, item in zip(keys, items, strict=True)})
        yield {
            "VECTORS": str(folder / "vectors.npy"),
            "USERS_URL": users_url,
            "ITEMS_URL": server,
            "ITEMS_PREFIX": prefix,
        }
    finally:
        collection.drop()
        store.delete(*keys)
        client.close()
        store.close()
