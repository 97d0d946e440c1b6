"""docs/seeds.md names tests and programs that exist."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT, imports, tree

PAGE = (ROOT / "docs" / "seeds.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))
ROWS = [
    *(f"S0.{n}" for n in range(1, 9)),
    *("S1.1", "S1.2", "S1.4", "S1.5", "S1.6"),
    *(f"S3.{n}" for n in range(11, 15)),
    *(f"S4.{n}" for n in range(1, 10)),
]


def _names(path: Path) -> set[str]:
    """Return the names of the functions and classes of a test file, and of the contracts that it takes tests from."""
    nodes = [*ast.walk(tree(path))]
    for module, _ in imports(path):
        if module.startswith("tests.contracts."):
            nodes += ast.walk(tree(ROOT / f"{module.replace('.', '/')}.py"))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("test", [test for test in TESTS if "::" in test])
def test_the_test_exists(test: str) -> None:
    path, *names = test.split("::")
    assert (ROOT / path).is_file()
    assert set(names) <= _names(ROOT / path)


def test_folders_and_programs_exist() -> None:
    assert all((ROOT / test).exists() for test in TESTS if "::" not in test)
    assert all(find_spec(module) for module in re.findall(r"`python -m ([\w.]+)", PAGE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= targets


def test_every_row_is_there_once_and_shown_by_something() -> None:
    rows = re.findall(r"^\| (S\d\.\d+) \| .+ \| (.*) \|$", PAGE, re.MULTILINE)
    assert [row for row, _ in rows] == ROWS
    assert all("`" in shown for _, shown in rows)
