"""A lease on one machine: whoever holds the lock of a file is the one trainer; the file remembers the epoch.

The operating system releases the lock when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stores.ports import LeaseHeld, StoreUnavailable

# The epoch in fixed width at the start of the file, in one disk sector: it is overwritten whole or not at all.
_EPOCH_DIGITS = 20


class FileLease:
    """The lease kept in ``path``, which is made when it does not exist and never removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, owner: str, *, above: int) -> int:
        """Lock the file and return a new epoch, greater than ``above`` and than any epoch given out before.

        The epoch is on the disk before it is returned. Raises ``LeaseHeld``, ``StoreUnavailable``.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                epoch = self._next_epoch(descriptor, owner, above)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        self._descriptor = descriptor
        return epoch

    def _next_epoch(self, descriptor: int, owner: str, above: int) -> int:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 512, 0)[_EPOCH_DIGITS:].decode(errors="replace").strip()
            raise LeaseHeld(f"{self._path} is held by {holder or 'another trainer'}") from None
        digits = os.pread(descriptor, _EPOCH_DIGITS, 0)
        if digits and not (digits.isdigit() and len(digits) == _EPOCH_DIGITS):
            raise StoreUnavailable(f"{self._path} does not hold an epoch")
        epoch = max(int(digits or b"0"), above) + 1
        line = f"{epoch:0{_EPOCH_DIGITS}d} {owner}\n".encode()[:512]
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
        os.fsync(descriptor)
        _sync_folder(self._path.parent)
        return epoch

    def release(self) -> None:
        """Let go of the lock. Safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
