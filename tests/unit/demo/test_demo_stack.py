from __future__ import annotations

from pathlib import Path

import pytest

from demo import stack
from demo.stack import NoServers, folder_of, stores_of
from models.settings import load
from stores.store_settings import StoreSettings


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.subprocess, "call", lambda command: 0)


def test_embedded_stores_are_files_of_the_demo() -> None:
    stores = stores_of("embedded", folder_of("embedded"))
    assert stores["EVENTS_URL"] == "sqlite:///data/demo/events.db"
    assert {"USERS_URL", "ITEMS_URL"} < stores.keys()


def test_on_servers_a_run_keeps_its_own_space_and_another_run_gets_another(tmp_path: Path, up: None) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "space").write_text("demo-of-yesterday")
    first, again, other = (stores_of("full", tmp_path / name) for name in ("a", "a", "b"))
    assert first == again
    for name in ("EVENTS_URL", "USERS_URL", "ITEMS_URL"):
        assert first[name] != other[name]
        assert "demo-of-yesterday" in other[name]


def test_every_store_has_its_server(tmp_path: Path, up: None) -> None:
    stores = stores_of("full", tmp_path)
    # Adapters exist for all of them.
    settings = load(StoreSettings, stores)
    assert settings.users_url.startswith("mongodb://")
    assert stores["METRICS_URL"].startswith("statsd://")


def test_without_servers_there_is_no_full_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.subprocess, "call", lambda command: 1)
    with pytest.raises(NoServers):
        stores_of("full", tmp_path)
