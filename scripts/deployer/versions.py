# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes releases that clusters can have: what their locks say, and who has them on this machine."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.yunkube.build import cached_bundles
from ansible.module_utils.yunkube.control.inventory_files import load
from ansible.module_utils.yunkube.control.locks import file_of, locked_releases, numbers

from deployer.cluster import ROOT
from deployer.errors import DeployError
from deployer.inventory import read_yaml, shown

DEFAULTS = "roles/cluster/defaults/main.yml"
# Which other versions work with an API server, in minor releases: https://kubernetes.io/releases/version-skew-policy/
SKEW = {"kubelet": (-3, 0), "kubectl": (-1, 1)}


def default_release(root: Path = ROOT) -> str:
    """Return the release of an inventory that names none."""
    return str((load(root / DEFAULTS) or {}).get("cluster_kubernetes_version", ""))


def versions(root: Path, cache: Path, states: Iterable[Path], today: dt.date) -> dict[str, Any]:
    """Return what there is to know of each release that has a lock, oldest first, and which is the default."""
    default = default_release(root)
    used = clusters(cache, states)
    found = []
    for release in locked_releases(root / "components"):
        file = file_of(root / "components", release)
        lock = read_yaml(file, yaml.SafeLoader)
        try:
            found.append(
                {
                    "kubernetes": release,
                    "default": release == default,
                    "tested": lock["cluster_tested"],
                    "support": support_of(lock, today),
                    "skew": {program: skew(release, *minors) for program, minors in SKEW.items()},
                    "architectures": [lock["architecture"], *lock.get("cross", {})],
                    "components": {part["name"]: str(part["version"]) for part in lock["components"]},
                    "clusters": used.pop(release, []),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DeployError(
                f"{shown(file)}: is no lock: {type(error).__name__} {error}", "restore it from Git, or make it again"
            ) from error
    return {"default": default, "releases": found, "without_lock": used}


def support_of(lock: Mapping[str, Any], today: dt.date) -> dict[str, str]:
    """Return how long patch releases come, and what that means today; `unknown` where the lock does not know."""
    support = lock.get("support") or {}
    days = {key: str(support.get(key) or "unknown") for key in ("released", "maintenance", "ends")}
    state = "unknown"
    if days["ends"] != "unknown":
        ended = today > dt.date.fromisoformat(days["ends"])
        fading = days["maintenance"] != "unknown" and today >= dt.date.fromisoformat(days["maintenance"])
        state = "ended" if ended else "maintenance" if fading else "supported"
    return {"state": state, **days}


def skew(release: str, oldest: int, newest: int) -> dict[str, str]:
    """Return the minor releases of another program that work with an API server of this release."""
    major, minor = numbers(release)[:2]
    return {"oldest": f"{major}.{minor + oldest}", "newest": f"{major}.{minor + newest}"}


def clusters(cache: Path, states: Iterable[Path]) -> dict[str, list[str]]:
    """Return the clusters of this machine by the release of the bundle that their state directory links to."""
    found: dict[str, list[str]] = {}
    for link in sorted(cached_bundles.clusters(cache, states), key=lambda link: (link.parent.name, link)):
        try:
            manifest = json.loads((link.resolve().parent / "manifest.json").read_text(encoding="utf-8"))
            release = str(manifest["kubernetes"])
        except (OSError, ValueError, KeyError, TypeError):  # its bundle is not in the cache any more
            release = "unknown"
        found.setdefault(release, []).append(link.parent.name)
    return found
