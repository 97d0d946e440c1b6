"""Every form of ``ITEMS_URL`` for Redis: TLS with a password, a socket in the file system, a database, a prefix."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from models.items import Item
from services.local_process import LocalProcess
from services.redis import RedisServer
from services.server import HOST, CannotInstall, cache_folder
from stores.adapters import open_item_reader, open_item_writer
from stores.ports import StoreUnavailable
from tests.conftest import NOT_UP
from tests.services.test_redis_weather import free_port

pytestmark = pytest.mark.skipif("ITEMS_URL_TEST" not in os.environ, reason=f"redis: {NOT_UP}")
PASSWORD = "correct horse"


class GuardedRedis(RedisServer):
    """TLS on a port of its own, a password for everybody, and a socket in the file system."""

    def __init__(self, port: int, tls_port: int, folder: Path) -> None:
        super().__init__(port)
        self.tls_port, self.folder = tls_port, folder

    def command(self, cache: Path, data: Path) -> list[str]:
        return [
            *super().command(cache, data),
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", f"{self.folder}/server.pem", "--tls-key-file", f"{self.folder}/server.key"),
            *("--tls-ca-cert-file", f"{self.folder}/server.pem", "--unixsocket", f"{self.folder}/redis.sock"),
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    folder = tmp_path_factory.mktemp("tls")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    files = ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.pem"]
    subprocess.run([*request, *files], check=True, capture_output=True, timeout=60)
    server = GuardedRedis(free_port(), free_port(), folder)
    process = LocalProcess(server, cache=cache_folder(os.environ), state=folder)
    try:
        process.start()
        process.wait_healthy()
    except CannotInstall as error:
        pytest.skip(f"{error}: {NOT_UP}")
    with redis.Redis.from_url(server.url) as control:
        control.config_set("requirepass", PASSWORD)
        yield server
        control.config_set("requirepass", "")
    process.stop()


def _url(server: GuardedRedis, form: str) -> str:
    secret = PASSWORD.replace(" ", "%20")
    return {
        "tls": f"rediss://:{secret}@{HOST}:{server.tls_port}/1?ssl_ca_certs={server.folder}/server.pem&prefix=shop",
        "socket": f"unix://:{secret}@{server.folder}/redis.sock?db=1&prefix=shop",
        "user": f"redis://default:{secret}@{HOST}:{server.port}/1?prefix=shop",
        "another prefix": f"redis://:{secret}@{HOST}:{server.port}/1?prefix=other",
        "another database": f"redis://:{secret}@{HOST}:{server.port}/2?prefix=shop",
        "no password": f"redis://{HOST}:{server.port}/1?prefix=shop",
        "wrong password": f"redis://:wrong@{HOST}:{server.port}/1?prefix=shop",
        "unknown certificate": f"rediss://:{secret}@{HOST}:{server.tls_port}/1",
    }[form]


def _read(url: str) -> dict[str, Item]:
    async def read() -> dict[str, Item]:
        reader = open_item_reader(url)
        try:
            return await reader.get_many(["i1"])
        finally:
            await reader.close()

    return asyncio.run(read())


@pytest.mark.parametrize("form", ["tls", "socket", "user"])
def test_what_is_written_by_one_way_is_read_by_every_other(server, form):
    item = Item("i1", title=f"By {form}")
    with closing(open_item_writer(_url(server, form))) as writer:
        writer.put_many([item])
    assert [_read(_url(server, other)) for other in ("tls", "socket", "user")] == [{"i1": item}] * 3
    assert _read(_url(server, "another prefix")) == _read(_url(server, "another database")) == {}


@pytest.mark.parametrize("form", ["no password", "wrong password", "unknown certificate"])
def test_who_is_not_let_in_finds_the_store_unavailable(server, form):
    with pytest.raises(StoreUnavailable):
        _read(_url(server, form))
    with closing(open_item_writer(_url(server, form))) as writer, pytest.raises(StoreUnavailable):
        writer.put_many([Item("i1")])
