import numpy as np
import pytest

from demo.world import WorldSize, write_world
from models.items import Item
from stores.history import History, load_history

SMALL = WorldSize(users=150, items=300, days=30)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder of a small simulated world."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, seed=3, size=SMALL)
    return folder


@pytest.fixture(scope="session")
def world_history(world):
    return load_history(world)


def history_of(events, item_ids):
    """Return a history of (user, item, type) in this order; every item is in the catalogue."""
    user_ids = sorted({user for user, _, _ in events})
    types = sorted({kind for _, _, kind in events})
    return History(
        name="test",
        user_ids=user_ids,
        item_ids=item_ids,
        type_names=types,
        users=np.array([user_ids.index(user) for user, _, _ in events], np.int32),
        items=np.array([item_ids.index(item) for _, item, _ in events], np.int32),
        types=np.array([types.index(kind) for _, _, kind in events], np.int32),
        values=np.full(len(events), np.nan, np.float32),
        times_s=np.arange(len(events), dtype=np.float64),
        catalogue={item_id: Item(item_id, title=f"Title of {item_id}") for item_id in item_ids},
    )


@pytest.fixture
def busy_history():
    """240 events of 6 users on 60 items, some of them views of nobody's interest and some repeats."""
    chance = np.random.default_rng(5)
    items = [f"i{number}" for number in range(60)]
    events = [
        (f"u{chance.integers(6)}", items[int(chance.integers(60))], "click" if chance.random() < 0.8 else "scroll")
        for _ in range(240)
    ]
    return history_of(events, items)
