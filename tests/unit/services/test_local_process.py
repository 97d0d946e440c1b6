"""A small server of our own, started and stopped as the real ones are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.local_process import CannotStart, LocalProcess
from services.server import CannotInstall, NotHealthy, ensure_installed, run_tool
from tests.unit.services.small_server import Small


@pytest.fixture
def small(tmp_path: Path, port: int) -> Iterator[Callable[[str], LocalProcess]]:
    made: list[LocalProcess] = []

    def make(mood: str = "") -> LocalProcess:
        made.append(LocalProcess(Small(port, mood), cache=tmp_path / "cache", state=tmp_path / "state"))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def test_it_starts_answers_and_is_found_again_by_another_command(small: Callable[..., LocalProcess]) -> None:
    process, later = small(), small()
    process.start()
    assert process.wait_healthy() == "7.0"
    assert later.pid() == process.pid() is not None
    later.start()
    assert later.pid() == process.pid()
    later.stop()
    assert process.pid() is None
    with pytest.raises(NotHealthy):
        process.server.healthy()


def test_killed_it_is_gone_and_starts_again(small: Callable[..., LocalProcess]) -> None:
    process = small()
    process.start()
    process.wait_healthy()
    process.kill()
    assert process.pid() is None
    process.start()
    assert process.wait_healthy() == "7.0"


def test_what_ignores_sigterm_is_killed(small: Callable[..., LocalProcess]) -> None:
    process = small("deaf")
    process.start()
    process.wait_healthy()
    process.stop()
    assert process.pid() is None


def test_what_ends_at_once_shows_its_last_words(small: Callable[..., LocalProcess]) -> None:
    process = small("lame")
    process.start()
    with pytest.raises(CannotStart, match=r"small: ended(.|\n)*no leg to stand on"):
        process.wait_healthy()


def test_a_stranger_with_the_noted_pid_is_left_alone(small: Callable[..., LocalProcess], tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        process = small()
        process.start()
        process.wait_healthy()
        process.stop()
        (tmp_path / "state" / "small" / "pid").write_text(json.dumps({"pid": stranger.pid, "began": "1"}))
        assert process.pid() is None
        process.stop()
        process.kill()
        assert stranger.poll() is None
        stranger.communicate(b"\n")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"pid": 1}', '{"pid": 4194304, "began": "5"}'])
def test_a_pid_file_that_says_nothing_is_no_process(
    small: Callable[..., LocalProcess], tmp_path: Path, text: str
) -> None:
    (tmp_path / "state" / "small").mkdir(parents=True)
    (tmp_path / "state" / "small" / "pid").write_text(text)
    assert small().pid() is None


def test_a_port_that_is_taken_is_said(small: Callable[..., LocalProcess], tmp_path: Path) -> None:
    small().start()
    small().wait_healthy()
    other = LocalProcess(small().server, cache=tmp_path / "cache", state=tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match="has port"):
        other.start()


def test_it_is_installed_once_whoever_asks(tmp_path: Path) -> None:
    server = Small(1)
    threads = [threading.Thread(target=ensure_installed, args=(server, tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert server.installs == 1


def test_an_interrupted_installation_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ensure_installed(Small(1, "interrupted"), tmp_path)
    server = Small(1)
    ensure_installed(server, tmp_path)
    assert server.installs == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CannotInstall, match="small"):
        ensure_installed(Small(1), tmp_path / "cache")


def test_tools_that_fail_or_are_missing_are_said() -> None:
    with pytest.raises(CannotInstall, match="no-such-tool is not installed"):
        run_tool(["no-such-tool", "--now"], timeout_s=1.0)
    with pytest.raises(CannotInstall, match=r"ended with code 3:\nbroken"):
        run_tool(["sh", "-c", "echo broken; exit 3"], timeout_s=5.0)
    with pytest.raises(CannotInstall, match="longer than"):
        run_tool(["sleep", "5"], timeout_s=0.05)
    assert run_tool(["sh", "-c", "echo $FINE"], timeout_s=5.0, environment={"FINE": "yes"}) == "yes\n"
