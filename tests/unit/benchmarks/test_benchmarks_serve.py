"""What the benchmark of serving offers, counts and compares."""

import os
import socket
from itertools import pairwise

import pytest

from benchmarks.process_time import cpu_s, sessions_listening
from benchmarks.serve import QUICK, TASTES, Measured, bars_of, events_of, figures_of, items_of


def test_every_user_has_a_history_of_items_that_exist():
    known = {item.item_id for item in items_of(QUICK)}
    liked: dict[str, list[str]] = {}
    for event in events_of(QUICK):
        liked.setdefault(event["user_id"], []).append(event["item_id"])
    assert len(liked) == QUICK.users
    assert {len(items) for items in liked.values()} == {QUICK.events_per_user}
    assert {item for items in liked.values() for item in items} <= known


def test_most_steps_stay_within_a_taste():
    places = [int(event["item_id"].partition("-")[2]) % TASTES for event in events_of(QUICK)]
    of_one_user = places[:: QUICK.users]
    assert sum(a == b for a, b in pairwise(of_one_user)) > QUICK.events_per_user / 2


def test_ratios_are_of_medians():
    measured = {
        "hello": Measured([100.0, 1000.0, 2000.0], [0.1], [1.0], [2.0]),
        "usual": Measured([10.0], [8.0], [1.0], [2.0]),
        "embedded": Measured([200.0], [1.0], [1.0], [2.0]),
    }
    figures = figures_of(measured)
    assert (figures["embedded"]["of_hello"], figures["embedded"]["times_usual"]) == (0.2, 20.0)
    assert figures["embedded"]["cpu_of_usual"] == 0.125
    assert all(bar.met for bar in bars_of(figures))


def test_the_cpu_time_is_of_whoever_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sessions = sessions_listening([port])
        assert sessions == {os.getsid(0)}
        before_s = cpu_s(sessions)
        sum(n * n for n in range(1_000_000))
        assert cpu_s(sessions) > before_s
    with pytest.raises(LookupError):
        sessions_listening([port])
