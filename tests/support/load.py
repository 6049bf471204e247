# SPDX-License-Identifier: Apache-2.0
"""A bounded load on a web service: so many requests a second for so many seconds, each on a connection of its own.

python tests/support/load.py http://10.77.0.21:31111/ --rate 50 --seconds 30
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT = 10.0  # seconds, after which a request is lost
AT_ONCE = 100  # requests that are under way; more than that wait, and are late


@dataclass
class Load:
    """What became of the requests, which go on for so many seconds."""

    seconds: float = math.inf
    due: int = 0
    sent: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)  # when and why, a line each
    answers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the figures in a line."""
        return f"{self.sent} sent, {len(self.lost)} lost, slowest {1000 * self.slowest:.0f} ms"


def ask(url: str, timeout: float = TIMEOUT) -> str:
    """Return the answer to one GET on a connection of its own; anything but 200 is an error."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=timeout)
    try:
        connection.request("GET", where.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            raise OSError(f"status {response.status}")
        return text
    finally:
        connection.close()


def run(url: str, rate: float, load: Load) -> Load:
    """Send the requests when they are due, whatever becomes of those before."""
    lock = threading.Lock()
    began = time.monotonic()

    def one() -> None:
        at = time.monotonic()
        try:
            answer, fault = ask(url), ""
        except (OSError, http.client.HTTPException) as error:
            answer, fault = "", f"{at - began:.2f} s: {type(error).__name__}: {error}"
        with lock:
            load.sent += 1
            load.slowest = max(load.slowest, time.monotonic() - at)
            (load.lost if fault else load.answers).append(fault or answer)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        while load.due / rate < load.seconds:
            time.sleep(max(0.0, began + load.due / rate - time.monotonic()))
            pool.submit(one)
            load.due += 1
    return load


@contextlib.contextmanager
def running(url: str, rate: float, seconds: float) -> Iterator[Load]:
    """Run a load beside what is done meanwhile; at the end all of it was sent."""
    load = Load(seconds)
    thread = threading.Thread(target=run, args=(url, rate, load))
    thread.start()
    try:
        yield load
    finally:
        thread.join()


@contextlib.contextmanager
def around(url: str, rate: float, seconds: float) -> Iterator[Load]:
    """Run a load from so many seconds before what is done meanwhile until as many after it."""
    load = Load()
    thread = threading.Thread(target=run, args=(url, rate, load))
    thread.start()
    try:
        time.sleep(seconds)
        yield load
    finally:
        load.seconds = load.due / rate + seconds
        thread.join()


def main() -> int:
    """Run it, print the figures; 1 when a request was lost."""
    parser = argparse.ArgumentParser(description="Send requests at a steady rate and count those that are lost.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=50, help="requests a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="for how long (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the figures as an object")
    options = parser.parse_args()
    load = run(options.url, options.rate, Load(options.seconds))
    figures = {"sent": load.sent, "lost": len(load.lost), "slowest_ms": round(1000 * load.slowest)}
    text = json.dumps(figures) if options.json else "\n".join([str(load), *load.lost[:10]])
    sys.stdout.write(f"{text}\n")
    return 1 if load.lost else 0


if __name__ == "__main__":
    sys.exit(main())
