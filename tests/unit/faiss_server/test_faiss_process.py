"""The faiss server as a process of its own, under gunicorn, as it is deployed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stores.http_item_index import HttpItemIndexWriter
from stores.ports import Gap, Stamp, StoreUnavailable
from tests.unit.faiss_server.index_worlds import D, learned_rows, plain, subset

ROOT = Path(__file__).parents[3]
BY_ITSELF = [sys.executable, "-m", "faiss_server"]
GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "faiss_server.app:app_from_env()", "--workers", "1"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
]
START_S = 40.0
END_S = 20.0
# Put first on the path, it stands for a torch that is not installed.
NO_TORCH = "raise ModuleNotFoundError('torch is not installed')"


class Server:
    def __init__(self, tmp_path: Path, command: list[str], **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (tmp_path / "without").mkdir(exist_ok=True)
        (tmp_path / "without" / "torch.py").write_text(NO_TORCH)
        self.log = tmp_path / "log"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path / 'without'}:{ROOT}", **settings}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--bind", f"127.0.0.1:{port}"], env=environment, stdout=log, stderr=log, cwd=tmp_path
            )
        self.client = HttpItemIndexWriter(f"http://127.0.0.1:{port}", timeout_s=10.0)

    def wait_until_it_answers(self) -> None:
        give_up_s = time.monotonic() + START_S
        while True:
            try:
                self.client.status()
                return
            except StoreUnavailable:
                assert self.process.poll() is None and time.monotonic() < give_up_s, self.log.read_text()
                time.sleep(0.05)

    def end(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=END_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_one(command: list[str], **settings: str) -> Server:
        servers.append(Server(tmp_path, command, **settings))
        return servers[-1]

    yield start_one
    for server in servers:
        server.client.close()
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(timeout=END_S)


@pytest.mark.parametrize("command", [BY_ITSELF, GUNICORN], ids=["by itself", "by gunicorn"])
def test_it_serves_without_torch_and_ends_cleanly_when_told_to(start, command):
    server = start(command)
    server.wait_until_it_answers()
    rows = learned_rows(200)
    server.client.replace(rows, Stamp(1, 0, 1))
    server.client.upsert(subset(rows, np.arange(3)), Stamp(1, 1, 2))
    [found] = server.client.search([plain(np.ones(D + 3, np.float32))])
    assert len(found.item_ids) == 10
    assert server.end() == 0
    assert "Traceback" not in server.log.read_text()


def test_told_to_end_in_the_middle_of_building_lists_it_ends(start):
    server = start(BY_ITSELF, INDEX_APPROXIMATE_FROM="1000")
    server.wait_until_it_answers()
    server.client.replace(learned_rows(60_000), Stamp(1, 0, 1))
    assert server.end() == 0
    assert "Traceback" not in server.log.read_text()


def test_a_killed_one_comes_back_as_another_boot_and_asks_for_the_whole_table(start):
    rows = learned_rows(50)
    first = start(BY_ITSELF)
    first.wait_until_it_answers()
    boot_id = first.client.replace(rows, Stamp(1, 0, 1)).boot_id
    first.process.kill()
    second = start(BY_ITSELF)
    second.wait_until_it_answers()
    status = second.client.status()
    assert status.boot_id != boot_id and not status.ready
    with pytest.raises(Gap):
        second.client.upsert(subset(rows, np.arange(3)), Stamp(1, 1, 2))
    with pytest.raises(StoreUnavailable):
        second.client.search([plain(np.ones(D + 3, np.float32))])
    assert second.client.replace(rows, Stamp(1, 1, 2)).items == 50


def test_all_bad_settings_are_named_in_one_message(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environment |= {"INDEX_MAX_BODY_BYTES": "few", "INDEX_APPROXIMATE_FROM": "0"}
    ended = subprocess.run(BY_ITSELF, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "INDEX_MAX_BODY_BYTES" in ended.stderr and "INDEX_APPROXIMATE_FROM" in ended.stderr
