import json
import os
from pathlib import Path

from services.graphite import Carbon, GraphiteWeb
from services.statsd import Statsd
from stores.metric_catalogue import GRAPHITE_STATS


def test_a_carbon_that_was_killed_finds_no_file_that_says_it_still_runs(tmp_path: Path) -> None:
    carbon = Carbon(12345)
    carbon.prepare(tmp_path, tmp_path)
    pid_file = next(Path(word.partition("=")[2]) for word in carbon.command(tmp_path, tmp_path) if "--pidfile=" in word)
    # Some living process has the number of the old one.
    pid_file.write_text(str(os.getpid()))
    carbon.prepare(tmp_path, tmp_path)
    assert not pid_file.exists()


def test_all_three_know_each_other_on_ports_of_a_test(tmp_path: Path) -> None:
    carbon = Carbon(12345)
    web, statsd = GraphiteWeb(12346, carbon), Statsd(12347, carbon)
    for server in (carbon, web, statsd):
        (tmp_path / server.name).mkdir()
        server.prepare(tmp_path, tmp_path / server.name)
    assert "CACHE_QUERY_PORT = 12344\n" in (tmp_path / "carbon" / "carbon.conf").read_text()
    settings = (tmp_path / "graphite" / "graphite_settings_here.py").read_text()
    assert 'CARBONLINK_HOSTS = ["127.0.0.1:12344"]' in settings
    assert f'WHISPER_DIR = "{tmp_path}/carbon/whisper/"' in settings
    assert json.loads((tmp_path / "statsd" / "settings.json").read_text())["graphitePort"] == 12345


def test_statsd_makes_of_timings_just_what_the_catalogue_says(tmp_path: Path) -> None:
    Statsd().prepare(tmp_path, tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    made = {stat for stat in settings["calculatedTimerMetrics"] if stat != "upper_percent"}
    made |= {f"upper_{quantile}" for quantile in settings["percentThreshold"]}
    assert made == set(GRAPHITE_STATS["timing"])
    assert settings["graphite"] == {"legacyNamespace": False}
