from __future__ import annotations

import socket

import pytest

from services.server import HOST


@pytest.fixture
def port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])
