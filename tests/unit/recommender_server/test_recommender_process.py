import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECOMMENDER = [sys.executable, "-m", "recommender_server"]
GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "recommender_server.app:app_from_env()"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
]


def environment(directory, **settings):
    urls = {f"{name.upper()}_URL": f"sqlite:///{directory}/{name}.db" for name in ("events", "users", "items")}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **urls, **settings}


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("command", [RECOMMENDER, GUNICORN], ids=["by itself", "by gunicorn"])
def test_it_serves_under_gunicorn_and_ends_cleanly_when_told_to(tmp_path, command):
    port = free_port()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}"], env=environment(tmp_path), stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        event = {"user_id": "u", "item_id": "i", "type": "buy"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/events", json.dumps(event).encode())
        accepted = answer_of(request, process)
        history = answer_of(urllib.request.Request(f"http://127.0.0.1:{port}/v1/users/u/history"), process)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    assert accepted["receipts"] == ["0:0"]
    assert [(item["item_id"], item["state"]) for item in history["items"]] == [("i", "pending")]
    assert code == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def answer_of(request, process, patience_s=30.0):
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return json.load(response)
        except OSError:  # not listening yet
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_bad_settings_are_all_named_and_end_the_program_with_code_2(tmp_path):
    finished = subprocess.run(
        RECOMMENDER,
        env=environment(tmp_path, MAX_K="many", SERVED_SAMPLE_RATE="2", POSITIVE_EVENTS="", EVENT_FIELDS="a:b"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 2
    for name in ("MAX_K", "SERVED_SAMPLE_RATE", "POSITIVE_EVENTS", "EVENT_FIELDS"):
        assert name in finished.stderr


def test_gunicorn_gives_up_on_bad_settings_too(tmp_path):
    finished = subprocess.run(
        [*GUNICORN, "--bind", f"127.0.0.1:{free_port()}"],
        env=environment(tmp_path, MAX_K="many"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 3
    assert "MAX_K" in finished.stderr


def test_a_public_bind_without_a_key_refuses_to_start(tmp_path):
    command = [*RECOMMENDER, "--bind", f"0.0.0.0:{free_port()}"]
    ended = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "set API_KEYS" in ended.stderr
