import json

import numpy as np
import pytest

from benchmarks.baselines.bpr import Bpr
from benchmarks.baselines.isgd import Isgd
from benchmarks.baselines.item_item import ItemItem
from benchmarks.published_vectors import PublishedVectors
from benchmarks.stream import read_stream
from benchmarks.stream_quality import main
from benchmarks.stream_run import ALL_METHODS
from benchmarks.uncertainty import intervals, paired_p_value
from models import ranking
from models.full_ranking import candidate_features
from models.learner import Learner
from models.model_settings import ModelSettings
from stores.history import HistoryError

COLUMNS = {"users": "who", "items": "what", "time": "at"}


def write(path, rows):
    path.write_text("who,what,at,stars\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path


@pytest.fixture
def log(tmp_path):
    """A log in which every user walks round a ring of items, with a repeat now and then."""
    rng = np.random.default_rng(1)
    place = rng.integers(0, 30, 20)
    rows = []
    for at in range(600):
        user = int(rng.integers(20))
        place[user] = (place[user] + 1) % 30
        rows.append((f"u{user}", f"i{place[user]}", 1000 + at, 5 if at % 10 else 1))
    return write(tmp_path / "log.csv", rows)


def test_a_stream_is_in_time_order_without_repeats_and_without_what_is_not_positive(tmp_path):
    rows = [("b", "y", 30, 5), ("a", "x", 10, 4), ("a", "x", 20, 5), ("c", "z", 40, 3), ("a", "y", 30, 4)]
    stream = read_stream(write(tmp_path / "log.csv", rows), **COLUMNS, positive="stars>=4")
    pairs = [(stream.user_ids[u], stream.item_ids[i]) for u, i in zip(stream.users, stream.items, strict=True)]
    assert pairs == [("a", "x"), ("b", "y"), ("a", "y")]
    assert stream.rows.tolist() == [0, 2, 3]
    assert stream.user_ids == ["a", "b"] and stream.item_ids == ["x", "y"]
    assert stream.scored(start=0, every=1, at_most=10).tolist() == [2]


def test_what_is_scored_has_an_earlier_positive_and_is_evenly_spaced(log):
    stream = read_stream(log, **COLUMNS)
    everything = stream.scored(start=0, every=1, at_most=10**6)
    assert len(everything) == len(stream) - len(stream.user_ids)
    assert len(stream.scored(start=0, every=1, at_most=50)) == 50
    assert stream.scored(start=0.5, every=1, at_most=10**6).min() >= len(stream) / 2
    assert set(stream.rows[stream.scored(start=100, every=7, at_most=10**6)] % 7) == {0}
    chosen = read_stream(log, **COLUMNS, score_only="stars<2")
    assert len(chosen) == len(stream) and 0 < len(chosen.scored(start=0, every=1, at_most=10**6)) < len(everything) / 5


def test_a_condition_that_cannot_be_read_is_named(log):
    with pytest.raises(HistoryError, match="stars of 4"):
        read_stream(log, **COLUMNS, positive="stars of 4")


def test_a_condition_on_words(tmp_path):
    rows = [("a", "x", 1, "buy"), ("a", "y", 2, "view"), ("b", "x", 3, "buy"), ("a", "z", 4, "buy")]
    path = write(tmp_path / "log.csv", rows)
    stream = read_stream(path, **COLUMNS, positive="stars == buy")
    assert stream.rows.tolist() == [0, 2, 3]
    assert read_stream(path, **COLUMNS, score_only="stars=='view'").eligible.tolist() == [False, True, False, False]
    with pytest.raises(HistoryError, match="write COLUMN"):
        read_stream(path, **COLUMNS, positive="stars>=buy")
    with pytest.raises(HistoryError, match="not on at and stars"):
        read_stream(path, **COLUMNS, positive="stars==buy", score_only="at==x")


KEYS = {"recall1", "recall10", "ndcg10", "new_user_recall10", "new_item_recall10", "segments", "coverage10", "events"}
KEYS |= {"scored", "never_seen", "events_per_s", "first_tenth", "last_tenth", "settings"}


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "x", 1, 1), ("a", "y", 2, 1)],
        [("only", f"i{number}", number, 1) for number in range(40)],
        [(f"u{number % 7}", f"i{number // 2}", 5, 1) for number in range(60)],
        [(f'"Ä, {number % 3}"', f'"物,{number % 5}"', number, 1) for number in range(60)],
    ],
    ids=["two events", "one user", "one time, two positives an item", "commas and other scripts"],
)
def test_small_and_odd_logs_give_every_figure(tmp_path, capsys, rows):
    path = write(tmp_path / "log.csv", rows)
    arguments = ["--data", str(path), "--users", "who", "--items", "what", "--time", "at"]
    assert main([*arguments, "--plot", str(tmp_path / "plot.png")]) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    result = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=refuse)
    assert set(result) >= KEYS and set(result["recall10"]) == set(ALL_METHODS)


def test_the_command_ends_with_one_json_object(log, tmp_path, capsys):
    plot = tmp_path / "plot.png"
    arguments = ["--data", str(log), "--users", "who", "--items", "what", "--time", "at", "--plot", str(plot)]
    assert main([*arguments, "--seeds", "2", "--max-scored", "200"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result["recall10"]) == set(ALL_METHODS) and len(result["recall10_by_seed"]) == 2
    # Each item leads to the next one of the ring: whoever learns sequences finds it, popularity cannot.
    assert result["recall10"]["served"] > 0.5 > result["recall10"]["popularity"]
    assert result["served_minus"]["popularity"]["interval"][0] > 0
    assert result["scored"] == 200 and len(result["new_user_recall10"]) == 5 and result["events_per_s"] > 0
    assert plot.stat().st_size > 10_000


def test_what_cannot_be_read_or_scored_ends_with_code_2(log, tmp_path, capsys):
    arguments = ["--data", str(log), "--users", "who", "--items", "what", "--time"]
    assert main([*arguments, "no such column"]) == 2
    assert main([*arguments, "at", "--score-from", "10000"]) == 2
    assert "no such column" in capsys.readouterr().err


def test_intervals_hold_the_mean_and_a_difference_of_users_is_told_from_none():
    rng = np.random.default_rng(2)
    users = rng.integers(0, 200, 5000).astype(np.int32)
    values = (rng.random(5000) < 0.3).astype(float)
    ((low, high),) = intervals(values[:, None], users)
    assert low < values.mean() < high and high - low < 0.05
    assert paired_p_value(values - 0.25, users) < 0.01
    assert paired_p_value(rng.normal(size=5000), users) > 0.01


def test_one_user_who_differs_a_lot_is_no_proof():
    users = np.repeat(np.arange(50, dtype=np.int32), 100)
    differences = np.where(users == 7, 1.0, 0.0)
    assert paired_p_value(differences, users) > 0.9 and intervals(differences[:, None], users)[0][0] == 0.0


def test_isgd_brings_the_prediction_of_a_positive_to_one():
    isgd = Isgd(2, 3, 8, seed=0)
    for _ in range(300):
        isgd.learn(np.array([0], np.int32), np.array([1], np.int32))
    assert isgd.scores(0, np.zeros(0, np.int32), 3).argmax() == 1 and isgd.scores(0, np.zeros(0, np.int32), 3)[1] > -0.1


def test_bpr_ranks_positives_above_the_rest():
    bpr = Bpr(1, 10, 8, seed=0)
    bpr.learn(np.zeros(600, np.int32), np.tile(np.array([9, 3], np.int32), 300))
    assert set(np.argsort(-bpr.scores(0, np.zeros(0, np.int32), 10))[:2]) == {3, 9}


def test_item_item_is_the_cosine_of_meetings():
    item_item = ItemItem(3, 4)
    item_item.learn(np.array([0, 0, 1, 1, 2], np.int32), np.array([0, 1, 0, 1, 1], np.int32))
    assert item_item.scores(2, np.array([1], np.int32), 3) == pytest.approx([2 / np.sqrt(2 * 3), 0, 0])


def test_published_vectors_stand_still_between_refreshes():
    learner = Learner(ModelSettings(dimension=4))
    for number in range(4):
        learner.add_user(str(number)), learner.add_item(str(number))
    learner.learn([1], [0], [1.0], [5], [4])
    published = PublishedVectors(learner)
    learner.learn([0, 1, 0], [1, 2, 3], [1.0] * 3, [1, 2, 3], [4] * 3)
    late, now = candidate_features(published, 1), candidate_features(learner, 1)
    assert not np.array_equal(late[ranking.EMBEDDING], now[ranking.EMBEDDING])
    # The newest positive counts at once, by the context that was published for it.
    newest, older = published.contexts(learner.recent(1))
    context = newest + 0.8 * older
    shown = published.item_table.weights[:4] @ (learner.head * context) + published.biases()
    assert np.allclose(late[ranking.CONTEXT], shown, atol=1e-6)
    assert np.array_equal(candidate_features(published, 2)[ranking.EMBEDDING], np.zeros(4))
    learner.add_item("new")
    assert candidate_features(published, 1).shape[1] == 5
    published.refresh()
    assert np.array_equal(candidate_features(published, 1), candidate_features(learner, 1))
