"""``python -m services``, with one small server registered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services import __main__ as commands
from services import docker_compose
from services.local_process import LocalProcess
from tests.unit.services.small_server import Small


@pytest.fixture
def run(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    class Registered(Small):
        def __init__(self) -> None:
            super().__init__(port, os.environ.get("MOOD", ""))

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["services", *arguments])
        return commands.main()

    monkeypatch.setattr(commands, "SERVERS", (Registered,))
    monkeypatch.setattr(commands, "_STATE", tmp_path / "state")
    monkeypatch.setattr(docker_compose, "engine_answers", lambda: False)
    monkeypatch.setenv("SERVICES_CACHE", str(tmp_path / "cache"))
    yield run
    LocalProcess(Registered(), cache=tmp_path / "cache", state=tmp_path / "state").kill()


def test_up_status_env_and_down(run: Callable[..., int], port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == 1
    assert "down" in capsys.readouterr().out
    assert run("env") == 0
    assert capsys.readouterr().out == ""
    assert run("up") == 0
    assert f"7.0 at small://127.0.0.1:{port}" in capsys.readouterr().out
    assert run("up", "small") == 0
    assert run("status") == 0
    assert ", pid " in capsys.readouterr().out
    assert run("env", "--tests") == 0
    assert capsys.readouterr().out == f"export SMALL_URL_TEST='small://127.0.0.1:{port}'\n"
    assert run("down") == 0
    assert run("status") == 1


def test_what_answers_already_is_taken_as_it_is(
    run: Callable[..., int], port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = LocalProcess(Small(port), cache=tmp_path / "cache", state=tmp_path / "elsewhere")
    stranger.start()
    try:
        stranger.wait_healthy()
        assert run("up") == 0
        assert "not started from here" in capsys.readouterr().out
        assert run("down") == 0
        assert stranger.pid() is not None
    finally:
        stranger.kill()


def test_a_server_that_does_not_come_up_is_said_and_is_a_failure(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOOD", "lame")
    assert run("up") == 1
    assert "NOT AVAILABLE: small: ended" in capsys.readouterr().err


def test_an_unknown_server_is_named(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("up", "mysql")
    assert stopped.value.code == 2
    assert "unknown: mysql; there are small" in capsys.readouterr().err
