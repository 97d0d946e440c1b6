import subprocess
import sys
from pathlib import Path

SERVE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "faiss", "numba"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocked())

import asyncio, recommender_fakes as fakes
import recommender_server.app

async def main():
    async with fakes.serving(fakes.World()) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        print(result.json["source"], len(result.json["items"]))

asyncio.run(main())
"""


def test_the_recommender_serves_where_torch_faiss_and_numba_are_not_installed():
    here = Path(__file__).parent
    finished = subprocess.run(
        [sys.executable, "-c", SERVE],
        env={"PYTHONPATH": f"{here}:{here.parents[2]}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stderr == ""
    assert finished.stdout.split() == ["personal", "10"]
