"""The README's curl examples, run against the real processes, with torch and faiss blocked where they must not be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.system.films import wait_until_learned
from tests.system.real_loop import ROOT, RealLoop


def _examples() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


def _curl(loop: RealLoop, example: str) -> str:
    assert shutil.which("curl"), "the README's examples need curl"
    command = example.replace("localhost:8000", loop.recommender_url.removeprefix("http://"))
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} --fail-with-body --max-time 10"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, (example, finished.stdout, finished.stderr)
    return finished.stdout


def test_every_example_answers(loop: RealLoop) -> None:
    examples = _examples()
    assert len(examples) >= 9
    for example in examples:
        text = _curl(loop, example)
        if "/metrics" in example:
            assert "# TYPE" in text
            continue
        answer, *_ = map(json.loads, text.splitlines())  # a stream of lines is answered by one
        if ":batch" in example:
            answer = answer["answer"]
        if "/v1/recommendations" in example:
            assert {"request_id", "as_of", "degraded", "stale"} <= answer.keys()
            assert answer["items"], (example, answer)
    # On a busy machine a first answer may miss its time budget and say so; it does not stay that way.
    loop.wait(
        lambda: (
            loop.get("/v1/recommendations?user_id=ada")[1].items() >= {"source": "personal", "degraded": False}.items()
        ),
        "a personal answer with nothing missing",
    )


def test_an_event_counts_at_once_and_is_learned_soon(loop: RealLoop) -> None:
    _, before = loop.get("/v1/recommendations?user_id=grace&k=3")
    liked = before["items"][0]["item_id"]
    _, accepted = loop.post("/v1/events", {"user_id": "grace", "item_id": liked, "type": "click"})
    [receipt] = accepted["receipts"]
    _, at_once = loop.get("/v1/recommendations?user_id=grace&k=3")
    assert liked not in [item["item_id"] for item in at_once["items"]]
    wait_until_learned(loop, receipt)
    _, learned = loop.get(f"/v1/recommendations?user_id=grace&k=3&after={receipt}&level=learned")
    assert liked not in [item["item_id"] for item in learned["items"]]


def test_serving_goes_on_without_the_index_and_without_the_trainer(loop: RealLoop, tmp_path: Path) -> None:
    loop.kill("faiss_server")
    status, answer = loop.get("/v1/recommendations?user_id=u3&k=3")
    assert (status, answer["degraded"]) == (200, True)
    assert answer["items"], answer
    loop.start("faiss_server")
    # The trainer notices within seconds and sends the whole table, although no event comes.
    loop.wait(
        lambda: loop.get("/v1/recommendations?user_id=u3&k=3")[1]["source"] == "personal", "the index is back", 60
    )
    loop.kill("incremental_training")
    status, answer = loop.post("/v1/events", {"user_id": "u3", "item_id": "metropolis", "type": "click"})
    assert (status, answer["counted"]) == (202, True)
    loop.start("incremental_training", "--from-nothing")
    wait_until_learned(loop, answer["receipts"][0])
