# SPDX-License-Identifier: Apache-2.0
"""What containerd has on this host: containers and images."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.read_host import PATIENCE, run, text
from ansible.module_utils.yunkube.host.patience import scaled

SOCKET = constants.CONTAINERD_SOCKET.lstrip("/")
BUSY = scaled(6.0)  # seconds for a containerd that has taken the connection; on a host at work it is slow, not gone


def containers_and_images(root: Path) -> tuple[bool, list[Json] | None, list[str] | None]:
    """Return whether containerd answers, the latest container of each kind, and the images that are there."""
    if not answers(root / SOCKET):
        return False, None, None
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        listing = pool.submit(run, "ctr", "--namespace", "k8s.io", "images", "ls", "-q", seconds=BUSY)
        endpoint = constants.CRI_ENDPOINT
        argv = ("crictl", "--runtime-endpoint", endpoint, "ps", "--all", "--output", "json")
        printed = run(*argv, seconds=BUSY)
        images = listing.result()
    alive = bool(printed)
    names = [name for name in images.split() if not name.startswith("sha256:")] if images else None
    return alive, containers(json.loads(printed), root) if alive else None, names


def answers(path: Path) -> bool:
    """Say whether anybody listens on a socket of the file system."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def containers(listed: Json, root: Path) -> list[Json]:
    """Return the newest container of each name in each pod, with the last words of those that do not run."""
    newest: dict[tuple[str, str, str], Json] = {}
    for one in sorted(listed.get("containers") or [], key=lambda entry: int(entry["createdAt"])):
        labels = one["labels"]
        place = (
            labels.get("io.kubernetes.pod.namespace", ""),
            labels.get("io.kubernetes.pod.name", ""),
            labels.get("io.kubernetes.container.name", ""),
        )
        made = int(one["createdAt"]) / 1e9
        state = str(one["state"]).removeprefix("CONTAINER_").lower()
        facts: Json = {"namespace": place[0], "pod": place[1], "name": place[2], "state": state}
        facts |= {"attempt": one["metadata"].get("attempt", 0), "made": made, "last": []}
        if state != "running":
            uid = labels.get("io.kubernetes.pod.uid", "")
            facts["last"] = last_words(root / f"var/log/pods/{place[0]}_{place[1]}_{uid}/{place[2]}")
        newest[place] = facts
    return list(newest.values())


def last_words(folder: Path, lines: int = 3) -> list[str]:
    """Return the end of a container's newest log."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    printed = text(logs[-1]).splitlines()[-lines:] if logs else []
    return [re.sub(r"^\S+ std(?:out|err) [FP] ", "", line)[:300] for line in printed]
