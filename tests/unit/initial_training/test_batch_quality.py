"""The batch benchmark: the protocol by hand, and the training half rebuilt where it is missing."""

import gzip
import json

import numpy as np
import pytest

from benchmarks.batch_quality import LeaveOneOut, load_leave_one_out, main


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def folder(tmp_path):
    """40 users, 130 items: NCF's files, and beside them all pairs with MovieLens ids (user + 1, item + 1000)."""
    rng = np.random.default_rng(0)
    ncf = tmp_path / "ncf"
    consumed = {user: rng.choice(np.arange(user % 2, 130, 2), 20, replace=False).tolist() for user in range(40)}
    test = {user: items[-1] for user, items in consumed.items()}
    write(ncf / "ml-1m.test.rating.gz", "".join(f"{user}\t{item}\t5\t9\n" for user, item in test.items()))
    rows = []
    for user, items in consumed.items():
        negatives = rng.choice(sorted(set(range(130)) - set(items)), 99, replace=False).tolist()
        rows.append("\t".join([f"({user},{test[user]})", *map(str, negatives)]))
    write(ncf / "ml-1m.test.negative.gz", "\n".join(rows) + "\n")
    train = [(user, item) for user, items in consumed.items() for item in items[:-1]]
    write(ncf / "train.pairs.tsv.gz", "".join(f"{user}\t{item}\n" for user, item in train))
    write(ncf / "item_ids.tsv.gz", "item\tmovie\n" + "".join(f"{item}\t{item + 1000}\n" for item in range(130)))
    everything = [(user, item) for user, items in consumed.items() for item in items]
    write(
        tmp_path / "ml-1m" / "pairs_in_ratings_dat_order.tsv.gz",
        "".join(f"{user + 1}\t{item + 1000}\n" for user, item in everything),
    )
    return ncf


def test_a_missing_training_half_is_rebuilt_from_all_pairs(folder):
    given = load_leave_one_out(folder)
    (folder / "train.pairs.tsv.gz").unlink()
    rebuilt = load_leave_one_out(folder)
    assert set(zip(given.users.tolist(), given.items.tolist(), strict=True)) == set(
        zip(rebuilt.users.tolist(), rebuilt.items.tolist(), strict=True)
    )
    assert len(rebuilt.users) == 40 * 19


def test_ties_lose_and_the_held_out_item_is_no_rival_of_its_own():
    candidates = np.array([[7, *range(100, 199)], [7, 7, *range(100, 198)]])
    empty = np.zeros(0, np.int32)
    data = LeaveOneOut(empty, empty, (2, 200), np.array([0, 1]), candidates)
    assert data.figures(lambda users, items: np.zeros(items.shape)) == {"hr10": 0.0, "ndcg10": 0.0}
    # Nine are better: tenth place.
    tenth = data.figures(lambda users, items: np.where(items == 7, 0.5, (items % 100 < 9) * 1.0))
    assert tenth == {"hr10": 1.0, "ndcg10": pytest.approx(1 / np.log2(11))}
    assert data.figures(lambda users, items: np.where(items == 7, 1.0, 0.0)) == {"hr10": 1.0, "ndcg10": 1.0}


def test_the_last_line_is_one_json_object(folder, capsys):
    main(["--data", str(folder), "--factors", "8", "--seeds", "2"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["factors"] == 8 and len(result["seeds"]) == 2
    assert result["hr10"] > result["popularity"]["hr10"]
    assert set(result["als"]) in ({"unavailable"}, {"hr10", "ndcg10", "seconds"})
