# SPDX-License-Identifier: Apache-2.0
"""The bundle's programs of etcd, and an etcd with a cluster in it; tests/unit/conftest.py has them as fixtures."""

from __future__ import annotations

import subprocess

from ansible.module_utils.yunkube.kube.etcd_snapshot import Ask, Programs
from kube_api_server import ApiServer, programs

ID = "0123456789abcdef"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"


def run(argv: list[str]) -> tuple[int, str, str]:
    """Run a program, as AnsibleModule does."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout, done.stderr


def in_one_folder() -> Programs:
    """Return the programs, in one folder as in the image."""
    return Programs(programs("etcd", "etcdctl", "etcdutl")["etcd"].parent, run)


def with_cluster(server: ApiServer, bundle: Programs) -> Ask:
    """Return what asks the etcd of an API server, after a cluster was put into it."""
    server.put("/api/v1/namespaces/kube-system/configmaps/yunkube", data={"id": ID, "name": "prod"})
    server.put("/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt", data={"ca.crt": PEM})
    return lambda *words: bundle.call("etcdctl", f"--endpoints=http://127.0.0.1:{server.etcd.port}", *words)
