"""``python -m demo.compare data/demo data/demo-full``: whether two runs of the demo learned the same, bit by bit."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import msgspec
import numpy as np

from models.snapshot import SnapshotStore, part_of

_PART = "learner"
SAME, DIFFERENT, NOTHING = 0, 1, 2


def learner_sha256(demo: Path) -> str | None:
    """Return one digest of everything that the newest snapshot's learner holds; ``None`` without a snapshot."""
    digests = _digests(demo)
    return hashlib.sha256(msgspec.json.encode(digests)).hexdigest() if digests else None


def main() -> int:
    """Say what differs; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.compare", description=__doc__)
    parser.add_argument("folders", nargs=2, type=Path, metavar="folder", help="where a demo kept its state")
    one, other = parser.parse_args().folders
    for folder in (one, other):
        print(f"{learner_sha256(folder) or 'no snapshot'}  {folder}")
    mine, theirs = _digests(one), _digests(other)
    if not (mine and theirs):
        return NOTHING
    different = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if different:
        print(f"{len(different)} of {len(mine)} parts of the learner differ: {', '.join(different)}")
        return DIFFERENT
    print(f"all {len(mine)} parts of the learner are bit-identical")
    return SAME


def _digests(demo: Path) -> dict[str, str]:
    """Return a digest per array and per fact of the newest snapshot's learner, by name."""
    snapshot = SnapshotStore(demo / "snapshots").load_newest()
    if snapshot is None:
        return {}
    contents = {
        name: f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()
        for name, array in part_of(snapshot.tensors, _PART).items()
    }
    contents |= {name: msgspec.json.encode(fact) for name, fact in snapshot.records[_PART].items()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}


if __name__ == "__main__":
    sys.exit(main())
