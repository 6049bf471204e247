# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities, as files for engines and browsers to trust."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from deployer.cluster import Cluster


def write_authority(cluster: Cluster) -> Path:
    """Write the cluster's CA certificate, for an engine that trusts it for the registry's address alone."""
    return _written(cluster.state_dir / "ca.crt", _of_cluster(cluster))


def browser_authority(cluster: Cluster, encoded: str) -> Path | None:
    """Write what browsers may import; None where it still is the CA of the cluster, which may sign for any site."""
    text = base64.b64decode(encoded).decode()
    if not text or text == _of_cluster(cluster):
        return None
    return _written(cluster.state_dir / "dashboard-ca.crt", text)


def _of_cluster(cluster: Cluster) -> str:
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    return base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()


def _written(path: Path, text: str) -> Path:
    """Give a file its text; a certificate is no secret."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path
