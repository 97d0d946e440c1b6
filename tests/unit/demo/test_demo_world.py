import numpy as np

from demo.world import EVENTS_FILE, TRUTH_FILE, WorldSize, true_ranks_beside, write_world

TINY = WorldSize(users=20, items=200, days=10)


def test_the_same_seed_gives_the_same_world_and_another_seed_another(tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_world(tmp_path / name, seed=seed, size=TINY)
    files = {name: (tmp_path / name / EVENTS_FILE).read_bytes() for name in ("one", "again", "other")}
    assert files["one"] == files["again"] != files["other"]
    assert (tmp_path / "one" / TRUTH_FILE).read_bytes() == (tmp_path / "again" / TRUTH_FILE).read_bytes()


def test_any_loader_reads_it_and_the_truth_has_one_rank_per_event(world, world_history):
    ranks = true_ranks_beside(world)
    assert world_history.bad_rows == 0
    assert len(ranks) == len(world_history) > 3000
    assert ranks.min() == 1
    assert all(world_history.catalogue[item_id].title for item_id in set(world_history.item_ids))


def test_data_that_is_no_world_has_no_truth(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,5\n")
    assert true_ranks_beside(tmp_path) is None
    assert true_ranks_beside(tmp_path / "ratings.csv") is None


def test_some_items_are_far_more_popular_than_most(world_history):
    counts = np.sort(np.bincount(world_history.items))[::-1]
    tenth = len(counts) // 10
    assert counts[:tenth].sum() > 2.5 * counts.sum() / 10
    assert counts[0] > 4 * np.median(counts)


def test_new_users_and_new_items_come_all_the_time(world_history):
    n = len(world_history)
    for column in (world_history.users, world_history.items):
        first_seen = np.unique(column, return_index=True)[1]
        per_quarter = np.bincount(first_seen * 4 // n, minlength=4)
        assert (per_quarter[1:] >= 3).all(), per_quarter


def test_tastes_drift(world_history):
    """The first and the second half of a user's life differ more than his events of odd and of even number do."""
    categories = sorted({item.category for item in world_history.catalogue.values()})
    of_item = np.array([categories.index(world_history.catalogue[name].category) for name in world_history.item_ids])
    apart, mixed = [], []
    for user in range(len(world_history.user_ids)):
        liked = of_item[world_history.items[world_history.users == user]]
        if len(liked) >= 40:
            half = len(liked) // 2
            apart.append(distance(liked[:half], liked[half:], len(categories)))
            mixed.append(distance(liked[::2], liked[1::2], len(categories)))
    assert len(apart) > 20
    assert np.mean(apart) > 1.3 * np.mean(mixed)


def distance(some, others, categories):
    """Return the total variation between the shares of the categories."""
    shares = [np.bincount(part, minlength=categories) / len(part) for part in (some, others)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def test_the_oracle_is_far_above_popularity_and_below_certainty(world, world_history):
    ranks = true_ranks_beside(world)
    counts = np.zeros(len(world_history.item_ids))
    seen = np.zeros((len(world_history.user_ids), len(world_history.item_ids)), bool)
    oracle, popular = [], []
    for position, (user, item) in enumerate(zip(world_history.users, world_history.items, strict=True)):
        if not seen[user, item]:  # a purchase follows the view of the same item: no choice of its own
            if position > len(world_history) // 2:
                oracle.append(ranks[position] <= 10)
                popular.append(np.count_nonzero((counts >= counts[item]) & ~seen[user]) <= 10)
            counts[item] += 1
        seen[user, item] = True
    assert 0.3 < np.mean(oracle) < 0.95
    assert np.mean(oracle) > 3 * np.mean(popular) > 0
