"""Both servers hold to their own documents: a thousand requests and more, made from the documents by schemathesis.

With every check on but for those that the files beside this one turn off, and say why. The same requests every time;
``make fuzz`` sends the recommender more of them (``SCHEMATHESIS_EXAMPLES`` for every operation, at random from a seed).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.real_loop import ROOT, RealLoop

FOLDER = Path(__file__).parent
SEED = "1"


def _run(loop: RealLoop, url: str, configuration: str, phases: str, max_examples: int) -> int:
    """Return how many cases were tried; fails with what schemathesis printed."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(FOLDER / configuration), "--no-color"]
    options = ["--phases", phases, "--continue-on-failure", "--seed", SEED, "--generation-deterministic"]
    finished = subprocess.run(
        [*command, "run", f"{url}/openapi.json", *options, "--max-examples", str(max_examples)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.system.api_formats"},
        cwd=loop.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-8000:] + finished.stderr[-2000:] + loop.logs()
    found = re.search(r"(\d+) generated", finished.stdout)
    assert found, finished.stdout[-2000:]
    return int(found[1])


@pytest.mark.timeout(900)
def test_the_recommender_holds_to_its_document(loop: RealLoop) -> None:
    more = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "0"))
    phases = "examples,coverage,fuzzing" if more else "examples,coverage"
    assert _run(loop, loop.recommender_url, "schemathesis.recommender.toml", phases, more or 1) >= 1000
    assert loop.get("/v1/status")[1]["answers_5xx"] == 0


@pytest.mark.timeout(900)
def test_the_index_holds_to_its_document(loop: RealLoop) -> None:
    assert _run(loop, loop.index_url, "schemathesis.faiss.toml", "examples,coverage,fuzzing", 200) >= 1000
