import os
import signal
import socket
import time

import pytest

from demo import processes
from demo.processes import Services


def started(tmp_path, procfile):
    (tmp_path / "Procfile").write_text(procfile)
    services = Services(
        processes.environment(tmp_path, os.environ, {}), tmp_path / "services.log", tmp_path / "Procfile"
    )
    return services, tmp_path / "services.log"


def wait_for(condition, timeout_s=20.0):
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not come about in time"
        time.sleep(0.02)


WELL_BEHAVED = (
    'exec python -c "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); '
    "print('here', flush=True); time.sleep(60)\""
)


def test_services_that_end_when_told_to_report_code_0(tmp_path):
    services, log = started(tmp_path, f"one: {WELL_BEHAVED}\ntwo: {WELL_BEHAVED}\n")
    wait_for(lambda: log.read_text().count("here") == 2)
    assert services.alive()
    assert services.stop() == {"one": 0, "two": 0}
    assert not services.alive()


def test_when_one_fails_all_end_and_its_code_is_known(tmp_path):
    services, _ = started(tmp_path, f"good: {WELL_BEHAVED}\nbad: echo alas; exec python -c 'raise SystemExit(7)'\n")
    wait_for(lambda: not services.alive())
    codes = services.stop()
    assert codes["bad"] == 7
    assert codes.keys() == {"good", "bad"}
    assert "alas" in services.last_words(["bad"])
    assert "alas" not in services.last_words(["good"])
    assert "alas" in services.last_words([])


def test_stopping_leaves_no_process_behind(tmp_path):
    pid_file = tmp_path / "pid"
    services, _ = started(tmp_path, f"one: echo $$ > {pid_file}; exec sleep 60\n")
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip())
    pid = int(pid_file.read_text())
    assert services.stop() == {"one": -signal.SIGTERM}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stopping_at_once_leaves_no_process_behind_either(tmp_path):
    for _ in range(3):
        services, _ = started(tmp_path, "one: exec sleep 60\ntwo: exec sleep 60\n")
        assert services.stop() == {"one": -signal.SIGTERM, "two": -signal.SIGTERM}


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(processes, "RECOMMENDER_PORT", taken.getsockname()[1])
        monkeypatch.setattr(processes, "INDEX_PORT", free.getsockname()[1])
        assert processes.ports_in_use() == [taken.getsockname()[1]]


def test_one_demo_at_a_time(tmp_path):
    first = processes.lock(tmp_path)
    assert first is not None
    assert processes.lock(tmp_path) is None
    first.close()
    again = processes.lock(tmp_path)
    assert again is not None
    again.close()
