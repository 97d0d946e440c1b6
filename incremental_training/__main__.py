"""``python -m incremental_training``: learn from every event, for ever."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import torch

from incremental_training.failpoints import kill_at
from incremental_training.intake import TooManyBadEvents
from incremental_training.log_positions import RetentionGap, TopicReplaced
from incremental_training.recovery import NothingToStartFrom, Stores, start_trainer
from incremental_training.settings import TrainerSettings
from incremental_training.watchdog import WatchedLog
from models.model_settings import ModelSettings
from models.settings import check_or_exit, exit_with, load
from models.snapshot import FingerprintMismatch, SnapshotStore
from stores.adapters import open_event_log, open_index_writer, open_item_writer, open_metrics, open_user_writer
from stores.clock import SystemClock
from stores.garbage import collect_rarely
from stores.ports import LeaseHeld, StaleEpoch, StoreUnavailable
from stores.recording_metrics import RecordingMetrics

# Exit codes: 0 stopped as told, 1 a store the trainer cannot do without failed (start it again), 2 called wrongly,
# 3 another trainer lives, 4 the events are bad, 5 the log has lost events that were never learned.
STORE_FAILED, ANOTHER_TRAINER, BAD_EVENTS, EVENTS_LOST = 1, 3, 4, 5

# A call of the log that takes so much longer than its time-outs allow will never return.
LONGEST_CALL_S = 60.0

_log = logging.getLogger("incremental_training")


def main() -> int:
    """Run the trainer until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m incremental_training", description=__doc__)
    parser.add_argument("--from-nothing", action="store_true", help="start without a snapshot, from the log alone")
    parser.add_argument("--republish", action="store_true", help="publish everything anew, for stores that were lost")
    parser.add_argument(
        "--on-gap",
        choices=("stop", "skip"),
        default="stop",
        help="when the log has lost events that were never learned: stop with their number, or go on without them",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    check_or_exit(os.environ, TrainerSettings, ModelSettings)
    settings, model = load(TrainerSettings, os.environ), load(ModelSettings, os.environ)
    try:
        failpoint = kill_at(os.environ.get("FAILPOINT", ""))
    except ValueError as error:
        exit_with(f"FAILPOINT: {error}")
    torch.set_num_threads(1)
    collect_rarely()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    metrics = RecordingMetrics(open_metrics(settings.metrics_url))
    timeout_s = settings.store_timeout_ms / 1000
    stores = Stores(
        log=WatchedLog(open_event_log(settings.events_url, timeout_s=timeout_s), LONGEST_CALL_S + 4 * timeout_s),
        users=open_user_writer(settings.users_url, timeout_s=timeout_s),
        items=open_item_writer(settings.items_url, timeout_s=timeout_s),
        index=open_index_writer(settings.index_url, timeout_s=timeout_s),
    )
    try:
        trainer = start_trainer(
            stores,
            SnapshotStore(Path(settings.snapshot_dir)),
            settings=settings,
            model=model,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            from_nothing=arguments.from_nothing,
            republish=arguments.republish,
            skip_gaps=arguments.on_gap == "skip",
            should_stop=stop.is_set,
            clock=SystemClock(),
            metrics=metrics,
            measured=metrics.report,
            failpoint=failpoint,
        )
        trainer.run(stop.is_set)
    except (NothingToStartFrom, FingerprintMismatch) as error:
        exit_with(str(error))
    except (LeaseHeld, StaleEpoch) as error:
        _log.error("another trainer lives: %s", error)
        return ANOTHER_TRAINER
    except TooManyBadEvents as error:
        _log.error("%s", error)
        return BAD_EVENTS
    except (RetentionGap, TopicReplaced) as error:
        _log.error("%s", error)
        return EVENTS_LOST
    except StoreUnavailable as error:
        if stop.is_set():
            return 0
        _log.error("cannot go on: %s", error)
        return STORE_FAILED
    finally:
        for store in (stores.index, stores.items, stores.users, stores.log):
            store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
