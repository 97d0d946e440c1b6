"""Who may import whom, and where each outside package lives (DESIGN §2)."""

from __future__ import annotations

import ast
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOMS, ROOT, SERVICE_ROOMS, files, imports, name_of, tree

ALLOWED = {
    "models": {"models"},
    "stores": {"models", "stores"},
    **{room: {"models", "stores", room} for room in SERVICE_ROOMS},
}

# Each outside package and the files that may import it.
HOMES = {
    "sqlite3": ["stores/sqlite_*.py"],
    "kafka": ["stores/kafka_*.py"],
    "pymongo": ["stores/mongo_*.py"],
    "bson": ["stores/mongo_*.py"],
    "redis": ["stores/redis_item_store.py"],
    "statsd": ["stores/statsd_metrics.py"],
    "pyarrow": ["stores/history*.py"],
    "faiss": ["faiss_server/*.py"],
    "torch": ["models/gmf.py", "models/embedding_table.py", "initial_training/*.py", "incremental_training/*.py"],
    "falcon": ["faiss_server/*.py", "recommender_server/*.py"],
    "safetensors": ["models/snapshot.py"],
    "aiohttp": ["stores/http_item_index.py"],
}

# What an outside package may cost a room that has no use for it is checked where it matters: the servers start with
# torch (and faiss) not importable, see tests/system.


def _folders(name: str) -> list[Path]:
    return files(name)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_its_arrows_allow(room: str) -> None:
    own = set(ROOMS) | {"recommender_client", "services", "demo", "benchmarks", "tests"}
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in files(room)
        for module, line in imports(path)
        if module.partition(".")[0] in own - ALLOWED[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_python_client_needs_the_standard_library_alone() -> None:
    used = {module for path in files("recommender_client") for module, _ in imports(path)}
    assert {module.partition(".")[0] for module in used} <= sys.stdlib_module_names, used


def test_every_driver_stays_in_its_home() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}; its home is {', '.join(homes)}"
        for path in files(*ROOMS)
        for module, line in imports(path)
        if (homes := HOMES.get(module.partition(".")[0])) is not None
        and not any(fnmatch(name_of(path), home) for home in homes)
    ]
    assert not wrong, "\n".join(wrong)


def test_only_entry_points_read_the_environment() -> None:
    wrong = []
    for path in files(*ROOMS):
        if path.name == "__main__.py":
            continue
        allowed = [
            range(node.lineno, (node.end_lineno or node.lineno) + 1)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.FunctionDef) and node.name == "app_from_env"
        ]
        for node in ast.walk(tree(path)):
            reads = (
                isinstance(node, ast.Attribute)
                and node.attr in ("environ", "getenv")
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            )
            if reads and not any(node.lineno in lines for lines in allowed):
                wrong.append(f"{name_of(path)}:{node.lineno} reads the environment")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_pickled() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in files(*ROOMS, "demo")
        for module, line in imports(path)
        if module.partition(".")[0] in ("pickle", "shelve", "dill", "joblib")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    wrong = [
        name_of(path) for path in files(*ROOMS, "services", "demo", "benchmarks") if vague & set(path.stem.split("_"))
    ]
    assert not wrong, wrong


def test_the_rooms_exist() -> None:
    assert all((ROOT / room / "__init__.py").is_file() for room in ROOMS)
