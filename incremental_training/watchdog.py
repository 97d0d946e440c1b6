"""A watchdog: a call of the log that never returns ends the process, with the stack of every thread.

Whoever keeps the trainer running starts it again, and it goes on from its snapshot.
"""

from __future__ import annotations

import faulthandler
import functools
from collections.abc import Callable
from typing import Any

from stores.ports import EventLog


class WatchedLog:
    """A log each of whose calls may take ``limit_s``; a longer one ends the process with exit code 1.

    The limit is far above every time-out of the log itself: it is for a driver that hangs or spins. The watch is a
    thread in C, which a spinning interpreter cannot stop.
    """

    def __init__(self, log: EventLog, limit_s: float) -> None:
        self._log, self._limit_s = log, limit_s

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._log, name)

        @functools.wraps(call)
        def watched(*arguments: Any) -> Any:
            faulthandler.dump_traceback_later(self._limit_s, exit=True)
            try:
                return call(*arguments)
            finally:
                faulthandler.cancel_dump_traceback_later()

        return watched
