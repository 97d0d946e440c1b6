"""compose.yaml: what it must hold whoever reads it, and what Docker's own client makes of it where there is one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.processes import INDEX_PORT, RECOMMENDER_PORT
from services.graphite import Carbon
from services.registered import SERVERS
from services.statsd import Statsd
from stores.adapters import check_events_url, check_items_url, check_metrics_url, check_users_url
from tests.architecture.source_tree import ROOT

FILE = ROOT / "docker" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
THEIRS = {name: service for name, service in SERVICES.items() if "build" not in service}
TARGETS = {
    "faiss_server": "faiss_server",
    "trainer": "incremental_training",
    "recommender": "recommender_server",
    "initial_training": "initial_training",
}


def _environment_file() -> dict[str, str]:
    lines = (ROOT / "docker" / "infra.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _client(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", "-f", str(FILE), *arguments]
    # Whoever stops containers or starts the servers alone has no key at hand.
    environ = {name: value for name, value in os.environ.items() if name != "API_KEYS"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)


def test_the_rooms_are_built_from_their_targets_in_the_version_of_the_project() -> None:
    assert {name: service["build"]["target"] for name, service in OURS.items()} == TARGETS
    version = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    assert {service["image"].rpartition(":")[2] for service in OURS.values()} == {version}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(place.startswith("/tmp") for place in service["tmpfs"])
    assert service["mem_limit"] and service["pids_limit"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", THEIRS)
def test_servers_of_others_are_pinned_asked_for_their_health_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":\d+(\.\d+)+", service["image"]), "a version, not a moving tag"
    assert service["healthcheck"]["test"]
    assert "curl" not in service["healthcheck"]["test"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["profiles"] in (["infra"], ["monitoring"])


def test_ports_are_on_the_loopback() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published["faiss_server"] == [], "only the trainer and the recommender speak to the index"
    wrong = [
        port
        for ports in published.values()
        for port in ports
        if not re.match(r"(127\.0\.0\.1|\$\{RECOMMENDER_ADDRESS:-127\.0\.0\.1\}):\d+:\d+(/udp)?$", port)
    ]
    assert not wrong


def test_the_rooms_meet_at_the_ports_they_listen_on() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert SERVICES["trainer"]["environment"]["INDEX_URL"] == f"http://faiss_server:{INDEX_PORT}"
    assert f'"0.0.0.0:{INDEX_PORT}"' in dockerfile
    assert f'"0.0.0.0:{RECOMMENDER_PORT}"' in dockerfile
    assert any(port.endswith(f":{RECOMMENDER_PORT}:{RECOMMENDER_PORT}") for port in SERVICES["recommender"]["ports"])


def test_who_needs_another_starts_after_it_is_healthy() -> None:
    for name in ("trainer", "recommender"):
        waits_for = SERVICES[name]["depends_on"] | SERVICES[name]["depends_on"].get("<<", {})
        assert waits_for["faiss_server"]["condition"] == "service_healthy"
        for server in set(THEIRS) - {"grafana"}:
            assert waits_for[server] == {"condition": "service_healthy", "required": False}


def test_what_must_survive_is_on_named_volumes() -> None:
    used = {
        place.partition(":")[0]
        for service in SERVICES.values()
        for place in service.get("volumes", [])
        if isinstance(place, str) and not place.startswith(".")
    }
    assert used == set(COMPOSE["volumes"])
    for name in ("trainer", "recommender", "initial_training"):
        assert "data:/data" in SERVICES[name]["volumes"]


def test_files_that_are_mounted_exist() -> None:
    places = [place for service in SERVICES.values() for place in service.get("volumes", []) if isinstance(place, str)]
    mounted = [place.split(":")[0] for place in places if place.startswith(".")]
    assert mounted
    assert all((FILE.parent / place).exists() for place in mounted)


def test_infra_differs_by_urls_and_profiles_alone() -> None:
    given = _environment_file()
    assert set(given) == {"COMPOSE_PROFILES", "EVENTS_URL", "USERS_URL", "ITEMS_URL", "METRICS_URL"}
    for name, service in SERVICES.items():
        profiles = service.get("profiles", [])
        assert set(profiles) <= {"infra", "monitoring", "initial"}, name
    for name in ("EVENTS_URL", "USERS_URL", "ITEMS_URL"):
        assert re.match(r"\$\{" + name + r":-sqlite:////data/\w+\.db\}$", COMPOSE["x-urls"][name])


def test_statsd_names_and_computes_what_the_local_one_does(tmp_path: Path) -> None:
    Statsd().prepare(tmp_path, tmp_path)
    local = json.loads((tmp_path / "settings.json").read_text())
    ours = json.loads((ROOT / "docker" / "statsd.json").read_text())
    for name in ("graphite", "percentThreshold", "calculatedTimerMetrics", "backends"):
        assert ours[name] == local[name], name


@pytest.mark.parametrize("environment", [(), ("--env-file", str(ROOT / "docker" / "infra.env"))])
def test_docker_compose_accepts_it(environment: tuple[str, ...]) -> None:
    try:
        known = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        known = False
    if not known:
        pytest.skip("NOT CHECKED by `docker compose config`: Docker's client with its plugin compose is not installed")
    done = _client(*environment, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    servers = {"kafka", "mongo", "redis", "graphite", "grafana"} if environment else set()
    assert set(services) == {"faiss_server", "trainer", "recommender"} | servers
    assert services["trainer"]["environment"]["EVENTS_URL"].startswith("kafka:" if environment else "sqlite:")


def test_the_urls_of_infra_have_adapters() -> None:
    given = _environment_file()
    check_events_url(given["EVENTS_URL"])
    check_users_url(given["USERS_URL"])
    check_items_url(given["ITEMS_URL"])
    check_metrics_url(given["METRICS_URL"])
    check_metrics_url("")


def test_whoever_uses_the_servers_finds_them_where_the_local_ones_are() -> None:
    published = {port for service in THEIRS.values() for port in service.get("ports", [])}
    places = {re.sub(r"^127\.0\.0\.1:(\d+):\d+", r"\1", port) for port in published}
    for kind in SERVERS:
        assert str(kind.default_port) in places, kind.name
    assert {str(Carbon().query_port), f"{Statsd.default_port}/udp"} <= places
