"""How often a process looks for garbage that only its collector finds."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Look for cycles every 50,000 new containers instead of Python's 700. Safe to repeat.

    An event or a request makes many containers and no cycles, and whatever is under way was looked through each time.
    """
    gc.set_threshold(50_000, 20, 100)
