# SPDX-License-Identifier: Apache-2.0
"""The repairs, one small function each: change as little as helps, keep what was there, wait until it has worked."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import socket
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor import certificates
from ansible.module_utils.yunkube.doctor.containers import SOCKET, answers
from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.probes import MASTER_PROBES, PROBES, probe, reach
from ansible.module_utils.yunkube.doctor.read_host import subnet_env
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work, now
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.settings import Settings
from ansible.module_utils.yunkube.kube import kubelet_file
from ansible.module_utils.yunkube.kube.api import CERTIFICATE, OTHER_CLUSTER, KubeApi, KubeError, instant
from ansible.module_utils.yunkube.kube.health import condition
from ansible.module_utils.yunkube.kube.x509 import read_certificate

KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
ADMIN_CONF = Path("/etc/kubernetes/admin.conf")
PKI = Path("/etc/kubernetes/pki")
SUBNET_ENV = Path("/run/flannel/subnet.env")
FLANNEL_PODS = "/api/v1/namespaces/kube-flannel/pods"
PROXY_PODS = "/api/v1/namespaces/kube-system/pods"
FLANNEL_CONFIG = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"
FEATURES = {"net.bridge.bridge-nf-call-iptables": "br_netfilter"}
# Its own limit for each answer is 2 seconds, and with that of `stop` for the container a busy host exceeds it.
CRICTL = ("crictl", "--runtime-endpoint", f"unix:///{SOCKET}", "--timeout", f"{scaled(30):.0f}s")
NOT_OURS = 20.0  # seconds for which a kubelet that runs again says that it is not ready: that has another cause


def node_name() -> str:
    """Return the name of this host's node."""
    return socket.gethostname().lower()


def node_ready(work: Work) -> None:
    """Wait until the API reports this host's node as ready; not for what the kubelet reports of another fault."""
    if work.dry or not Path(KUBELET_CONF).exists():
        return
    began = time.monotonic()
    with KubeApi.from_file(KUBELET_CONF, timeout=5) as api:
        try:
            api.get("/version")
        except KubeError:
            return  # that may be the next finding
        path = f"/api/v1/nodes/{node_name()}"

        def settled() -> bool:
            status = condition(api.get(path), "Ready").get("status")
            return status == "True" or (status == "False" and time.monotonic() - began > NOT_OURS)

        work.wait(settled, f"node {node_name()} is not ready", 90)


def start_unit(work: Work, _target: str, unit: str, *, again: bool = False) -> None:
    """Enable a service, and start or restart it."""
    shown = work.run("systemctl", "show", "--property=ActiveState,UnitFileState", unit)
    state = dict(line.split("=", 1) for line in shown.splitlines())
    if state.get("UnitFileState") == "masked" and work.note(f"unmask {unit}"):
        work.run("systemctl", "unmask", unit)
    if state.get("UnitFileState") != "enabled" and work.note(f"enable {unit}"):
        work.run("systemctl", "enable", unit)
    if (again or state.get("ActiveState") != "active") and work.note(f"{'restart' if again else 'start'} {unit}"):
        work.run("systemctl", "restart" if again else "start", unit)
        _service_well(work, unit)


def _service_well(work: Work, unit: str) -> None:
    if unit == "containerd":
        work.wait(lambda: answers(Path("/") / SOCKET), "containerd does not answer")
    else:
        work.wait(lambda: probe(PROBES[unit]) == "ok", f"{unit} is not healthy")
    node_ready(work)


def restart_kubelet(work: Work) -> None:
    if work.note("restart kubelet"):
        work.run("systemctl", "restart", "kubelet")
        _service_well(work, "kubelet")


def set_sysctls(work: Work, _target: str, values: t.Mapping[str, str]) -> None:
    """Set sysctls, and load the kernel module that they belong to."""
    settings = Settings(work.module)
    for name, value in values.items():
        if name in FEATURES:
            settings.load(FEATURES[name])
        settings.set_sysctl(name, value)
    work.changes += settings.changes
    work.diff += settings.diff


def turn_swap_off(work: Work, _target: str) -> None:
    """Turn swap off, now and at boot."""
    work.keep(Path("/etc/fstab"))
    settings = Settings(work.module)
    settings.turn_swap_off()
    work.changes += settings.changes
    work.diff += settings.diff


def set_mode(work: Work, _target: str, path: str, mode: str = "0755") -> None:
    """Make a program executable, or a key readable by root alone."""
    there = f"{Path(path).stat().st_mode & 0o7777:04o}"
    if work.note(f"set the mode of {path} to {mode}", f"{there}\n", f"{mode}\n"):
        Path(path).chmod(int(mode, 8))


def restart_flannel(work: Work, _target: str, truth: t.Mapping[str, str] | None = None) -> None:
    """Restart flanneld; it writes what the CNI plugin needs. Only if it cannot, write it from the facts."""
    work.keep(SUBNET_ENV)
    wanted = dict(truth or {})
    try:
        with KubeApi.from_file(KUBELET_CONF, timeout=5) as api:
            _restart_pods(work, api, node_name(), "kube-flannel", FLANNEL_PODS)
        work.wait(lambda: _says(wanted), f"{SUBNET_ENV} does not hold {wanted or 'anything'}", 20)
    except (KubeError, RepairError) as error:
        if len(wanted) < 3:
            raise RepairError(f"{error}; what the file should say is not known either") from error
        if not _says(wanted):
            lines = [f"{key}={value}\n" for key, value in {**wanted, "FLANNEL_IPMASQ": "true"}.items()]
            work.write(SUBNET_ENV, "".join(lines))


def _says(wanted: t.Mapping[str, str]) -> bool:
    return wanted.items() <= (subnet_env(SUBNET_ENV) or {}).items() and SUBNET_ENV.exists()


def restart_kube_proxy(work: Work, _target: str, address: str, port: int) -> None:
    """Let kube-proxy start again, which writes rules that were deleted; a Service has to answer after that."""
    with KubeApi.from_file(KUBELET_CONF, timeout=5) as api:
        _restart_pods(work, api, node_name(), "kube-proxy", PROXY_PODS, labelSelector="k8s-app=kube-proxy")
    work.wait(lambda: reach(f"https://{address}:{port}") == "ok", f"{address}:{port} does not answer", 20)


def _restart_pods(work: Work, api: KubeApi, node: str, kind: str, path: str, **selector: str) -> None:
    def pods() -> list[Json]:
        return api.items(path, fieldSelector=f"spec.nodeName={node}", **selector)

    old = [pod["metadata"]["name"] for pod in pods()]
    if not old:
        raise RepairError(f"node {node} has no pod of {kind}")
    if work.note(f"delete pod {', '.join(old)}, which comes back"):
        for name in old:
            api.delete(f"{path}/{name}")
    ready = f"no new pod of {kind} is ready"
    work.wait(
        lambda: any(
            pod["metadata"]["name"] not in old and condition(pod, "Ready").get("status") == "True" for pod in pods()
        ),
        ready,
        90,
    )


def write_kubelet_config(work: Work, _target: str) -> None:
    """Let kubeadm rewrite the kubelet's configuration, as `up` does: the cluster's, with this host's patches."""
    path = kubelet_file.CONFIG
    there = path.read_text(errors="replace") if path.exists() else ""
    work.keep(path)
    if not work.note(f"write {path}"):
        work.note("restart kubelet")
        return
    try:
        kubelet_file.write(work.program("kubeadm"), work.patches, kubelet_file.SECONDS)
    except kubelet_file.WriteError as error:
        raise RepairError(str(error)) from error
    work.shows(f"write {path}", there, path.read_text())
    restart_kubelet(work)


def set_cgroup_driver(work: Work, _target: str, driver: str) -> None:
    """Set the kubelet's cgroup driver to that of the runtime."""
    there = kubelet_file.CONFIG.read_text()
    wanted = re.sub(r"^cgroupDriver: .*$", f"cgroupDriver: {driver}", there, flags=re.MULTILINE)
    work.write(kubelet_file.CONFIG, wanted)
    restart_kubelet(work)


# What kubeadm calls a certificate, and which component must restart to read it: the API server and etcd reload a new
# file by themselves. The API server takes minutes over its kubelet client's, too long if that expires meanwhile.
RENEWALS = {
    "apiserver.crt": ("apiserver", ""),
    "apiserver-kubelet-client.crt": ("apiserver-kubelet-client", "kube-apiserver if ending"),
    "apiserver-etcd-client.crt": ("apiserver-etcd-client", ""),
    "front-proxy-client.crt": ("front-proxy-client", ""),
    "server.crt": ("etcd-server", ""),
    "peer.crt": ("etcd-peer", ""),
    "healthcheck-client.crt": ("etcd-healthcheck-client", ""),
    "admin.conf": ("admin.conf", ""),
    "super-admin.conf": ("super-admin.conf", ""),
    "controller-manager.conf": ("controller-manager.conf", "kube-controller-manager"),
    "scheduler.conf": ("scheduler.conf", "kube-scheduler"),
}
# Which CA signs them, where it is not the cluster's own.
AUTHORITIES = {
    "front-proxy-client.crt": "front-proxy-ca.crt",
    **dict.fromkeys(("apiserver-etcd-client.crt", "server.crt", "peer.crt", "healthcheck-client.crt"), "etcd/ca.crt"),
}
RELOAD = dt.timedelta(minutes=10)  # the API server reads the files of its clients every five minutes
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def renew_certificate(work: Work, _target: str, path: str) -> None:
    """Let the cluster's own CA sign a new certificate; restart only what would not reload it."""
    name, part = RENEWALS[Path(path).name]
    if part.endswith(" if ending"):
        ending = read_certificate(Path(path).read_text()).not_after < now() + RELOAD
        part = part.removesuffix(" if ending") if ending else ""
    work.keep(Path(path), Path(path).with_suffix(".key"))
    if work.note(f"renew {path}"):
        by_kubeadm(work, Path(path), "certs", "renew", name)
    if part:
        restart_part(work, part)
    leaders_lead(work, now() if part in LEADERS else None)


def restart_part(work: Work, part: str) -> None:
    """Let a part of the control plane start again, and wait until it is well."""
    if work.note(f"restart {part}"):
        for container in containers_of(work, part, "--quiet").split():
            work.run(*CRICTL, "stop", "--timeout", "5", container)
        time.sleep(2)  # its old process may answer for a moment
        work.wait(lambda: probe(MASTER_PROBES[part]) == "ok", f"{part} is not healthy", 120)


def containers_of(work: Work, part: str, *form: str) -> str:
    """Return crictl's list, in the form that is asked for, of the running containers of a part of the control plane."""
    return work.run(*CRICTL, "ps", *form, "--name", f"^{part}$", "--label", constants.OF_SYSTEM)


def leaders_lead(work: Work, since: dt.datetime | None = None) -> None:
    """Wait until the components that elect a leader have one, which was heard of since then: by default just now."""
    with KubeApi.from_file(str(ADMIN_CONF), timeout=5) as api:
        work.wait(
            lambda: all(_leads(api, name, since or now() - HEARD) for name in LEADERS),
            f"{' or '.join(LEADERS)} has no leader",
            120,
        )


def by_kubeadm(work: Work, path: Path, *words: str) -> None:
    """Let kubeadm issue a certificate by the cluster's configuration, and check what it issued.

    Without a configuration it asks the API, and where that is away it takes its own defaults; of a certificate that is
    missing it only prints so. Both end with exit code 0.
    """
    version = work.run("kubeadm", "version", "--output", "short").strip()
    try:
        config = certificates.configuration(version, (Path(KUBELET_CONF), ADMIN_CONF), PKI.parent)
    except ValueError as error:
        raise RepairError(str(error)) from error
    said = work.run("kubeadm", *words, "--config", "/dev/stdin", data=config)
    authority = PKI / AUTHORITIES.get(path.name, "ca.crt")
    ends = certificates.read(authority).not_after if authority.exists() else None
    wrong = certificates.differences(path, certificates.wanted_of(config), ends, now())
    if wrong:
        raise RepairError(f"kubeadm {' '.join(words)} failed: {'; '.join(wrong)}; it says: {said.strip()[-200:]}")


LEADERS = ("kube-controller-manager", "kube-scheduler")
HEARD = dt.timedelta(seconds=scaled(10))  # since a leader was heard of that leads


def _leads(api: KubeApi, name: str, since: dt.datetime) -> bool:
    """Say whether a component of the control plane has renewed its lease since then."""
    return instant(api.get(f"{LEASES}/{name}")["spec"]["renewTime"]) > since


def write_admin_conf(work: Work, _target: str) -> None:
    """Write a new administrator's kubeconfig, signed by the cluster's own CA; kubeadm keeps an old one."""
    work.keep(ADMIN_CONF)
    there = ADMIN_CONF.read_text() if ADMIN_CONF.exists() else ""
    if work.note(f"write {ADMIN_CONF}"):
        ADMIN_CONF.unlink(missing_ok=True)
        try:
            by_kubeadm(work, ADMIN_CONF, "init", "phase", "kubeconfig", "admin")
        except RepairError:
            if there and not ADMIN_CONF.exists():
                write_atomic(ADMIN_CONF, there, 0o600)
            raise
        with KubeApi.from_file(str(ADMIN_CONF), timeout=5) as api:
            work.wait(lambda: _lets_in(api), "the API does not answer", 30)


def _lets_in(api: KubeApi) -> bool:
    """Say whether the API accepts the kubeconfig, or shows a certificate that is another fault."""
    try:
        return bool(api.items("/api/v1/nodes"))
    except KubeError as error:
        if error.reason in (OTHER_CLUSTER, CERTIFICATE):
            return True
        raise


def set_net_conf(work: Work, _target: str, network: str, manifest: Json | None = None) -> None:
    """Set flannel's network to that of the nodes, as `up` declares it if it does, and restart each flanneld."""
    if not network:
        raise RepairError("kube-controller-manager does not say which network the nodes' ranges come from")
    with KubeApi.from_file(str(ADMIN_CONF), timeout=5) as api:
        found = api.get(FLANNEL_CONFIG)
        there = found["data"].get("net-conf.json", "")
        try:
            read = json.loads(there)
        except ValueError:
            read = None
        if not isinstance(read, dict) or not isinstance(read.get("Backend"), dict):
            read = {"EnableNFTables": False, "Backend": {"Type": "vxlan"}}
        wanted = json.dumps({**read, "Network": network})
        if work.note(f"set Network of ConfigMap kube-flannel/kube-flannel-cfg to {network}", there, wanted):
            work.keep_text("net-conf.json", there)
            if manifest and json.loads(manifest["data"]["net-conf.json"])["Network"] == network:
                api.apply(manifest)
            else:
                api.patch(FLANNEL_CONFIG, {"data": {"net-conf.json": wanted}})
        for node in {pod["spec"].get("nodeName") for pod in api.items(FLANNEL_PODS)} - {None}:
            _restart_pods(work, api, node, "kube-flannel", FLANNEL_PODS)


def scale_dns(work: Work, _target: str, replicas: int) -> None:
    """Scale CoreDNS up."""
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    with KubeApi.from_file(str(ADMIN_CONF), timeout=5) as api:
        if work.note(f"scale Deployment kube-system/coredns to {replicas}"):
            api.patch(path, {"spec": {"replicas": replicas}})
        work.wait(lambda: api.get(path)["status"].get("readyReplicas", 0) >= replicas, "CoreDNS is not ready", 90)


def uncordon(work: Work, _target: str, node: str) -> None:
    """Make a node schedulable again."""
    with KubeApi.from_file(str(ADMIN_CONF), timeout=5) as api:
        if work.note(f"uncordon {node}"):
            api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}})


def delete_rule(work: Work, _target: str, undo: str) -> None:
    """Delete exactly one rule of the packet filter, and keep a copy of it."""
    argv = shlex.split(undo)
    if argv[:2] not in (["iptables", "-D"], ["iptables-legacy", "-D"]):
        raise RepairError(f"not the deletion of a rule: {undo}")
    if work.note(undo):
        work.keep_text("rules", work.run(f"{argv[0]}-save"))
        work.run(*argv)


def set_address(work: Work, _target: str, link: str, address: str) -> None:
    """Give the pods' bridge the one address that the node's range requires; pods stay connected to it."""
    if work.note(f"set the address of {link} to {address}"):
        work.run("ip", "-4", "address", "flush", "dev", link)
        work.run("ip", "address", "add", address, "broadcast", "+", "dev", link)


def set_mtu(work: Work, _target: str, link: str, mtu: int) -> None:
    """Set a link's MTU to that of the other hosts."""
    if work.note(f"set the MTU of {link} to {mtu}"):
        work.run("ip", "link", "set", "dev", link, "mtu", str(mtu))


REPAIRS: dict[str, t.Callable[..., None]] = {
    repair.__name__: repair
    for repair in (
        start_unit,
        set_sysctls,
        turn_swap_off,
        set_mode,
        restart_flannel,
        restart_kube_proxy,
        write_kubelet_config,
        set_cgroup_driver,
        renew_certificate,
        write_admin_conf,
        set_net_conf,
        scale_dns,
        uncordon,
        delete_rule,
        set_address,
        set_mtu,
    )
}
