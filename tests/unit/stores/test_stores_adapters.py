import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stores import adapters

ROOT = Path(__file__).parents[3]
SYNC = (adapters.open_event_log, adapters.open_user_writer, adapters.open_item_writer)
ASYNC = (adapters.open_async_event_log, adapters.open_user_reader, adapters.open_item_reader)


@pytest.mark.parametrize("open_adapter", SYNC + ASYNC)
@pytest.mark.parametrize("url", ["oracle://host/db", "events.db", ""])
def test_an_unknown_scheme_names_the_known_ones(open_adapter, url):
    with pytest.raises(ValueError, match=r"known are .*sqlite"):
        open_adapter(url)


@pytest.mark.parametrize("open_adapter", SYNC + ASYNC)
def test_a_scheme_that_is_misspelt_does_not_show_the_password(open_adapter):
    with pytest.raises(ValueError, match="known are") as refused:
        open_adapter("kafak://me:secret@host:9092")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["kafka://host", "kafka://host:9092?partition=2", "kafka://me:secret@host:9092/a/b"])
def test_a_kafka_url_is_read_before_anything_is_opened(url):
    with pytest.raises(ValueError, match=r"host:port|parameters are|topic") as refused:
        adapters.check_events_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("open_adapter", SYNC)
def test_a_sqlite_url_opens_what_the_trainer_uses(open_adapter, tmp_path):
    open_adapter(f"sqlite:///{tmp_path}/store.db").close()
    assert (tmp_path / "store.db").exists()


@pytest.mark.parametrize("open_adapter", ASYNC)
def test_a_sqlite_url_opens_what_serving_uses(open_adapter, tmp_path):
    async def open_and_close() -> None:
        await open_adapter(f"sqlite:///{tmp_path}/store.db").close()

    asyncio.run(open_and_close())
    assert (tmp_path / "store.db").exists()


def test_an_http_url_opens_the_index():
    adapters.open_index_writer("http://127.0.0.1:1").close()

    async def open_and_close() -> None:
        await adapters.open_index_reader("http://127.0.0.1:1").close()

    asyncio.run(open_and_close())


def test_a_driver_is_imported_when_its_scheme_is_asked_for_and_not_before(tmp_path):
    program = (
        "import sys; from stores import adapters; assert 'sqlite3' not in sys.modules;"
        f"adapters.open_event_log('sqlite:///{tmp_path}/events.db').close(); assert 'sqlite3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
