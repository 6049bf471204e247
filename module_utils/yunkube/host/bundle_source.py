# SPDX-License-Identifier: Apache-2.0
"""Where a host fetches the files of the bundle from, and how it verifies them."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host.bundle_files import Entry, InstallError
from ansible.module_utils.yunkube.host.patience import scaled

# What to do when a file does not come, from the control machine's own server or from cluster_bundle_url.
OWN_SERVER = (
    "let this host connect to that address and port (a firewall of the control machine, cluster_bundle_address); the"
    " bundle is served while site.yml or deploy.py runs"
)
COPY = "let it hold what the control machine's cache has under bundles/*/files"
BUCKET = (
    "run the same command again, which signs new addresses, valid for an hour by correct clocks. Hosts must reach"
    " the bucket, and the key of the control machine must be allowed oss:GetObject"
)
REPLACE = "run the same command again, which compares what the bucket has with the bundle"
# What ends a try. Before Python 3.10 a connection that falls silent raises a class of its own.
FAILURES = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, socket.timeout)
WORTH = 1 << 20  # bytes: a try that brought so much does not count as one that failed


def control_machine(pid: int | None = None) -> str:
    """Return the address that this SSH session comes from, out of our own environment or a parent's (sudo drops it)."""
    pid = pid or os.getpid()
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            for line in environment:
                if line.startswith(b"SSH_CONNECTION="):
                    address = line[15:].split()[0].decode()
                    return f"[{address}]" if ":" in address else address
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            break
    raise InstallError("cannot determine the control machine's address from this session: set cluster_bundle_url")


def why(error: Exception) -> str:
    """Return what went wrong, in the words of OSS where it answered."""
    if isinstance(error, urllib.error.HTTPError):
        told = dict(re.findall(r"<(Code|Message)>([^<]{,200})</", error.read(4096).decode(errors="replace")))
        if told:
            return f"HTTP {error.code} {': '.join(told.values())}"
    return str(getattr(error, "reason", error))


class Source:
    """The server that the files come from."""

    def __init__(self, url: str, port: int, signed: t.Mapping[str, str] | None = None) -> None:
        """Use `url`, or addresses by digest; where `url` is empty, the control machine at `port`, past any proxy."""
        self.signed = signed or {}
        proxies: list[urllib.request.BaseHandler] = [] if url else [urllib.request.ProxyHandler({})]
        self.own = not url
        self.url = url.rstrip("/") or f"http://{control_machine()}:{port}"
        self._open = urllib.request.build_opener(*proxies).open
        self.bytes = 0

    def fetch(self, entry: Entry, path: Path, tries: int = 3) -> None:
        """Write an entry's file to `path`, verified. A try that is cut off goes on where the one before it ended."""
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)  # of a run that was killed
        commands: tuple[str, ...]
        try:
            while tries:
                had = _size(part)
                try:
                    url = self.signed.get(entry["sha256"]) or f"{self.url}/{entry['sha256']}"
                    actual = self._receive(url, part)
                except FAILURES as error:
                    problem = f"{entry['name']}: cannot fetch it from {self.url}: {why(error)}"
                    remedy, commands = OWN_SERVER if self.own else BUCKET if self.signed else COPY, ()
                    if _size(part) >= entry["size"]:  # nothing of it is left to ask for
                        part.unlink()
                else:
                    if actual == entry["sha256"]:
                        part.chmod(int(entry.get("mode", "0644"), 8))
                        originals.keep(path)
                        part.replace(path)
                        self.bytes += entry["size"]
                        return
                    problem = (
                        f"{entry['name']}: the file at {self.url} is damaged: it has sha256 {actual[:16]}…, the"
                        f" manifest says {entry['sha256'][:16]}…; nothing of it was installed"
                    )
                    remedy = (
                        "run site.yml or deploy.py up to rebuild it" if self.own else REPLACE if self.signed else COPY
                    )
                    commands = ("up",) if self.own else ()
                    part.unlink()
                tries -= _size(part) - had < WORTH
                if tries:
                    time.sleep(0.5)
        finally:
            part.unlink(missing_ok=True)
        raise InstallError(problem, remedy, commands)

    def _receive(self, url: str, part: Path) -> str:
        had = _size(part)
        request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})  # noqa: S310 - checked
        digest = hashlib.sha256()
        with self._open(request, timeout=scaled(30)) as answer, part.open("a+b") as stream:
            if answer.status == http.client.PARTIAL_CONTENT:
                stream.seek(0)
                while block := stream.read(1 << 20):
                    digest.update(block)
            else:  # it sends all of it: the first try, or it knows no ranges
                stream.truncate(0)
            left = answer.length
            # Not read(), which loses what came before a timeout; neither complains of an early end.
            while block := answer.read1(1 << 16):
                digest.update(block)
                stream.write(block)
                left = left and left - len(block)
            if left:
                raise ConnectionError(f"the connection ended {left} bytes too early")
        return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
