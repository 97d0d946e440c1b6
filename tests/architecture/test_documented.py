"""Every setting and every metric is documented, and nothing undeclared is used."""

from __future__ import annotations

import ast

from docs.generate import metrics_page, openapi_documents, readme_with, settings_table
from stores.metric_catalogue import CATALOGUE
from tests.architecture.source_tree import ROOMS, ROOT, files, name_of, tree


def test_settings_table_is_the_generated_one() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme == readme_with(settings_table(), readme), "run `make docs`"


def test_metrics_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page(), "run `make docs`"


def test_openapi_documents_are_the_generated_ones() -> None:
    for name, written in openapi_documents().items():
        assert (ROOT / "docs" / name).read_text() == written, f"{name}: run `make docs`"


def test_every_metric_in_use_is_declared() -> None:
    wrong = []
    for path in files(*ROOMS):
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("count", "gauge", "timing")
                and "metrics" in ast.unparse(node.func.value).lower()
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and node.args[0].value not in CATALOGUE
            ):
                wrong.append(f"{name_of(path)}:{node.lineno} uses {node.args[0].value!r}")
    assert not wrong, "\n".join(wrong)


def test_every_declared_metric_is_recorded_somewhere() -> None:
    written = {
        node.value
        for path in files(*ROOMS)
        if path.name != "metric_catalogue.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(CATALOGUE) <= written, sorted(set(CATALOGUE) - written)


def test_every_environment_name_is_a_declared_setting() -> None:
    # A name read past the settings would be a setting that nobody can find; FAILPOINT is for tests alone.
    read = set()
    for path in files(*ROOMS):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func) and node.args:
                read |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert read <= {"FAILPOINT"}, read
