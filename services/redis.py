"""redis-server from Debian, unpacked beside the machine's own packages where it is not installed already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.server import HOST, CannotInstall, NotHealthy, Server, run_tool

# What redis-server links to, beside what every Debian has.
_PACKAGES = (
    *("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "lua-cjson", "lua-bitop", "libhiredis0.14"),
    *("libatomic1", "liblzf1"),
)
_DOWNLOAD_TIMEOUT_S = 300.0
_ASK_TIMEOUT_S = 2.0


class RedisServer(Server):
    """One Redis that keeps what it is told in an append-only file, synced once a second."""

    name = "redis"
    variable = "ITEMS_URL"
    pin = "redis-debian-2"
    default_port = 16379

    @property
    def url(self) -> str:
        """Database 0 of this server."""
        return f"redis://{HOST}:{self.port}/0"

    def url_of(self, space: str) -> str:
        """All keys begin with the name of the space."""
        return f"{self.url}?prefix={space}"

    def install(self, cache: Path) -> None:
        """Take the machine's redis-server; else unpack Debian's into the cache, which starts no daemon of its own."""
        if shutil.which("redis-server"):
            return
        if shutil.which("apt-get") is None:
            raise CannotInstall("redis: install redis-server 7 and have it on the PATH")
        folder = cache / self.pin
        run_tool(["apt-get", "download", *_PACKAGES], cwd=folder, timeout_s=_DOWNLOAD_TIMEOUT_S)
        for package in sorted(folder.glob("*.deb")):
            run_tool(["dpkg-deb", "--extract", str(package), str(folder)], timeout_s=_DOWNLOAD_TIMEOUT_S)

    def command(self, cache: Path, data: Path) -> list[str]:
        """Everything by argument: no file of the machine is read."""
        program = str(_unpacked(cache)) if _unpacked(cache).exists() else "redis-server"
        return [
            *(program, "--bind", HOST, "--port", str(self.port), "--dir", str(data)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"),
        ]

    def environment(self, cache: Path, data: Path) -> Mapping[str, str]:
        """Where the unpacked libraries are."""
        folders = sorted({str(path.parent) for path in (cache / self.pin).glob("usr/lib/*/*.so*")})
        return {"LD_LIBRARY_PATH": ":".join(folders)} if _unpacked(cache).exists() else {}

    def healthy(self) -> str:
        """Ask for the version; a server that still loads its file is not healthy."""
        client = redis.Redis(
            host=HOST,
            port=self.port,
            socket_timeout=_ASK_TIMEOUT_S,
            socket_connect_timeout=_ASK_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            with closing(client):
                client.ping()
                return f"Redis {client.info('server')['redis_version']}"
        except redis.RedisError as error:
            raise NotHealthy(str(error)) from error


def _unpacked(cache: Path) -> Path:
    return cache / RedisServer.pin / "usr" / "bin" / "redis-server"
