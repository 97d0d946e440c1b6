"""FerretDB 1.24 on SQLite files: MongoDB's wire protocol and a real disk, built with Go from its module.

Not MongoDB, which no package registry carries; and not FerretDB as published, but with ``ferretdb.patch``. Its SQLite
backend then finds documents by their indexes (without, not even by ``_id``: every write reads the whole collection,
measured 5 guarded upserts a second into 500 documents), a bulk of more than a hundred updates does not hang, an update
is one step, and an unordered bulk goes on after a duplicate key, as in MongoDB.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pymongo
from pymongo.errors import PyMongoError

from services.server import HOST, CannotInstall, NotHealthy, Server, run_tool

_MODULE, _VERSION = "github.com/FerretDB/FerretDB", "v1.24.2"
# What Go's checksum database says of this version.
_SUM = "h1:trrUU0LbmusMbyubhPS1IELncvrIwKrsRT2LW1UUWCw="
_PATCH = Path(__file__).with_name("ferretdb.patch")
_TOOL_TIMEOUT_S = 900.0
_ASK_TIMEOUT_MS = 2000
# A process that is killed loses nothing; a power loss may take the newest writes, which the trainer publishes again.
_PRAGMAS = "_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"


class Mongo(Server):
    """One FerretDB; every database is one SQLite file below ``databases``."""

    name = "mongo"
    variable = "USERS_URL"
    pin = f"ferretdb-{_VERSION.removeprefix('v')}-patched"
    default_port = 27117

    @property
    def url(self) -> str:
        """The database of the recommender."""
        return self.url_of("recommender")

    def url_of(self, space: str) -> str:
        """A database of that name."""
        return f"mongodb://{HOST}:{self.port}/{space}"

    def install(self, cache: Path) -> None:
        """Fetch the module, patch it, add the version that its own build adds, build. Raises ``CannotInstall``.

        Needs Go 1.24, and ``patch``; no C compiler.
        """
        folder = cache / self.pin
        source = folder / "source"
        download = ["go", "mod", "download", "-json", f"{_MODULE}@{_VERSION}"]
        answer = run_tool(download, cwd=folder, timeout_s=_TOOL_TIMEOUT_S)
        # Lines about the progress may come before the answer.
        module = json.loads(answer[answer.index("{") :])
        if module["Sum"] != _SUM:
            raise CannotInstall(f"{_MODULE} {_VERSION} has the checksum {module['Sum']} instead of {_SUM}")
        shutil.rmtree(source, ignore_errors=True)
        # Go's own copy is not writable.
        run_tool(["cp", "-R", module["Dir"], str(source)], timeout_s=_TOOL_TIMEOUT_S)
        run_tool(["chmod", "-R", "u+w", str(source)], timeout_s=_TOOL_TIMEOUT_S)
        run_tool(["patch", "-p1", "-i", str(_PATCH)], cwd=source, timeout_s=_TOOL_TIMEOUT_S)
        (source / "build" / "version" / "version.txt").write_text(_VERSION)
        build = ["go", "build", "-trimpath", "-buildvcs=false", "-o", str(folder / "ferretdb"), "./cmd/ferretdb"]
        run_tool(build, cwd=source, timeout_s=_TOOL_TIMEOUT_S, environment={"CGO_ENABLED": "0"})
        shutil.rmtree(source)

    def prepare(self, cache: Path, data: Path) -> None:
        """Make the folder of the databases."""
        (data / "databases").mkdir(exist_ok=True)

    def command(self, cache: Path, data: Path) -> list[str]:
        """Loopback only; it tells nobody that it runs."""
        return [
            *(str(cache / self.pin / "ferretdb"), f"--listen-addr={HOST}:{self.port}", f"--state-dir={data}"),
            *("--handler=sqlite", f"--sqlite-url=file:{data}/databases/?{_PRAGMAS}"),
            *("--telemetry=disable", "--debug-addr=-", "--log-level=ERROR"),
        ]

    def environment(self, cache: Path, data: Path) -> Mapping[str, str]:
        """The setting that programs ask before they tell anybody anything; and less time for collecting garbage."""
        return {"DO_NOT_TRACK": "1", "GOGC": "400"}

    def healthy(self) -> str:
        """Ask for the version; whatever speaks the protocol will do."""
        try:
            client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
                HOST, self.port, timeoutMS=_ASK_TIMEOUT_MS, serverSelectionTimeoutMS=_ASK_TIMEOUT_MS
            )
            with closing(client):
                about = client.admin.command("buildInfo")
        except PyMongoError as error:
            raise NotHealthy(str(error)) from error
        return f"FerretDB {about['ferretdbVersion']}" if "ferretdbVersion" in about else f"MongoDB {about['version']}"
