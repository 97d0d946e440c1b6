"""Failpoints: named places between the steps of the cycle where a test can kill the trainer.

The system is safe only if a crash at any of them, followed by a restart, leads to the same state as no crash at all;
``tests/chaos`` tries every one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from stores.publication import nothing_fails

FAILPOINTS = (
    "epoch_taken",
    "snapshot_loaded",
    "snapshot_adopted",
    "polled",
    "dead_letters_kept",
    "learned",
    "users_published",
    "index_published",
    "items_published",
    "state_published",
    "committed",
    "snapshot_copied",
    "snapshot_written",
)


def kill_at(spec: str) -> Callable[[str], None]:
    """Return a failpoint that kills this process (SIGKILL) as ``name:count`` says: the count-th time it gets there.

    An empty ``spec`` never does. Raises ``ValueError`` for a name that is no failpoint.
    """
    if not spec:
        return nothing_fails
    name, _, count = spec.partition(":")
    if name not in FAILPOINTS or not (count or "1").isdigit():
        raise ValueError(f"write name or name:count, name one of {', '.join(FAILPOINTS)}")
    remaining = int(count or "1")

    def failpoint(point: str) -> None:
        nonlocal remaining
        if point == name:
            remaining -= 1
            if remaining <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint
