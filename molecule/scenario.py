# SPDX-License-Identifier: Apache-2.0
"""What the tests of all scenarios share: the scenario's cluster, and waiting for it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[1]
Json = t.Any


@dataclass(frozen=True)
class Cluster:
    """The scenario's cluster, as the control machine sees it."""

    name: str
    state: Path
    hosts: dict[str, str]  # name: address

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.state / "kubeconfig"

    def kubectl(self, *arguments: str) -> str:
        """Return what the bundle's kubectl prints."""
        argv = [str(self.state / "bin/kubectl"), "--kubeconfig", str(self.kubeconfig), "--request-timeout=10s"]
        done = subprocess.run([*argv, *arguments], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *arguments: str) -> Json:
        """Return objects of the API."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    @property
    def authority(self) -> str:
        """The cluster's CA, in PEM."""
        path = "{.clusters[0].cluster.certificate-authority-data}"
        return base64.b64decode(self.kubectl("config", "view", "--raw", "-o", f"jsonpath={path}")).decode()

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Return a Secret's values."""
        data = self.get("secret", name, f"--namespace={namespace}")["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def wait_for(self, namespace: str, deployment: str) -> None:
        """Wait until every pod of a Deployment is ready."""
        asked = ("deployment", deployment, f"--namespace={namespace}")
        eventually(lambda: self.get(*asked)["status"].get("readyReplicas"), 90, f"the pods of {deployment} are ready")

    def container(self, host: str) -> str:
        """Return the name of the container that a host is."""
        return f"yunkube-{self.name}-{host}"


def service_up(host: Host, unit: str) -> None:
    """Fail with the unit's last words when it does not run, or would not after a restart of the host."""
    state = host.run(f"systemctl is-active {unit}; systemctl is-enabled {unit}").stdout.split()
    if state != ["active", "enabled"]:
        pytest.fail(f"{unit} is {', '.join(state)}\n" + host.run(f"journalctl -n 40 --no-pager -u {unit}").stdout)


def eventually(true: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until it is true; say what was waited for when it does not become so."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = true()
        except (AssertionError, subprocess.SubprocessError) as error:  # the API is away for a moment
            last = error
        else:
            if last:
                return
        time.sleep(1)
    pytest.fail(f"{what}: not after {seconds:.0f} s: {last}")


full = pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="only with tests/run --full")
