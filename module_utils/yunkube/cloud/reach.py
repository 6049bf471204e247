"""Whether hosts answer over SSH, asked from the control machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

SSH_PORT = 22
ONE_TRY_SECONDS, PAUSE_SECONDS = 5.0, 1.0
AT_ONCE = 32


def silent(addresses: Mapping[str, str], seconds: float, port: int = SSH_PORT) -> list[str]:
    """Return the names of hosts whose SSH server did not answer within the time."""
    deadline = time.monotonic() + seconds

    def answers(address: str) -> bool:
        while not _speaks_ssh(address, port):
            if time.monotonic() + PAUSE_SECONDS > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        results = zip(addresses, pool.map(answers, addresses.values()), strict=True)
        return [name for name, answered in results if not answered]


def _speaks_ssh(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=ONE_TRY_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
