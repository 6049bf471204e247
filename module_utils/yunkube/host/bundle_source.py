# SPDX-License-Identifier: Apache-2.0
"""Where a host fetches the files of the bundle from, and how it verifies them."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
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
        """Write an entry's file to `path`, verified."""
        part = path.with_name(f".{path.name}.part")
        commands: tuple[str, ...]
        for left in reversed(range(tries)):
            try:
                actual = self._receive(self.signed.get(entry["sha256"]) or f"{self.url}/{entry['sha256']}", part)
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                problem = f"{entry['name']}: cannot fetch it from {self.url}: {why(error)}"
                remedy, commands = OWN_SERVER if self.own else BUCKET if self.signed else COPY, ()
            else:
                if actual == entry["sha256"]:
                    part.chmod(int(entry.get("mode", "0644"), 8))
                    originals.keep(path)
                    part.replace(path)
                    self.bytes += entry["size"]
                    return
                problem = (
                    f"{entry['name']}: the file at {self.url} is damaged: it has sha256 {actual[:16]}…, the manifest"
                    f" says {entry['sha256'][:16]}…; nothing of it was installed"
                )
                remedy = "run site.yml or deploy.py up to rebuild it" if self.own else REPLACE if self.signed else COPY
                commands = ("up",) if self.own else ()
            finally:
                part.unlink(missing_ok=True)
            if left:
                time.sleep(0.5)
        raise InstallError(problem, remedy, commands)

    def _receive(self, url: str, part: Path) -> str:
        digest = hashlib.sha256()
        with self._open(url, timeout=scaled(30)) as answer, part.open("wb") as stream:
            while block := answer.read(1 << 20):
                digest.update(block)
                stream.write(block)
            if answer.length:  # what is still to come; read() does not complain
                raise ConnectionError(f"the connection ended {answer.length} bytes too early")
        return digest.hexdigest()
