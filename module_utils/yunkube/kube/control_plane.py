# SPDX-License-Identifier: Apache-2.0
"""The control plane's start on the first master: what is on the host, and kubeadm init until it has come to its end."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm, unverified
from ansible.module_utils.yunkube.kube.api import (
    CERTIFICATE,
    DAMAGED,
    OTHER_CLUSTER,
    Json,
    KubeApi,
    KubeError,
    read_kubeconfig,
)
from ansible.module_utils.yunkube.kube.bootstrap_tokens import SECRETS, TYPE
from ansible.module_utils.yunkube.kube.cluster_values import DECLARED, KUBELET_CONFIGMAP
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report
from ansible.module_utils.yunkube.words import joined

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

VALIDATE_SECONDS = scaled(60)  # that kubeadm may take to read its configuration
TOKEN_DESCRIPTION = "made by kubeadm init and used by nobody"  # noqa: S105 - as in the configuration of role master

# What `kubeadm init` makes last of all; with them there, it came to its end.
LAST_STEPS = {
    "ConfigMap kubeadm-config": "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
    "Deployment coredns": "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
    "DaemonSet kube-proxy": "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
}


class Found(t.NamedTuple):
    """What is on the host: complete, stopped, silent, partial, absent, foreign or rejected, and what to say about it.

    A control plane is rejected that is ours and has a certificate of no use.
    """

    state: str
    detail: str = ""
    missing: tuple[str, ...] = ()


def missing_steps(api: KubeApi) -> tuple[str, ...]:
    """Ask the API which of kubeadm's last steps are not done."""
    return tuple(name for name, path in LAST_STEPS.items() if api.find(path) is None)


def look(root: Path, endpoint: str, ask: t.Callable[[], tuple[str, ...]], *, kubelet_runs: bool) -> Found:
    """Judge the host by its files and by what the API answers to `ask`."""
    folder = root / "etc/kubernetes"
    if not (folder / "admin.conf").exists():
        if (folder / "kubelet.conf").exists():
            return Found("foreign", "this host is a node of a cluster already (/etc/kubernetes/kubelet.conf)")
        return Found("absent")
    server = read_kubeconfig(str(folder / "admin.conf")).server
    if server != f"https://{endpoint}":
        detail = (
            f"this host is a master of another cluster ({server}, not https://{endpoint}), or "
            "cluster_control_plane_endpoint was changed, which a running cluster cannot follow"
        )
        return Found("foreign", detail)
    try:
        missing = ask()
    except KubeError as error:
        if error.reason == DAMAGED:
            raise
        if error.reason in (OTHER_CLUSTER, CERTIFICATE):
            return Found("foreign" if error.reason == OTHER_CLUSTER else "rejected", str(error))
        if error.status == 401:  # by an API server of ours: its certificate was verified
            return Found("rejected", f"{server} does not accept /etc/kubernetes/admin.conf, which may have expired")
        complete = all((root / kubeadm.MANIFESTS / f"{name}.yaml").exists() for name in kubeadm.COMPONENTS)
        configured = complete and (root / "var/lib/kubelet/config.yaml").exists()
        return Found("silent" if configured else "partial", str(error))
    if missing:
        return Found("partial", "", missing)
    return Found("complete" if kubelet_runs else "stopped")


def is_new(found: Found, root: Path) -> bool:
    """Say whether kubeadm would make a new etcd: on a bare host, or where a run ended before etcd had data."""
    return found.state == "absent" or (found.state == "partial" and not (root / "var/lib/etcd/member").exists())


def objection(options: Json, answers: t.Callable[[str], bool]) -> Fault | None:
    """Return why no new cluster must be made here, as a fault; `answers` says whether an API does at the endpoint."""
    endpoint, others = options["endpoint"], options["others"]
    holders = [host for host, holds in others.items() if holds]
    unseen = [host for host, holds in others.items() if holds is None]
    if holders:
        keep = f"set cluster_control_plane_host: {holders[0]} and cluster_control_plane_endpoint: {endpoint}"
        remedy = f"{keep}, `remove` this host where it was a master before, and run `up`: it joins as a further master"
        if not answers(endpoint):
            remedy += f"; before that, make a running master answer at {endpoint}"
        message = f"this host has no control plane; the cluster is on {joined(holders)}"
        return Fault("second cluster", message, remedy, commands=("up",))
    if options["recorded"]:
        message = f"this cluster was made before ({options['recorded']}), and this host has no control plane"
        keep = f"set cluster_control_plane_host to a master that has it, and cluster_control_plane_endpoint: {endpoint}"
        if answers(endpoint):
            return Fault("second cluster", f"{message}, while an API answers at {endpoint}", keep)
        lost = "`down` clears what is left, or `-e master_cluster_lost=true` creates a new one immediately"
        commands = ("down", "up -e master_cluster_lost=true")
        return Fault("second cluster", message, f"{keep}; where it is lost for good, {lost}", commands=commands)
    if answers(endpoint):
        message = (
            f"this host has no control plane, and an API answers at {endpoint}: of a master outside the inventory?"
        )
        return Fault("second cluster", message, "name its masters in the inventory, or correct the endpoint")
    if unseen:
        message = f"it is unknown whether {joined(unseen)} has the cluster, as it could not be checked"
        return Fault("second cluster", message, "start it, or remove it from the inventory's masters for now")
    return None


def api_answers(endpoint: str, seconds: float = scaled(3)) -> bool:
    """Say whether some Kubernetes API answers; a load balancer without masters behind it, or a web server, does not."""
    try:
        found = unverified.get(endpoint, "/version", seconds)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return isinstance(found, dict) and ("gitVersion" in found or found.get("kind") == "Status")


def in_words(found: Found, config: str) -> list[str]:
    """Say what is to be done about what was found."""
    version = re.search(r"^kubernetesVersion: *\W*v([\d.]+)", config, re.MULTILINE)
    init = f"kubeadm init {version[1]}" if version else "kubeadm init"
    lacking = f", which lacks {', '.join(found.missing)}" if found.missing else ""
    return {
        "absent": [f"run {init}"],
        "partial": [f"run {init} again, to finish a control plane{lacking or ' that is not whole'}"],
        "silent": ["wait for the control plane to answer, and finish it where it does not"],
        "stopped": ["start kubelet"],
    }.get(found.state, [])


def take_back_tokens(api: KubeApi) -> None:
    """Delete the token that kubeadm init cannot be kept from making; every host gets one of its own."""
    for secret in api.items(SECRETS, fieldSelector=f"type={TYPE}"):
        if base64.b64decode(secret["data"].get("description", "")).decode() == TOKEN_DESCRIPTION:
            api.delete(f"{SECRETS}/{secret['metadata']['name']}")


def kubeconfig_digest(path: Path, server: str) -> str:
    """Return the sha256 of a kubeconfig in which the API server stands under `server`; empty where there is none."""
    if not path.exists():
        return ""
    text = re.sub(r"(?m)^(\s*server:) .*$", rf"\1 {server}", path.read_text())
    return hashlib.sha256(text.encode()).hexdigest()


class Init:
    """The start of the control plane, or the look at one that is there; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        self.root = Path("/")

    def look(self) -> Found:
        """See what is on the host now."""
        try:
            found = look(self.root, self.options["endpoint"], self._ask, kubelet_runs=kubeadm.kubelet_active())
        except KubeError as error:  # admin.conf is there and cannot be used
            self.module.fail_json(msg=str(error))
        if found.state == "foreign":
            remedy = "correct the inventory, or take the host out of the other cluster first"
            fault = Fault("other cluster", found.detail, remedy)
            self.module.fail_json(**Report((fault,), PREFLIGHT).as_failure())
        if found.state == "rejected":
            remedy = "`doctor` says which certificate it is, and renews one that has expired"
            fault = Fault("certificate", found.detail, remedy, commands=("doctor",))
            self.module.fail_json(**Report((fault,), PREFLIGHT).as_failure())
        return found

    def run(self) -> None:
        """Bring the control plane to its end, or find it there."""
        found = self.look()
        if found.state == "complete":
            self._done(found, changed=False)
        if is_new(found, self.root) and (fault := objection(self.options, api_answers)):
            self.module.fail_json(**Report((fault,), PREFLIGHT).as_failure())
        if self.module.check_mode:
            self._done(found, changed=True)
        try:
            with kubeadm.exclusive(self.options["timeout"]) as lock:
                self._settle(self.look(), lock)
        except kubeadm.BusyError as error:
            self.module.fail_json(msg=str(error))

    def _settle(self, found: Found, lock: int) -> None:
        started = found.state in ("stopped", "silent") and not kubeadm.kubelet_active()
        if started and (why := kubeadm.start_kubelet()):
            self.module.fail_json(msg=why, kubelet_journal=kubeadm.kubelet_journal())
        if started or found.state == "silent":
            found = self._wait()
        if found.state == "complete":  # an earlier run, or the start of the host, came to its end meanwhile
            self._done(found._replace(state="stopped") if started else found, changed=started)
        self._init(found, lock)

    def _wait(self) -> Found:
        """Give a control plane that is there the time to start."""
        deadline = time.monotonic() + scaled(self.options["boot_timeout"])
        while (found := self.look()).state == "silent" and time.monotonic() < deadline:
            time.sleep(0.3)
        return found

    def _init(self, found: Found, lock: int) -> None:
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        config = self.options["config"]
        valid = kubeadm.run([program, "config", "validate"], config, lock, VALIDATE_SECONDS)
        if valid.rc != 0:
            self.module.fail_json(**kubeadm.failure("config validate", valid))
        mine = [] if found.state == "absent" else kubeadm.init_leftovers(self.root, kubeadm.listeners())
        ignored = [*self.options["ignore_preflight_errors"], *mine]
        argv = [program, "init", "--skip-token-print"]
        if ignored:
            argv.append(f"--ignore-preflight-errors={','.join(ignored)}")
        kubeadm.write_patches(self.options["patches"])
        outcome = kubeadm.run(argv, config, lock, self.options["timeout"])
        if outcome.rc != 0:
            self.module.fail_json(
                **kubeadm.failure(
                    "init", outcome, "cluster_slow_factor (or master_init_timeout, if the inventory sets it)"
                )
            )
        self._take_back_tokens()
        self._keep_declared()
        self._done(found, changed=True, ignored=ignored, seconds=round(outcome.seconds, 1))

    def _take_back_tokens(self) -> None:
        """Delete kubeadm's token; the cluster is there also where that fails, and the token ends by itself."""
        try:
            with KubeApi.from_file(timeout=5) as api:
                take_back_tokens(api)
        except KubeError as error:
            self.module.warn(f"the token that kubeadm init made was not deleted, and expires within a minute: {error}")

    def _keep_declared(self) -> None:
        """Keep what the inventory declares of the kubelets beside what kubeadm made of it; the next run can, too."""
        try:
            with KubeApi.from_file(timeout=5) as api:
                annotations = {DECLARED: self.options["kubelet_declared"]}
                api.patch(KUBELET_CONFIGMAP, {"metadata": {"annotations": annotations}})
        except KubeError as error:
            self.module.warn(f"ConfigMap kubelet-config was not annotated, which the next run does: {error}")

    def _ask(self) -> tuple[str, ...]:
        return missing_steps(KubeApi.from_file(timeout=5))

    def _done(self, found: Found, *, changed: bool, **more: t.Any) -> t.NoReturn:
        digest = kubeconfig_digest(self.root / "etc/kubernetes/admin.conf", self.options["kubeconfig_server"])
        self.module.exit_json(
            changed=changed,
            changes=in_words(found, self.options["config"]) if changed else [],
            state=found.state,
            missing=list(found.missing),
            kubeconfig_digest=digest,
            **more,
        )
