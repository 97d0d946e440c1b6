"""The manifests: valid against Kubernetes' own schemas, and what they must hold beyond that."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from models.settings import load
from recommender_server.settings import RecommenderSettings
from tests.architecture.source_tree import ROOT

FILES = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))
OBJECTS = [(path.name, document) for path in FILES for document in yaml.safe_load_all(path.read_text())]
# Two versions: what is written here must not depend on the newest one.
VERSIONS = ("1.31", "1.37")
PODS = {document["metadata"]["name"]: document for _, document in OBJECTS if "template" in document.get("spec", {})}


def _pod(name: str) -> dict[str, Any]:
    return PODS[name]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("file", "document"), OBJECTS)
def test_every_object_is_valid(file: str, document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pods_may_do_little(name: str) -> None:
    pod = _pod(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_pods_run_the_images_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    built = {service["image"] for service in compose["services"].values() if "build" in service}
    assert {_pod(name)["containers"][0]["image"] for name in PODS} == built


def test_there_is_one_trainer_and_one_index_and_more_than_one_recommender() -> None:
    assert (PODS["trainer"]["kind"], PODS["trainer"]["spec"]["replicas"]) == ("StatefulSet", 1)
    assert PODS["faiss-server"]["spec"]["replicas"] == 1
    assert PODS["faiss-server"]["spec"]["strategy"] == {"type": "Recreate"}
    assert PODS["recommender"]["spec"]["replicas"] == 2


def test_whoever_answers_is_probed() -> None:
    (recommender,), (index,) = _pod("recommender")["containers"], _pod("faiss-server")["containers"]
    assert recommender["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert recommender["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert index["livenessProbe"]["httpGet"]["path"] == "/healthz"
    # Not ready until it holds the table, it would never be sent one.
    assert "readinessProbe" not in index


def test_what_pods_refer_to_is_there() -> None:
    names = {(document["kind"], document["metadata"]["name"]) for _, document in OBJECTS}
    for name in PODS:
        pod = _pod(name)
        (container,) = pod["containers"]
        for source in container["envFrom"]:
            kind = "ConfigMap" if "configMapRef" in source else "Secret"
            assert (kind, next(iter(source.values()))["name"]) in names
        for volume in pod["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            # The history is the user's own.
            assert claim in (None, "history") or ("PersistentVolumeClaim", claim) in names
    assert {document["metadata"]["namespace"] for _, document in OBJECTS if document["kind"] != "Namespace"} == {
        "recommender"
    }


def test_the_settings_are_settings() -> None:
    given = {
        name: value
        for _, document in OBJECTS
        for name, value in {**document.get("data", {}), **document.get("stringData", {})}.items()
    }
    urls = {"EVENTS_URL", "USERS_URL", "ITEMS_URL", "INDEX_URL", "METRICS_URL"}
    assert set(given) == {*urls, "SNAPSHOT_DIR", "API_KEYS"}
    load(RecommenderSettings, given)
