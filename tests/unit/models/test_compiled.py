"""What a process learns must not depend on whether it compiled the kernel itself or found it compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LEARNING_PROCESS = """
import hashlib
import numpy as np
from models.learner import Learner
from models.model_settings import ModelSettings

learner, chance, count = Learner(ModelSettings()), np.random.default_rng(1), 600
for n in range(40):
    learner.add_user(f"u{n}")
    learner.add_item(f"i{n}")
users, items = chance.integers(0, 40, count).astype(np.int32), chance.integers(0, 40, count).astype(np.int32)
seeds = np.arange(count, dtype=np.uint64)
learner.learn(users, items, np.ones(count, np.float32), seeds, np.full(count, 40, np.int64))
for name, array in sorted(learner.state()[0].items()):
    print(name, hashlib.sha256(array.tobytes()).hexdigest())
"""


@pytest.mark.timeout(300)
def test_the_process_that_compiles_learns_the_same_bits_as_those_after_it(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def learned() -> str:
        command = [sys.executable, "-c", LEARNING_PROCESS]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=140).stdout

    compiling = learned()
    assert list(tmp_path.rglob("*.nbc")), "nothing was kept: the second process would compile too"
    assert learned() == compiling
