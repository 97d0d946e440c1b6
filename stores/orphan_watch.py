"""A server's worker must not outlive its master: killed with -9, gunicorn's master cannot tell it to end.

An orphan would hold the port against the server that is started next, and go on answering from a table that nobody
writes to any more.
"""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_EVERY_S = 0.5


def end_with(master_pid: int) -> None:
    """End this process (SIGTERM, so gracefully) soon after its parent is no longer ``master_pid``."""

    def watch() -> None:
        while os.getppid() == master_pid:
            time.sleep(LOOK_EVERY_S)
        # Until it has ended: just forked, a worker still has its master's handlers, which only note a signal.
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LOOK_EVERY_S)

    threading.Thread(target=watch, name="orphan-watch", daemon=True).start()
