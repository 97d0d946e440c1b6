"""StatsD, the original in JavaScript, from npm: adds up what is sent over UDP and tells carbon every second."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from services.graphite import Carbon
from services.server import HOST, NotHealthy, Server, run_tool

_VERSION = "0.9.0"
_INSTALL_TIMEOUT_S = 300.0
_ASK_TIMEOUT_S = 2.0
FLUSH_EVERY_S = 1.0
# What it makes of a timing, of all that it could: each is a file in Graphite.
_TIMER_STATS = ("count", "count_ps", "lower", "mean", "median", "sum", "upper", "upper_percent")


class Statsd(Server):
    """One StatsD daemon; the TCP port of its administration has the same number as its UDP port."""

    name = "statsd"
    variable = "METRICS_URL"
    pin = f"statsd-{_VERSION}"
    default_port = 18125

    def __init__(self, port: int | None = None, carbon: Carbon | None = None) -> None:
        super().__init__(port)
        self._carbon = carbon or Carbon()

    @property
    def url(self) -> str:
        """Without a prefix: names begin with ``stores.metric_catalogue.STATSD_PREFIX``."""
        return f"statsd://{HOST}:{self.port}"

    def install(self, cache: Path) -> None:
        """Install the package and the one it depends on; no script of a package runs."""
        options = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(cache / self.pin)]
        run_tool(["npm", "install", *options, f"statsd@{_VERSION}", "generic-pool@2.2.0"], timeout_s=_INSTALL_TIMEOUT_S)

    def prepare(self, cache: Path, data: Path) -> None:
        """Write the settings, with the names and quantiles that ``stores.metric_catalogue`` counts on."""
        settings = {
            "address": HOST,
            "port": self.port,
            "mgmt_address": HOST,
            "mgmt_port": self.port,
            "flushInterval": int(FLUSH_EVERY_S * 1000),
            "percentThreshold": [50, 90, 99],
            "calculatedTimerMetrics": list(_TIMER_STATS),
            "backends": ["./backends/graphite"],
            "graphiteHost": HOST,
            "graphitePort": self._carbon.port,
            "graphite": {"legacyNamespace": False},
        }
        (data / "settings.json").write_text(json.dumps(settings, indent=1))

    def command(self, cache: Path, data: Path) -> list[str]:
        """Run the daemon under node."""
        return ["node", str(cache / self.pin / "node_modules" / "statsd" / "stats.js"), str(data / "settings.json")]

    def healthy(self) -> str:
        """Ask the administration port, which is opened after the UDP port."""
        try:
            with socket.create_connection((HOST, self.port), timeout=_ASK_TIMEOUT_S) as connection:
                connection.sendall(b"health")
                with connection.makefile() as answers:
                    answer = answers.readline().strip()
        except OSError as error:
            raise NotHealthy(f"statsd: {error}") from error
        if answer != "health: up":
            raise NotHealthy(f"statsd says {answer!r}")
        return f"StatsD {_VERSION}"
