# SPDX-License-Identifier: Apache-2.0
"""Bundles of a few bytes, laid out as a build lays them out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.build.bundle import link_of, link_programs, point, write_bundle
from ansible.module_utils.yunkube.build.cached_bundles import remember
from ansible.module_utils.yunkube.build.components import sha256_text
from ansible.module_utils.yunkube.build.debian_packages import pins_of

PROGRAMS = {"kubectl": "the program kubectl", "demo": "the program demo"}  # of the control machine; demo is in no host


def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let commands find a cache in a folder, and no state directories of this machine's own; return the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("HOME", str(folder / "home"))
    return folder / "cache/yunkube"


def make_lock(project: Path, kubernetes: str = "1.37.2") -> Path:
    """Write a lock that holds nothing but a version."""
    lock = project / f"components/kubernetes-{kubernetes}.yml"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(f"kubernetes: {kubernetes}\n")
    for architecture in ("amd64", "arm64"):
        pins_of(lock, architecture).write_text(f"# packages of {architecture}\n")
    return lock


def make_bundle(
    cache: Path, project: Path, kubernetes: str = "1.37.2", architecture: str = "amd64", *, more: str = ""
) -> Path:
    """Make a bundle of a lock, out of results of a store; return its folder."""
    result = cache / "store" / f"kubernetes-{sha256_text(kubernetes + architecture + more)[:16]}"
    result.mkdir(parents=True, exist_ok=True)
    contents = {**PROGRAMS, "kubelet": f"the kubelet {kubernetes} {architecture} {more}"}
    for name, text in contents.items():
        (result / name).write_text(text)
        (result / name).chmod(0o755)
    named = ["kubectl", "kubelet"]
    files: list[dict[str, Any]] = [
        {"kind": "runtime", "purpose": ["master"], "path": f"/usr/bin/{name}", "mode": "0755", "name": name,
         "version": kubernetes, "sha256": sha256_text(contents[name]), "size": len(contents[name])}
        for name in named
    ]  # fmt: skip
    manifest = {"kubernetes": kubernetes, "architecture": architecture, "files": files}
    sources = {sha256_text(contents[name]): result / name for name in named}
    bundle = write_bundle(cache / "bundles", manifest, sources, {name: result / name for name in PROGRAMS})
    link = link_of(cache, make_lock(project, kubernetes), architecture)
    point(link, os.path.relpath(bundle, link.parent))
    return bundle


def make_cluster(state: Path, cache: Path, *bundles: Path) -> Path:
    """Make the state directory of a cluster that uses bundles."""
    state.mkdir(parents=True)
    (state / "id").write_text("0123456789abcdef\n")
    link_programs(str(state / "bin"), bundles[0], check_mode=False)
    remember(cache, state / "bin", [bundle.name for bundle in bundles])
    return state
