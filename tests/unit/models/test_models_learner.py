import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import consumption
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings

SETTINGS = ModelSettings(dimension=8, negatives=6, recent_pool=20, edges=4)


def stream(seed, events=150, users=12, items=30):
    """Return a stream of (user_id, item_id, event_id) without repeats, new ids turning up all along."""
    rng = np.random.default_rng(seed)
    seen, found = set(), []
    for number in range(events):
        pair = (int(rng.integers(1 + users * number // events)), int(rng.integers(1 + items * number // events)))
        if pair not in seen:
            seen.add(pair)
            found.append((f"u{pair[0]}", f"i{pair[1]}", f"e{number}"))
    return found


def feed(learner, events, cuts=()):
    """Learn a stream, cut into batches before these positions."""
    batch = []
    for position, (user_id, item_id, event_id) in enumerate(events):
        if position in cuts and batch:
            learner.learn(*zip(*batch, strict=True))
            batch = []
        user, item = learner.add_user(user_id), learner.add_item(item_id)
        learner.mark_seen(user, item, learned=True)
        batch.append((user, item, 1.0, event_seed(event_id), len(learner.items)))
    if batch:
        learner.learn(*zip(*batch, strict=True))
    return learner


def bits(learner, without_capacity=False):
    arrays, facts = learner.state()
    if without_capacity:
        facts = {name: fact for name, fact in facts.items() if "capacity" not in name and "growths" not in name}
    return {name: array.tobytes() for name, array in arrays.items()} | {"facts": json.dumps(facts)}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.sets(st.integers(1, 150)))
def test_any_cut_of_a_stream_into_batches_gives_the_same_bits(seed, cuts):
    events = stream(seed)
    assert bits(feed(Learner(SETTINGS), events)) == bits(feed(Learner(SETTINGS), events, cuts))


def test_growing_has_no_influence_on_what_is_learned():
    events = stream(1)
    small = feed(Learner(SETTINGS, user_capacity=1, item_capacity=1), events, cuts=range(150))
    assert small.user_growths > 3 and small.item_growths > 3
    assert len(small.users) <= small.user_capacity < 2 * len(small.users)
    assert bits(small, without_capacity=True) == bits(feed(Learner(SETTINGS), events), without_capacity=True)


def test_growing_by_ten_percent_keeps_old_rows_where_they_are():
    learner = Learner(SETTINGS, item_capacity=40)
    rows = learner.item_table.tensor()
    for item in range(41):
        learner.add_item(str(item))
    assert learner.item_capacity == 44 and learner.item_growths == 1
    assert learner.item_table.tensor().data_ptr() == rows.data_ptr()
    assert np.array_equal(learner.item_table.weights[:40], rows.numpy())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 100))
def test_saved_and_restored_in_mid_stream_it_goes_on_to_the_same_bits(seed, cut):
    events = stream(seed)
    whole = Learner(SETTINGS, user_capacity=2, item_capacity=2)
    whole.merges.learn(3, np.eye(6), 2)
    feed(whole, events[:cut])
    if len(whole.users):
        whole.hide(0, 5)
    arrays, facts = whole.state()
    restored = Learner.from_state(SETTINGS, arrays, json.loads(json.dumps(facts)))
    assert bits(restored) == bits(whole)
    assert bits(feed(restored, events[cut:])) == bits(feed(whole, events[cut:]))


def test_a_state_is_a_copy():
    learner = feed(Learner(SETTINGS), stream(2))
    arrays, _ = learner.state()
    before = {name: array.copy() for name, array in arrays.items()}
    feed(learner, [("u0", "new", "x")])
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


def test_new_rows_depend_on_seed_side_and_id_only():
    one, other = Learner(SETTINGS), Learner(SETTINGS)
    one.add_item("a"), one.add_item("b")
    other.add_item("b")
    assert np.array_equal(one.item_table.weights[1], other.item_table.weights[0])
    assert not np.array_equal(one.item_table.weights[1], one.context_table.weights[1])
    assert not np.array_equal(one.item_table.weights[0], one.item_table.weights[1])
    assert not one.user_table.weights[one.add_user("u")].any()


def test_touched_rows_are_told_once():
    learner = feed(Learner(SETTINGS), stream(3))
    learner.take_touched()
    before = learner.item_table.weights.copy(), learner.context_table.weights.copy(), learner.user_table.weights.copy()
    feed(learner, [("u0", "fresh", "x")])
    touched = learner.take_touched()
    assert touched.users.tolist() == [0] and touched.positives.tolist() == [learner.items.row("fresh")]
    told = {*touched.positives.tolist(), *touched.others.tolist()}
    changed = np.flatnonzero(
        (before[0] != learner.item_table.weights).any(1) | (before[1] != learner.context_table.weights).any(1)
    )
    assert set(changed.tolist()) <= told | {len(learner.items) - 1}
    assert np.flatnonzero((before[2] != learner.user_table.weights).any(1)).tolist() == [0]
    assert all(len(rows) == 0 for rows in learner.take_touched())


def test_every_changed_edge_belongs_to_a_touched_item():
    learner = feed(Learner(SETTINGS), stream(4))
    learner.take_touched()
    before = [learner.neighbours(item) for item in range(len(learner.items))]
    feed(learner, [("u0", "i1", "x"), ("u1", "i2", "y")])
    touched = learner.take_touched()
    told = {*touched.positives.tolist(), *touched.others.tolist()}
    for item, (rows, _) in enumerate(before):
        if not np.array_equal(rows, learner.neighbours(item)[0]):
            assert item in told


def test_an_item_keeps_its_strongest_edges_each_once():
    # "hub" is followed by one of forty items, by the first of them again and again; settings leave it four edges.
    events = []
    for user in range(200):
        follower = f"i{user % 40}" if user % 2 else "i0"
        events += [(f"u{user}", "hub", f"h{user}"), (f"u{user}", follower, f"f{user}")]
    learner = feed(Learner(SETTINGS), events)
    rows, weights = learner.neighbours(learner.items.row("hub"))
    assert len(rows) == len(set(rows.tolist())) == SETTINGS.edges
    assert rows[0] == learner.items.row("i0") and (np.diff(weights) <= 0).all() and weights[0] > 2 * weights[1] > 0


def test_recent_and_seen_items_are_bounded_and_in_order(monkeypatch):
    monkeypatch.setattr(consumption, "SEEN_KEPT", 55)
    learner = feed(Learner(SETTINGS), [("u", str(number), str(number)) for number in range(60)])
    assert learner.recent(0).tolist() == list(range(59, 9, -1))
    assert learner.recent(0, 3).tolist() == [59, 58, 57]
    assert learner.seen(0).tolist() == list(range(5, 60))
    assert not learner.has_seen(0, 4) and learner.has_seen(0, 5)


def test_what_was_only_seen_is_not_yet_learned():
    learner = feed(Learner(SETTINGS), stream(5))
    item = next(row for row in range(len(learner.items)) if not learner.has_seen(0, row))
    learner.mark_seen(0, item)
    assert learner.has_seen(0, item) and not learner.has_learned(0, item)
    learner.mark_seen(0, item, learned=True)
    learner.mark_seen(0, item)
    assert learner.has_learned(0, item)


def test_a_burst_of_one_user_blows_nothing_up():
    learner = feed(Learner(SETTINGS), stream(9))
    rng = np.random.default_rng(9)
    n = len(learner.items)
    items, seeds = rng.integers(n, size=20_000), rng.integers(2**62, size=20_000)
    learner.learn(np.zeros(20_000, np.int32), items, np.ones(20_000), seeds, [n] * 20_000)
    for table in (learner.user_table, learner.item_table, learner.context_table):
        assert np.isfinite(table.accumulators).all() and np.linalg.norm(table.weights, axis=1).max() < 20


def test_strength_scales_the_step():
    def moved(strength):
        learner = feed(Learner(SETTINGS), stream(6))
        before = learner.user_embedding(0)
        learner.learn([0], [9], [strength], [1], [len(learner.items)])
        return learner.user_embedding(0) - before

    assert np.allclose(moved(0.25), 0.25 * moved(1.0), atol=1e-6) and moved(1.0).any()


def test_the_item_vector_and_the_query_give_the_models_score():
    learner = feed(Learner(SETTINGS), stream(7))
    learner.head[:] = np.linspace(-1, 2, 8)
    p, q = learner.user_embedding(0), learner.item_table.weights[3]
    vector = learner.item_vectors(np.array([3]))[0]
    assert vector @ np.append(p, 1.0) == pytest.approx(learner.head @ (p * q) + learner.biases()[3], abs=1e-6)


def test_without_context_it_is_plain_gmf():
    learner = feed(Learner(ModelSettings(dimension=8, context_length=0, negatives=6)), stream(8))
    started = Learner(learner.settings)
    for item_id in learner.items.ids:
        started.add_item(item_id)
    assert np.array_equal(started.context_table.weights, learner.context_table.weights)
    assert np.abs(learner.user_table.weights).sum() > 0


def test_event_seeds_do_not_change():
    assert event_seed("user_events:0:7") == 11554947345358200904


def test_the_fingerprint_changes_with_every_setting():
    assert ModelSettings().fingerprint() == ModelSettings().fingerprint()
    assert ModelSettings(seed=1).fingerprint() != ModelSettings().fingerprint()


def test_a_forgotten_user_leaves_a_row_of_nobody_and_comes_back_as_somebody_new():
    learner = Learner(ModelSettings(dimension=8, negatives=4))
    ada, bob = learner.add_user("ada"), learner.add_user("bob")
    item, _ = learner.add_item("i"), learner.add_item("j")
    for user in (ada, bob, ada, bob):
        learner.mark_seen(user, item, learned=True)
        learner.learn([user], [item], [1.0], [7], [2])
    assert learner.user_embedding(ada).any()
    learner.hide(ada, item)
    vectors = learner.item_vectors(slice(0, 2)).tobytes()
    for _ in range(2):
        learner.forget_user(ada)
    assert learner.users.row("ada") is None
    assert not learner.user_embedding(ada).any()
    assert learner.user_embedding(bob).any()
    assert (learner.seen(ada).tolist(), learner.hidden(ada), len(learner.recent(ada))) == ([], [], 0)
    assert learner.item_vectors(slice(0, 2)).tobytes() == vectors
    again = Learner.from_state(learner.settings, *learner.state())
    assert again.users.row("ada") is None
    assert again.users.row("bob") == bob
    assert again.add_user("ada") == 2
    assert again.positives_of(2) == 0
