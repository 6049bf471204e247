# SPDX-License-Identifier: Apache-2.0
"""What the cluster's certificates must be like, and whether those that kubeadm issued are."""

from __future__ import annotations

import datetime as dt
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.x509 import Certificate, read_certificate

KUBERNETES = Path("/etc/kubernetes")
CONFIG = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
# kubeadm's defaults.
ALGORITHM = "RSA-2048"
LIFETIME = dt.timedelta(days=365)
NEAR = dt.timedelta(hours=1)  # between kubeadm's clock reading and ours, and what it takes off the beginning
UTC = dt.timezone.utc


class Wanted(t.NamedTuple):
    """How kubeadm must issue keys and certificates."""

    algorithm: str
    lifetime: dt.timedelta


def wanted_of(config: str) -> Wanted:
    """Return what a ClusterConfiguration says of keys and certificates."""
    algorithm = re.search(r'^encryptionAlgorithm: *"?([\w-]+)', config, re.MULTILINE)
    period = re.search(r'^certificateValidityPeriod: *"?([\dhms.]+)', config, re.MULTILINE)
    return Wanted(algorithm[1] if algorithm else ALGORITHM, _duration(period[1]) if period else LIFETIME)


def _duration(text: str) -> dt.timedelta:
    """Read a duration as Go writes it, such as 8760h0m0s."""
    units = {"h": "hours", "m": "minutes", "s": "seconds"}
    return dt.timedelta(**{units[unit]: float(number) for number, unit in re.findall(r"([\d.]+)([hms])", text)})


def configuration(version: str, kubeconfigs: t.Iterable[Path], root: Path = KUBERNETES) -> str:
    """Return the ClusterConfiguration: the cluster's own, or where no API answers, one made of this host's files."""
    for path in kubeconfigs:
        try:
            with KubeApi.from_file(str(path), timeout=5) as api:
                return str(api.get(CONFIG)["data"]["ClusterConfiguration"])
        except (KubeError, KeyError):
            continue
    return from_host(version, root)


def from_host(version: str, root: Path) -> str:
    """Return a ClusterConfiguration by which kubeadm issues certificates like those that are on this host."""
    found: list[tuple[Certificate, dt.timedelta]] = []
    for path in sorted([*root.glob("pki/*.crt"), *root.glob("pki/etcd/*.crt")]):
        if path.name in ("ca.crt", "front-proxy-ca.crt"):
            continue
        try:
            read = read_certificate(path.read_text())
        except (OSError, ValueError):
            continue
        # The beginning in a certificate is its authority's; when it was made, the file knows.
        found.append((read, read.not_after - dt.datetime.fromtimestamp(path.stat().st_mtime, UTC)))
    if not found:
        raise ValueError(f"the API does not answer, and {root}/pki holds no certificate to copy the settings from")
    # One that was renewed by hand may differ; most were issued when the cluster was created.
    algorithms = [read.algorithm for read, _ in found]
    lifetime = max(lifetime for _, lifetime in found)
    hours = max(1, round(lifetime / dt.timedelta(hours=1)))
    endpoint, name = _endpoint(root)
    lines = [
        "apiVersion: kubeadm.k8s.io/v1beta4",
        "kind: ClusterConfiguration",
        f"kubernetesVersion: {version}",
        f"clusterName: {name}",
        f"controlPlaneEndpoint: {endpoint}",
        f"encryptionAlgorithm: {max(sorted(set(algorithms)), key=algorithms.count)}",
        f"certificateValidityPeriod: {hours}h0m0s",
    ]
    return "".join(f"{line}\n" for line in lines)


def _endpoint(root: Path) -> tuple[str, str]:
    """Return the cluster's endpoint and name. A kubelet of a master may ask the API server of its own host instead."""
    for name in ("admin.conf", "super-admin.conf", "kubelet.conf"):
        try:
            text = (root / name).read_text()
        except OSError:
            continue
        server = re.search(r"server:\s*\"?https://([^\s\"]+)", text)
        cluster = re.search(r"^\s+cluster: *\"?([^\s\"]+)", text, re.MULTILINE)
        if server and cluster:
            return server[1], cluster[1]
    raise ValueError(f"no kubeconfig in {root} names the API server")


def read(path: Path) -> Certificate:
    """Read a certificate, or the client's in a kubeconfig."""
    text = path.read_text()
    if path.suffix == ".conf":
        text = parse_kubeconfig(text).certificate.decode()
    return read_certificate(text)


def differences(path: Path, wanted: Wanted, authority_ends: dt.datetime | None, now: dt.datetime) -> list[str]:
    """Return in which ways a certificate that was issued just now is not as wanted."""
    try:
        found = read(path)
    except FileNotFoundError:
        return [f"{path} is missing"]
    except (OSError, ValueError, KubeError) as error:
        return [f"{path} cannot be read: {error}"]
    said = []
    if found.algorithm != wanted.algorithm:
        said.append(f"its key is {found.algorithm}, not {wanted.algorithm}")
    ends = now + wanted.lifetime
    if authority_ends:
        ends = min(ends, authority_ends)
    if abs(found.not_after - ends) > NEAR:
        said.append(f"it ends on {found.not_after:%Y-%m-%d %H:%M}, not on {ends:%Y-%m-%d %H:%M}")
    return [f"{path}: {', '.join(said)}"] if said else []
