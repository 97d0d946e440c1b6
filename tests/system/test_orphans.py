"""kill -9 of a server's master alone: its worker ends too and gives the port back."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.system.real_loop import RealLoop


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("room", ["faiss_server", "recommender_server"])
def test_a_worker_does_not_outlive_its_master(room: str, tmp_path: Path) -> None:
    loop = RealLoop(tmp_path)
    port = loop.index_port if room == "faiss_server" else loop.recommender_port
    try:
        loop.start(room)
        loop.wait(lambda: _listens(port), "the server listens")
        loop.kill_master(room)
        loop.wait(lambda: not _listens(port), "the port is free again", 20)
    finally:
        loop.stop()
