# SPDX-License-Identifier: Apache-2.0
"""A Go module proxy in a folder, as `GOPROXY=file://...` reads it, with a small Kubernetes in it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

PROGRAMS = (
    "kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
)  # fmt: skip
CONSTANTS = """package constants

const (
\t// DefaultEtcdVersion indicates the default etcd version that kubeadm uses
\tDefaultEtcdVersion = "{etcd}"
\tCoreDNSVersion = "{coredns}"
\tPauseVersion = "{pause}"
)
"""


def add(proxy: Path, module: str, version: str, files: dict[str, str]) -> None:
    """Add a module of a version; its files are texts by path, and go.mod is one of them."""
    folder = proxy / module / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{version}.info").write_text(json.dumps({"Version": version, "Time": "2026-11-01T00:00:00Z"}))
    (folder / f"{version}.mod").write_text(files["go.mod"])
    with zipfile.ZipFile(folder / f"{version}.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{module}@{version}/{name}", text)


def add_kubernetes(proxy: Path, release: str, **versions: str) -> None:
    """Add a Kubernetes whose kubeadm imports one staging module, which a lock replaces by the published one."""
    published = f"v0.{release.partition('.')[2]}"
    files = {
        "go.mod": "module k8s.io/kubernetes\n\ngo 1.26.1\n\ngodebug default=go1.25\n\nrequire k8s.io/api v0.0.0\n\n"
        "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/new => ./staging/src/k8s.io/new\n)\n",
        "cmd/kubeadm/app/constants/constants.go": CONSTANTS.format(**versions),
    }
    files |= {f"cmd/{name}/main.go": "package main\n\nfunc main() {}\n" for name in PROGRAMS}
    files["cmd/kubeadm/main.go"] = 'package main\n\nimport _ "k8s.io/api/core"\n\nfunc main() {}\n'
    add(proxy, "k8s.io/kubernetes", f"v{release}", files)
    for name in ("api", "new"):
        staging = {"go.mod": f"module k8s.io/{name}\n\ngo 1.26.0\n", "core/core.go": "package core\n"}
        add(proxy, f"k8s.io/{name}", published, staging)
