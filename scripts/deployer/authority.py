"""The cluster's certificate authority, as a file for browsers and engines to trust."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from deployer.cluster import Cluster


def write_authority(cluster: Cluster) -> Path:
    """Write the CA's certificate, which is no secret, beside the kubeconfig that holds it."""
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    text = base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    path = cluster.state_dir / "ca.crt"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path
