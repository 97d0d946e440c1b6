"""Each image installs what its room imports, all of it and nothing else, in the versions of requirements.txt."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOMS, ROOT, SERVICE_ROOMS, files, imports, tree

REQUIREMENTS = ROOT / "docker" / "requirements"
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
# The package that a module comes from, where that is not its own name.
# llvmlite: the version that numba itself wants.
COMES_FROM = {
    "faiss": "faiss-cpu",
    "kafka": "kafka-python",
    "bson": "pymongo",
    "llvmlite": "numba",
    "google_crc32c": "google-crc32c",
}
# What runs a room or makes a driver fast without being imported by the room's own source.
SERVER = {"gunicorn", "uvicorn", "uvicorn-worker", "httptools", "uvloop"}
BESIDE = {"recommender_server": SERVER, "faiss_server": SERVER}
SPEEDS_UP = {"redis": "hiredis"}
ADAPTERS = ROOT / "stores" / "adapters.py"


@cache
def _adapters_by_opener() -> dict[str, set[Path]]:
    """Return the files of the adapters that each function of ``stores.adapters`` can open."""
    tables: dict[str, set[Path]] = {}
    for node in tree(ADAPTERS).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            tables[ast.unparse(target)] = {
                ROOT / f"{place.value.partition(':')[0].replace('.', '/')}.py"
                for place in ast.walk(node.value)
                if isinstance(place, ast.Constant) and isinstance(place.value, str) and ":" in place.value
            }
    return {
        node.name: set().union(*(tables.get(name.id, set()) for name in ast.walk(node) if isinstance(name, ast.Name)))
        for node in tree(ADAPTERS).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("open_")
    }


def _reached(path: Path) -> Iterator[Path]:
    """Yield the files of the project that a file imports, or opens by the scheme of a URL."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
            if node.module == "stores.adapters":
                for alias in node.names:
                    yield from _adapters_by_opener().get(alias.name, set())
        else:
            continue
        for name in names:
            if name.partition(".")[0] in ROOMS:
                found = ROOT / f"{name.replace('.', '/')}.py"
                if found.is_file():
                    yield found


def _needed(room: str) -> set[str]:
    """Return the outside modules that a room imports, itself or through what it stands on."""
    waiting, seen, outside = files(room), set[Path](), set[str]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting += _reached(path)
        outside |= {module.partition(".")[0] for module, _ in imports(path)}
    return outside - set(sys.stdlib_module_names) - set(ROOMS)


def _listed(room: str) -> list[str]:
    lines = (REQUIREMENTS / f"{room}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("room", SERVICE_ROOMS)
def test_an_image_installs_just_what_its_room_needs(room: str) -> None:
    listed = _listed(room)
    assert len(listed) == len(set(listed))
    needed = {COMES_FROM.get(module, module) for module in _needed(room)}
    needed |= BESIDE.get(room, set()) | {fast for package, fast in SPEEDS_UP.items() if package in needed}
    assert set(listed) == needed


@pytest.mark.parametrize("room", SERVICE_ROOMS)
def test_versions_stand_in_requirements_txt_alone(room: str) -> None:
    pinned = dict(re.findall(r"^([A-Za-z0-9_-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in _listed(room)), "names only"
    assert set(_listed(room)) <= set(pinned)


def test_servers_do_without_the_large_packages() -> None:
    large = {"torch", "numba", "pyarrow", "matplotlib"}
    assert not set(_listed("recommender_server")) & (large | {"faiss-cpu"})
    assert not set(_listed("faiss_server")) & large


@pytest.mark.parametrize("room", SERVICE_ROOMS)
def test_the_target_of_a_room_holds_its_own_source_and_runs_as_nobody_in_particular(room: str) -> None:
    _, _, rest = DOCKERFILE.partition(f"\nFROM source AS {room}\n")
    stage = rest.partition("\nFROM ")[0]
    assert f"COPY --from=packages_{room} /venv /venv" in stage
    assert re.findall(r"^COPY (\w+) ", stage, re.MULTILINE) == [room]
    assert "\nUSER 10001:10001\n" in stage
    assert f'ENTRYPOINT ["python", "-m", "{room}"]' in stage
    assert "HEALTHCHECK" in stage
    assert f"COPY docker/requirements/{room}.txt /build/room.txt" in DOCKERFILE


def test_the_base_is_pinned_and_is_the_python_of_the_project() -> None:
    (version,) = re.findall(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text()
    assert "curl" not in DOCKERFILE


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE))
    assert all((ROOT / path).exists() for path in copied)
    assert {path for path in copied if not any(path == kept or path.startswith(f"{kept}/") for kept in sent)} == set()
    assert {kept for kept in sent if not any(path == kept or path.startswith(f"{kept}/") for path in copied)} == set()
