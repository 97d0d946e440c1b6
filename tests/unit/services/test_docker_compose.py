from __future__ import annotations

from pathlib import Path

import pytest

from services import docker_compose
from services.local_process import CannotStart


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that writes down what it is asked, and whose engine is there as long as the file ``engine`` is."""
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ntest -e {tmp_path}/engine\n')
    program.chmod(0o755)
    (tmp_path / "engine").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "asked"


def test_only_the_servers_are_started_each_container_once(asked: Path) -> None:
    docker_compose.up(["kafka", "carbon", "graphite", "statsd"])
    docker_compose.down(["kafka"])
    up, down = asked.read_text().splitlines()
    assert up.endswith("/docker/compose.yaml --profile infra --profile monitoring up --detach --wait kafka graphite")
    assert down.endswith(" stop kafka")


def test_an_engine_that_does_not_answer_is_no_engine(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker_compose.engine_answers()
    (asked.parent / "engine").unlink()
    assert not docker_compose.engine_answers()
    with pytest.raises(CannotStart, match="up ended with code 1"):
        docker_compose.up(["kafka"])
    monkeypatch.setenv("PATH", str(asked.parent / "nothing"))
    assert not docker_compose.engine_answers()
