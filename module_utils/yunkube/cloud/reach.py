# SPDX-License-Identifier: Apache-2.0
"""Whether hosts answer over SSH, asked from the control machine."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

SSH_PORT = 22
ONE_TRY_SECONDS, PAUSE_SECONDS = 5.0, 1.0
AT_ONCE = 32
AT_ONCE_BY_JUMP = 8  # sshd of a jump host drops some of more than ten that begin at once (MaxStartups)
JUMP = re.compile(r"\bproxy(jump|command)\b|(^|\s)-J", re.IGNORECASE)


def silent(addresses: Mapping[str, str], seconds: float, port: int = SSH_PORT, arguments: str = "") -> list[str]:
    """Return the names of hosts whose SSH server did not answer within the time.

    Where the arguments for OpenSSH name a jump host, or a command in its place, hosts are asked by that way.
    """
    deadline = time.monotonic() + seconds
    jump = bool(JUMP.search(arguments))

    def answers(address: str) -> bool:
        while not (_refuses_login(address, port, arguments) if jump else _speaks_ssh(address, port)):
            if time.monotonic() + PAUSE_SECONDS > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    with ThreadPoolExecutor(max_workers=AT_ONCE_BY_JUMP if jump else AT_ONCE) as pool:
        results = zip(addresses, pool.map(answers, addresses.values()), strict=True)
        return [name for name, answered in results if not answered]


def _speaks_ssh(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=ONE_TRY_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _refuses_login(address: str, port: int, arguments: str) -> bool:
    """Say whether the host itself refuses a login without any method: OpenSSH has checked both host keys by then."""
    argv = ["ssh", *shlex.split(arguments), "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"]
    argv += ["-o", f"ConnectTimeout={ONE_TRY_SECONDS:.0f}", "-p", str(port), "-l", "root", address, "true"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * ONE_TRY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return f"root@{address}: Permission denied" in done.stderr
