"""Graphite: carbon takes series and keeps them in whisper files, graphite-web draws and renders them as JSON.

Both from PyPI, in a virtual environment of their own: what they need is older than what we need.
"""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from services.server import HOST, NotHealthy, Server, run_tool

# graphite-web 1.1.10 runs on Django 3.0 at most, which runs on Python 3.11.
_REQUIREMENTS = (
    *("graphite-web==1.1.10", "carbon==1.1.10", "whisper==1.1.10", "Django==3.0.14", "django-tagging==0.4.3"),
    *("Twisted==26.10.0", "txAMQP==0.8.2", "gunicorn==27.0.1", "asgiref==3.13.0", "attrs==26.1.0", "Automat==25.4.16"),
    *("cachetools==8.0.0", "cairocffi==1.7.1", "cffi==2.1.1", "constantly==23.10.4", "hyperlink==21.0.0"),
    *("idna==3.20", "Incremental==24.11.0", "packaging==26.3", "pycparser==3.12", "pyparsing==3.3.3", "pytz==2026.6"),
    *("six==1.17.0", "sqlparse==0.6.1", "typing_extensions==4.16.0", "urllib3==2.8.0", "zope.interface==8.7"),
    "setuptools==65.5.0",
)
_INSTALL_TIMEOUT_S = 600.0
_ASK_TIMEOUT_S = 2.0
# Every second for an hour, then coarser. First pattern wins; counts add up where averages would hide them.
_SCHEMAS = "[all]\npattern = .*\nretentions = 1s:1h,10s:1d,1m:14d\n"
_AGGREGATION = (
    "[counted]\npattern = \\.(count|sum)$\nxFilesFactor = 0\naggregationMethod = sum\n"
    "[highest]\npattern = \\.upper[_0-9]*$\nxFilesFactor = 0\naggregationMethod = max\n"
    "[rest]\npattern = .*\nxFilesFactor = 0\naggregationMethod = average\n"
)


class _FromPyPI(Server):
    pin = "graphite-1.1.10"

    def install(self, cache: Path) -> None:
        """Make the virtual environment that carbon and graphite-web share."""
        folder = cache / self.pin
        run_tool([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], timeout_s=_INSTALL_TIMEOUT_S)
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
        run_tool([*pip, *_REQUIREMENTS], timeout_s=_INSTALL_TIMEOUT_S)

    def _program(self, cache: Path, name: str) -> str:
        return str(cache / self.pin / "venv" / "bin" / name)


class Carbon(_FromPyPI):
    """carbon-cache: the plain-text port, the port that graphite-web asks for what is not on disk yet, and the files.

    The query port is one below ``port``.
    """

    name = "carbon"
    variable = "CARBON_URL"
    default_port = 12003

    @property
    def url(self) -> str:
        """Where plain text goes."""
        return f"tcp://{HOST}:{self.port}"

    @property
    def query_port(self) -> int:
        """Where graphite-web asks."""
        return self.port - 1

    def prepare(self, cache: Path, data: Path) -> None:
        """Write carbon's three files."""
        # A killed carbon leaves it, and whatever has that number now would be taken for a running carbon.
        _pid_file(data).unlink(missing_ok=True)
        (data / "carbon.conf").write_text(
            "[cache]\n"
            f"STORAGE_DIR = {data}\nLOCAL_DATA_DIR = {data}/whisper/\nCONF_DIR = {data}\nLOG_DIR = {data}\n"
            f"PID_DIR = {data}\nLINE_RECEIVER_INTERFACE = {HOST}\nLINE_RECEIVER_PORT = {self.port}\n"
            # 0: not this one.
            "PICKLE_RECEIVER_PORT = 0\n"
            f"CACHE_QUERY_INTERFACE = {HOST}\nCACHE_QUERY_PORT = {self.query_port}\n"
            "MAX_CREATES_PER_MINUTE = inf\nMAX_UPDATES_PER_SECOND = 2000\nWHISPER_SPARSE_CREATE = True\n"
            "LOG_UPDATES = False\nLOG_CREATES = False\nLOG_CACHE_HITS = False\n"
        )
        (data / "storage-schemas.conf").write_text(_SCHEMAS)
        (data / "storage-aggregation.conf").write_text(_AGGREGATION)

    def command(self, cache: Path, data: Path) -> list[str]:
        """Run carbon-cache; ``--debug`` is its word for the foreground and the log on standard output."""
        python, program = self._program(cache, "python"), self._program(cache, "carbon-cache.py")
        return [python, program, f"--config={data}/carbon.conf", f"--pidfile={_pid_file(data)}", "--debug", "start"]

    def environment(self, cache: Path, data: Path) -> Mapping[str, str]:
        """Carbon wants a root, whatever its settings say."""
        return {"GRAPHITE_ROOT": str(data)}

    def healthy(self) -> str:
        """Look whether both ports are taken; carbon has no other sign of life."""
        for port in (self.port, self.query_port):
            try:
                socket.create_connection((HOST, port), timeout=_ASK_TIMEOUT_S).close()
            except OSError as error:
                raise NotHealthy(f"carbon: port {port}: {error}") from error
        return f"{self.pin} (carbon)"


class GraphiteWeb(_FromPyPI):
    """graphite-web's render API over the files and the memory of the carbon beside it."""

    name = "graphite"
    variable = "GRAPHITE_URL"
    default_port = 18080

    def __init__(self, port: int | None = None, carbon: Carbon | None = None) -> None:
        super().__init__(port)
        self._carbon = carbon or Carbon()

    @property
    def url(self) -> str:
        """What a Grafana data source of type graphite points at."""
        return f"http://{HOST}:{self.port}"

    def prepare(self, cache: Path, data: Path) -> None:
        """Write the settings module; the series are those in carbon's folder."""
        whisper = f"{data.parent}/{self._carbon.name}/whisper/"
        (data / "log").mkdir(exist_ok=True)
        (data / "graphite_settings_here.py").write_text(
            'SECRET_KEY = "on the loopback only"\n'
            f'ALLOWED_HOSTS = ["{HOST}", "localhost"]\nTIME_ZONE = "UTC"\n'
            f'STORAGE_DIR = CONF_DIR = "{data}"\nLOG_DIR = "{data}/log"\nINDEX_FILE = "{data}/index"\n'
            f'WHISPER_DIR = "{whisper}"\nSTANDARD_DIRS = [WHISPER_DIR]\n'
            f'CARBONLINK_HOSTS = ["{HOST}:{self._carbon.query_port}"]\n'
            # A series is found, and its newest point drawn, as soon as carbon has it.
            "FIND_CACHE_DURATION = 0\nDEFAULT_CACHE_DURATION = 0\n"
        )

    def command(self, cache: Path, data: Path) -> list[str]:
        """Run the web application with two threads."""
        return [
            *(self._program(cache, "gunicorn"), "--bind", f"{HOST}:{self.port}", "--threads", "2"),
            *("--no-control-socket", "graphite.wsgi"),
        ]

    def environment(self, cache: Path, data: Path) -> Mapping[str, str]:
        """Where the settings module is."""
        return {"GRAPHITE_SETTINGS_MODULE": "graphite_settings_here", "PYTHONPATH": str(data)}

    def healthy(self) -> str:
        """Ask for the version."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_ASK_TIMEOUT_S)
        try:
            connection.request("GET", "/version/")
            response = connection.getresponse()
            body = response.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise NotHealthy(f"graphite-web: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise NotHealthy(f"graphite-web answered {response.status}")
        return f"graphite-web {body}"


def _pid_file(data: Path) -> Path:
    return data / "carbon.pid"
