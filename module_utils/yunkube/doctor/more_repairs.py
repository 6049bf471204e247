# SPDX-License-Identifier: Apache-2.0
"""Repairs of objects and files that somebody changed, and the list of all repairs."""

from __future__ import annotations

import datetime as dt
import json
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor import addons, etcd_repairs, repairs
from ansible.module_utils.yunkube.doctor.collect_objects import other_role, unchangeable
from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work, now
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.health import workload_problem
from ansible.module_utils.yunkube.kube.objects import name_of
from ansible.module_utils.yunkube.kube.x509 import read_certificate

COREFILE = "/api/v1/namespaces/kube-system/configmaps/coredns"
DNS_PODS = "/api/v1/namespaces/kube-system/pods"
WORKLOADS = "/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}"
DNS = {"namespace": "kube-system", "kind": "deployment", "name": "coredns"}
FLANNEL = {"namespace": "kube-flannel", "kind": "daemonset", "name": "kube-flannel-ds"}
CLIENT = "kubelet-client-current.pem"
NODE_KEYS = Path("/var/lib/kubelet/pki")
OF_SERVER = ("resourceVersion", "uid", "creationTimestamp", "managedFields")  # of metadata: a new object has its own
# What kubeadm's phases call the certificates.
CERTIFICATES = {
    "apiserver.crt": "apiserver",
    "apiserver-kubelet-client.crt": "apiserver-kubelet-client",
    "apiserver-etcd-client.crt": "apiserver-etcd-client",
    "front-proxy-client.crt": "front-proxy-client",
    "server.crt": "etcd-server",
    "peer.crt": "etcd-peer",
    "healthcheck-client.crt": "etcd-healthcheck-client",
}


def _rolled_out(work: Work, api: KubeApi, place: t.Mapping[str, str]) -> None:
    path = WORKLOADS.format_map({**place, "kind": place["kind"].lower()})
    work.wait(
        lambda: not workload_problem(api.get(path)), f"{place['namespace']}/{place['name']} is not rolled out", 120
    )


def restart_rollout(work: Work, _target: str, kind: str, namespace: str, name: str) -> None:
    """Restart a workload's rollout, so that its controller does not wait for its back-off."""
    path = WORKLOADS.format(namespace=namespace, kind=kind.lower(), name=name)
    if work.note(f"restart the rollout of {kind} {namespace}/{name}"):
        with KubeApi.from_file(str(repairs.ADMIN_CONF), timeout=5) as api:
            stamp = {"kubectl.kubernetes.io/restartedAt": f"{now():%Y-%m-%dT%H:%M:%SZ}"}
            api.patch(path, {"spec": {"template": {"metadata": {"annotations": stamp}}}})
            _rolled_out(work, api, {"kind": kind, "namespace": namespace, "name": name})


def ignore_webhook(work: Work, _target: str, path: str, webhook: str, **_named: str) -> None:
    """Let the API go on where a webhook does not answer; the configuration stays, its copy is kept."""
    with KubeApi.from_file(str(repairs.ADMIN_CONF), timeout=5) as api:
        found = api.get(path)
        work_on = [{**one, "failurePolicy": "Ignore"} if one["name"] == webhook else one for one in found["webhooks"]]
        if work.note(f"set failurePolicy of webhook {webhook} to Ignore"):
            work.keep_text("webhook.json", json.dumps(found, indent=1))
            api.patch(path, {"webhooks": work_on})


def restore_objects(work: Work, _target: str, manifests: list[Json], **_named: str) -> None:
    """Apply objects as they are declared, and let the pods that need them read them."""
    with KubeApi.from_file(str(repairs.ADMIN_CONF), timeout=5) as api:
        for manifest in manifests:
            found = api.find(api.path_of(manifest))
            if found and not work.dry:
                work.keep_text("object.json", json.dumps(found, indent=1))
            if found and _must_go(api, found, manifest):
                _recreate(work, api, manifest, found)
            elif work.note(f"apply {name_of(manifest)}"):
                addons.apply(api, manifest, found)
        for place in {tuple(_whose(one).items()) for one in manifests}:
            if not work.dry and api.find(WORKLOADS.format_map(dict(place))):
                _revive(work, api, dict(place))


def _must_go(api: KubeApi, found: Json, manifest: Json) -> bool:
    """Say whether an object has to be deleted before it can be applied, because of a field that cannot be changed."""
    try:
        addons.apply(api, manifest, found, dry_run=True)
    except KubeError as error:
        return bool(unchangeable(found, manifest, error))
    return other_role(found, manifest)


def _whose(manifest: Json) -> dict[str, str]:
    """Return the workload that an object belongs to, by its name."""
    name = name_of(manifest)
    known = {
        "dashboard": {"namespace": "dashboard", "kind": "deployment", "name": "dashboard"},
        "registry": {"namespace": "registry", "kind": "deployment", "name": "registry"},
        "dns": DNS,
        "prox": {"namespace": "kube-system", "kind": "daemonset", "name": "kube-proxy"},
    }
    return next((place for word, place in known.items() if word in name), FLANNEL)


def _recreate(work: Work, api: KubeApi, manifest: Json, found: Json) -> None:
    """Delete an object and apply the declared one, as the API does not change it; where that fails, it is as it was."""
    name, path = name_of(manifest), api.path_of(manifest)
    what = "its role" if manifest.get("roleRef") else "what the API does not change"
    work.note(f"delete {name}, to change {what}")
    if not work.note(f"apply {name}"):
        return
    api.delete(path)
    try:
        addons.apply(api, manifest, found)
    except KubeError as error:
        metadata = {key: value for key, value in found["metadata"].items() if key not in OF_SERVER}
        try:
            api.post(path.rpartition("/")[0], {**found, "metadata": metadata})
        except KubeError as again:
            what = "somebody has created another one" if again.status == 409 else f"nor can it be restored ({again})"
            raise RepairError(f"{name} cannot be applied ({error}), {what}: a copy is in {work.backup}") from again
        raise RepairError(f"{name} cannot be applied ({error}): it is there as it was before") from error


def _revive(work: Work, api: KubeApi, place: t.Mapping[str, str]) -> None:
    """Delete the pods of a workload that are not ready, which would wait before their next try."""
    labels = api.get(WORKLOADS.format_map(place))["spec"]["selector"]["matchLabels"]
    pods = f"/api/v1/namespaces/{place['namespace']}/pods"
    for pod in api.items(pods, labelSelector=",".join(f"{key}={value}" for key, value in labels.items())):
        if not any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or []):
            api.delete(f"{pods}/{pod['metadata']['name']}")
    try:
        _rolled_out(work, api, place)
    except RepairError:
        return  # the object is back; what else keeps a pod from being ready is a finding of the next look


def restore_corefile(work: Work, _target: str, manifests: list[Json], **_named: str) -> None:
    """Apply the Corefile that a new cluster has; what was there is kept."""
    with KubeApi.from_file(str(repairs.ADMIN_CONF), timeout=5) as api:
        there = (api.find(COREFILE) or {}).get("data", {}).get("Corefile", "")
    work.note("write the Corefile of a new cluster", there, "(kubeadm's)\n")
    restore_objects(work, "", manifests=manifests)


def take_away(work: Work, _target: str, path: str) -> None:
    """Take a file from where it does harm; its copy is kept."""
    work.keep(Path(path))
    if work.note(
        f"move {path} to {work.backup or 'a folder of the doctor'}", Path(path).read_text(errors="replace"), ""
    ):
        Path(path).unlink()


def reload_units(work: Work, _target: str) -> None:
    """Let systemd read its units' files."""
    if work.note("systemctl daemon-reload"):
        work.run("systemctl", "daemon-reload")


def set_hostname(work: Work, _target: str, name: str) -> None:
    """Give a host the name that it joined with."""
    work.keep(Path("/etc/hostname"))
    if work.note(f"set the hostname to {name}"):
        work.run("hostname", name)
        write_atomic(Path("/etc/hostname"), f"{name}\n", 0o644)
    repairs.restart_kubelet(work)


def set_server(work: Work, _target: str, server: str) -> None:
    """Let the kubelet report to the API that the other hosts report to, if this takes it for its node."""
    path = Path(repairs.KUBELET_CONF)
    there = path.read_text()
    wanted = re.sub(r"(?m)^(\s*server:\s*)\S+", lambda found: f"{found[1]}{server}", there)
    name = repairs.node_name()
    try:
        with KubeApi(parse_kubeconfig(wanted), timeout=5) as api:
            api.get(f"/api/v1/nodes/{name}")
    except KubeError as error:
        raise RepairError(f"{path} is left as it is: {server} does not serve node {name}: {error}") from error
    work.write(path, wanted, 0o600)
    repairs.restart_kubelet(work)


def link_certificate(work: Work, _target: str) -> None:
    """Link the newest of the kubelet's certificates that holds as the current one."""
    holding = []
    for path in sorted(NODE_KEYS.glob("kubelet-client-2*.pem")):
        try:
            if read_certificate(path.read_text()).not_after > now():
                holding.append(path)
        except ValueError:
            continue
    if not holding:
        raise RepairError(f"{NODE_KEYS} has no certificate of the kubelet that holds")
    link = NODE_KEYS / CLIENT
    if work.note(f"link {link} to {holding[-1].name}"):
        link.unlink(missing_ok=True)
        link.symlink_to(holding[-1])
        work.run("systemctl", "reset-failed", "kubelet")  # its failures so far say nothing any more
    repairs.restart_kubelet(work)


def write_public_key(work: Work, _target: str) -> None:
    """Derive the public key of service accounts from the signing key; restart who read the other one."""
    path = repairs.PKI / "sa.pub"
    work.write(path, work.run("openssl", "pkey", "-in", str(repairs.PKI / "sa.key"), "-pubout"), 0o600)
    repairs.restart_part(work, "kube-apiserver")
    if not work.dry:
        repairs.leaders_lead(work)


def make_certificate(work: Work, _target: str, path: str) -> None:
    """Let kubeadm make a pair that is missing, signed by the cluster's authority; half a pair is kept and removed."""
    pair = [Path(path), Path(path).with_suffix(".key")]
    work.keep(*pair)
    if work.note(f"make {path} and its key"):
        for one in pair:
            one.unlink(missing_ok=True)
        repairs.by_kubeadm(work, Path(path), "init", "phase", "certs", CERTIFICATES[Path(path).name])


def free_addresses(work: Work, _target: str, folder: str) -> None:
    """Delete the notes of addresses whose container is gone."""
    living = {*work.run(*repairs.CRICTL, "pods", "--quiet", "--no-trunc").split()}
    notes = [path for path in sorted(Path(folder).glob("*")) if path.name[:1].isdigit()]
    stale = [path for path in notes if path.read_text().split("\n")[0].strip() not in living]
    young = dt.timedelta(minutes=1)  # of a sandbox that is being made, and is not listed yet
    old = [path for path in stale if now().timestamp() - path.stat().st_mtime > young.total_seconds()]
    if old and work.note(f"delete {len(old)} notes of addresses in {folder} whose containers are gone"):
        for path in old:
            path.unlink()
    if not old:
        raise RepairError(f"every address in {folder} belongs to a container that exists or was just made")


REPAIRS: dict[str, t.Callable[..., None]] = repairs.REPAIRS | {
    repair.__name__: repair
    for repair in (
        restart_rollout,
        ignore_webhook,
        restore_objects,
        restore_corefile,
        take_away,
        reload_units,
        set_hostname,
        set_server,
        link_certificate,
        write_public_key,
        make_certificate,
        free_addresses,
        etcd_repairs.free_etcd_space,
        etcd_repairs.defragment_etcd,
    )
}
