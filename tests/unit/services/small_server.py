"""A server of our own, small enough to start in a test."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from services.server import HOST, NotHealthy, Server

# Answers whoever connects; ``deaf`` to SIGTERM if told so, and ``lame``: it ends at once.
SERVER = """
import signal, socket, sys
port, mood = int(sys.argv[1]), sys.argv[2]
if mood == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mood == "lame":
    sys.exit("no leg to stand on")
server = socket.create_server(("127.0.0.1", port))
while True:
    server.accept()[0].sendall(b"7.0")
"""


class Small(Server):
    name, variable, pin, default_port = "small", "SMALL_URL", "small-7.0", 0
    start_timeout_s, stop_timeout_s = 20.0, 0.5

    def __init__(self, port: int, mood: str = "") -> None:
        super().__init__(port)
        self.mood, self.installs = mood, 0

    @property
    def url(self) -> str:
        return f"small://{HOST}:{self.port}"

    def install(self, cache: Path) -> None:
        self.installs += 1
        if self.mood == "interrupted":
            raise KeyboardInterrupt
        (cache / self.pin / "small.py").write_text(SERVER)

    def command(self, cache: Path, data: Path) -> list[str]:
        return [sys.executable, str(cache / self.pin / "small.py"), str(self.port), self.mood]

    def healthy(self) -> str:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                return connection.recv(10).decode()
        except OSError as error:
            raise NotHealthy(str(error)) from error
