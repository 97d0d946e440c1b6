"""Which data the demo replays: what was asked for, what is there already, MovieLens, or else a simulated world."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from demo.world import EVENTS_FILE, WorldSize, write_world
from stores.history import HistoryError, load_history

MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
# Of the edition of September 2018; TensorFlow Datasets and MLDatasets.jl name the same.
MOVIELENS_SHA256 = "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
_MOVIELENS_MEMBERS = ("ratings.csv", "movies.csv", "README.txt")
CONNECT_TIMEOUT_S = 5.0
_MOST_BYTES = 20_000_000

Say = Callable[[str], None]


class DownloadFailed(Exception):
    """MovieLens could not be had; the message says why."""


def choose_data(
    asked_for: str,
    data: Path,
    demo: Path,
    say: Say,
    *,
    url: str = MOVIELENS_URL,
    sha256: str = MOVIELENS_SHA256,
    size: WorldSize | None = None,
) -> Path:
    """Return the folder or file to replay, saying aloud which and why.

    ``data``: where downloads are kept; ``demo``: where a simulated world is written. Safe to repeat: what is there is
    taken again.
    """
    if asked_for:
        return Path(asked_for)
    for folder in (data / "ml-latest-small", *sorted(data.glob("ml-*"))):
        if folder.is_dir() and _is_readable(folder):
            say(f"Data: {folder}, downloaded before.")
            return folder
    world = demo / "world"
    if (world / EVENTS_FILE).exists():
        say("Data: the simulated world of the last start.")
        return world
    try:
        say(f"Data: downloading MovieLens latest-small from {url} …")
        folder = download_movielens(url, sha256, data)
        say("MovieLens (c) GroupLens, University of Minnesota; its README says what it may be used for.")
        return folder
    except DownloadFailed as error:
        say(f"Data: MovieLens cannot be downloaded ({error}), so this is a SIMULATED world, whose truth is known.")
        write_world(world, seed=1, size=size)
        return world


def download_movielens(url: str, sha256: str, data: Path) -> Path:
    """Download, check by hash and unpack; return the folder. Raises ``DownloadFailed``, having written nothing."""
    archive = data / ".ml-latest-small.zip.part"
    unpacked = data / ".ml-latest-small.part"
    data.mkdir(parents=True, exist_ok=True)
    try:
        content = _fetch(url)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DownloadFailed(f"its sha256 is {found}, not {sha256}")
        archive.write_bytes(content)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        with zipfile.ZipFile(archive) as members:
            for name in _MOVIELENS_MEMBERS:
                (unpacked / name).write_bytes(members.read(f"ml-latest-small/{name}"))
        return unpacked.rename(data / "ml-latest-small")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(str(error)) from None
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)


def _fetch(url: str) -> bytes:
    _resolve(urllib.request.Request(url).host.partition(":")[0])
    with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
        return bytes(response.read(_MOST_BYTES))


def _resolve(host: str) -> None:
    """Look up a name within the time-out, which the system's own resolver does not keep. Raises ``OSError``."""
    outcome: list[OSError | None] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None)
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    if not outcome:
        raise TimeoutError(f"no answer about {host} within {CONNECT_TIMEOUT_S:.0f} s")
    if outcome[0] is not None:
        raise outcome[0]


def _is_readable(folder: Path) -> bool:
    try:
        return load_history(folder).times_s is not None
    except HistoryError:
        return False
