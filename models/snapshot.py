"""Snapshots: one atomic, immutable state of the trainer per manifest.

A snapshot is two files, ``tensors`` (safetensors) and ``records`` (JSON), and a manifest that names them with their
sizes and sha256. The manifest is written last, so a snapshot exists whole or not at all: every file goes tmp → fsync →
rename → fsync(directory). safetensors renames atomically but neither fsyncs nor notices a flipped bit, hence both are
done here. There is no pickle anywhere.

One directory per generation (``generation-000001``); manifests are named by (epoch, seq) and the newest three are kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_tensors
from safetensors.numpy import save as save_tensors

FORMAT = 4
KEPT = 3

_MANIFEST_NAME = re.compile(r"^(\d{8})-(\d{12})\.manifest\.json$")
_log = logging.getLogger(__name__)


class SnapshotState(msgspec.Struct, frozen=True):
    """What a snapshot holds.

    ``tensors``: name → array. ``records``: JSON-able name → value. ``offsets``: ``topic:partition`` → NEXT offset to
    read. ``fingerprint``: of the settings that decide learning.
    """

    epoch: int
    seq: int
    fingerprint: str
    offsets: dict[str, int]
    tensors: dict[str, NDArray[Any]]
    records: dict[str, Any]


class FingerprintMismatch(Exception):
    """The newest snapshot was learned under other settings; going on would mix two models."""


class _Damaged(Exception):
    """A file that is not what was written."""


class _File(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    epoch: int
    seq: int
    fingerprint: str
    offsets: dict[str, int]
    files: dict[str, _File]


class SnapshotStore:
    """The snapshots of one generation below ``root``; the newest generation unless one is named.

    Only one process may write; the trainer's lease sees to that.
    """

    def __init__(self, root: Path, generation: int | None = None) -> None:
        self.root = root
        self.generation = generation if generation is not None else max(generations(root), default=1)
        self.directory = root / f"generation-{self.generation:06d}"
        self._loaded: _Manifest | None = None

    def write(self, state: SnapshotState) -> None:
        """Store a snapshot; durable on return. Safe to repeat. Older ones beyond the newest three are removed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        stem = f"{state.epoch:08d}-{state.seq:012d}"
        # Neither array layout nor dictionary order of the caller decides what is stored.
        tensors = {name: np.ascontiguousarray(state.tensors[name]) for name in sorted(state.tensors)}
        files = {
            "tensors": self._write_file(f"{stem}.tensors.safetensors", save_tensors(tensors)),
            "records": self._write_file(f"{stem}.records.json", msgspec.json.encode(state.records)),
        }
        self._write_manifest(_Manifest(FORMAT, state.epoch, state.seq, state.fingerprint, state.offsets, files))
        self._loaded = None
        self._prune()

    def load_newest(self, fingerprint: str | None = None) -> SnapshotState | None:
        """Return the newest valid snapshot by (epoch, seq), or ``None`` when there is none.

        A damaged one is passed over with a warning. Raises ``FingerprintMismatch`` when a fingerprint is given and the
        newest valid snapshot has another.
        """
        for manifest in self._manifests():
            state = self._load(manifest)
            if state is None:
                continue
            self._loaded = manifest
            if fingerprint is not None and state.fingerprint != fingerprint:
                raise FingerprintMismatch(
                    f"the snapshot in {self.directory} was learned with the settings {state.fingerprint}, "
                    f"this program runs with {fingerprint}; restore the settings or train anew"
                )
            return state
        return None

    def adopt(self, epoch: int) -> None:
        """Make the newest valid snapshot the newest of ``epoch`` too, by a manifest naming the same files; durable.

        Done before anything is published under the new epoch: from then on a trainer of an older epoch, should one
        still write snapshots, can no longer be the newest. The one that ``load_newest`` returned is not read again.
        """
        newest = self._loaded or next((found for found in self._manifests() if self._load(found) is not None), None)
        if newest is not None:
            self._write_manifest(msgspec.structs.replace(newest, epoch=epoch))

    def _manifests(self) -> list[_Manifest]:
        """Readable manifests, newest first."""
        found: list[tuple[int, int, _Manifest]] = []
        for path in self.directory.glob("*.manifest.json"):
            match = _MANIFEST_NAME.match(path.name)
            if match is None:
                continue
            try:
                manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.warning("passing over %s: not a manifest", path)
                continue
            if manifest.format != FORMAT:
                _log.warning("passing over %s: format %d, this program reads %d", path, manifest.format, FORMAT)
                continue
            found.append((int(match[1]), int(match[2]), manifest))
        return [manifest for _, _, manifest in sorted(found, key=lambda entry: entry[:2], reverse=True)]

    def _load(self, manifest: _Manifest) -> SnapshotState | None:
        try:
            paths = {role: self._intact(file) for role, file in manifest.files.items()}
            tensors = load_tensors(paths["tensors"])
            records = msgspec.json.decode(paths["records"].read_bytes())
        except (KeyError, OSError, SafetensorError, msgspec.DecodeError, _Damaged) as error:
            _log.warning("passing over snapshot (%d, %d): %s", manifest.epoch, manifest.seq, error)
            return None
        return SnapshotState(
            manifest.epoch, manifest.seq, manifest.fingerprint, manifest.offsets, tensors, dict(records)
        )

    def _intact(self, file: _File) -> Path:
        """Return where a file lies. Raises ``_Damaged`` when it is not what was written, and ``OSError``."""
        path = self.directory / file.name
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if path.stat().st_size != file.size_bytes or found != file.sha256:
            raise _Damaged(f"{path} is damaged")
        return path

    def _prune(self) -> None:
        manifests = self._manifests()
        kept_files = {file.name for manifest in manifests[:KEPT] for file in manifest.files.values()}
        for manifest in manifests[KEPT:]:
            (self.directory / _manifest_name(manifest)).unlink(missing_ok=True)
        # Also what a crash left behind: temporary files, and files no manifest came to name.
        for path in self.directory.iterdir():
            if not path.name.endswith(".manifest.json") and path.name not in kept_files:
                path.unlink(missing_ok=True)

    def _write_manifest(self, manifest: _Manifest) -> None:
        self._write_file(_manifest_name(manifest), msgspec.json.format(msgspec.json.encode(manifest)))

    def _write_file(self, name: str, content: bytes) -> _File:
        temporary = self.directory / f"{name}.tmp"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.directory / name)
        _fsync_directory(self.directory)
        return _File(name, len(content), hashlib.sha256(content).hexdigest())


def generations(root: Path) -> list[int]:
    """Return the generations stored below ``root``, oldest first."""
    return sorted(int(path.name.removeprefix("generation-")) for path in root.glob("generation-[0-9]*"))


def offsets_of(positions: Iterable[tuple[tuple[str, int], int]]) -> dict[str, int]:
    """Return ((topic, partition), offset) pairs in the form snapshots store: ``topic:partition`` → offset."""
    return {f"{topic}:{partition}": offset for (topic, partition), offset in positions}


def positions_of(offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
    """Return stored offsets as (topic, partition) → offset."""
    positions = {}
    for name, offset in offsets.items():
        topic, _, partition = name.rpartition(":")
        positions[topic, int(partition)] = offset
    return positions


def flatten(parts: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of several parts under one roof: ``part.name`` → array."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def part_of(tensors: Mapping[str, NDArray[Any]], part: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of one part; the reverse of ``flatten``."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _manifest_name(manifest: _Manifest) -> str:
    return f"{manifest.epoch:08d}-{manifest.seq:012d}.manifest.json"


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
