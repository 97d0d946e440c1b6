"""The real processes of the loop for a benchmark: the shipped Procfile and defaults, on free ports, in a new folder."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import processes
from demo.stack import stores_of


@dataclass(frozen=True)
class Loop:
    """Three running services. ``env``: what they were started with; ``state``: the folder that holds what they keep."""

    services: processes.Services
    recommender_url: str
    index_url: str
    env: Mapping[str, str]
    state: Path


def nothing_first(env: Mapping[str, str]) -> None:
    """Do nothing before the services start."""


@contextmanager
def running(
    stack: str,
    trainer_options: str = " --from-nothing",
    first: Callable[[Mapping[str, str]], None] = nothing_first,
    **settings: str,
) -> Iterator[Loop]:
    """Start the services, and end them. ``settings`` go over the shipped defaults. Raises ``demo.stack.NoServers``.

    ``first`` is done before they start, with the environment that they get. They may not be ready yet. What they
    printed last is shown when the benchmark fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        stores = stores_of(stack, state)
        recommender_port, index_port = free_ports(2)
        index_url = f"http://127.0.0.1:{index_port}"
        env = processes.environment(state, os.environ, stores) | {"INDEX_URL": index_url} | settings
        options = {
            "faiss": f" --bind 127.0.0.1:{index_port}",
            "recommender": f" --bind 127.0.0.1:{recommender_port}",
            "trainer": trainer_options,
        }
        lines = (processes.ROOT / "Procfile").read_text().splitlines()
        procfile = state / "Procfile"
        procfile.write_text("".join(f"{line}{options[line.partition(':')[0]]}\n" for line in lines if line))
        first(env)
        services = processes.Services(env, state / "services.log", procfile)
        try:
            yield Loop(services, f"http://127.0.0.1:{recommender_port}", index_url, env, state)
        except Exception:
            print(services.last_words(()), file=sys.stderr)
            raise
        finally:
            services.stop()


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nothing listens on, and that may be taken by others before they are used."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
