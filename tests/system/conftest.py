"""What several files of this folder begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.films import fill
from tests.system.real_loop import RealLoop


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoop]:
    """The real processes with a few films. One loop per file: what one deletes another may need."""
    loop = RealLoop(tmp_path_factory.mktemp("loop"))
    try:
        loop.start_all()
        fill(loop)
        yield loop
    finally:
        codes = loop.stop()
    assert codes == {"faiss_server": 0, "recommender_server": 0, "incremental_training": 0}, loop.logs()
