# SPDX-License-Identifier: Apache-2.0
"""A host joins the cluster: what its kubelet.conf and the API say of it, and kubeadm join."""

from __future__ import annotations

import datetime as dt
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube import join_paths, kubeadm
from ansible.module_utils.yunkube.kube.api import (
    DAMAGED,
    OTHER_CLUSTER,
    Json,
    KubeApi,
    KubeError,
    is_master,
    read_kubeconfig,
)
from ansible.module_utils.yunkube.kube.x509 import read_certificate
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KUBELET_CONF = "etc/kubernetes/kubelet.conf"
CA = "etc/kubernetes/pki/ca.crt"
PIN = re.compile(r"sha256:[0-9a-f]{64}")
# Phases of kubeadm that a host with a kubelet.conf has behind it: only now would they refuse a node that is Ready.
DONE = "kubelet-start,etcd-join"
# Never `kubeadm reset`: whoever follows it destroys the other cluster's node, or that of the same cluster.
CORRECT = "correct the inventory, or take the host out of the other cluster first"
EXPIRED = "check this host's clock; where it is right, `remove` the host and `add` it again"
UNFINISHED = ("absent", "partial")


class Found(t.NamedTuple):
    """What is on the host: absent, partial, joined, unknown (to the API), expired or foreign, and what to say of it."""

    state: str
    detail: str = ""
    remedy: str = CORRECT


def look(root: Path, endpoint: str, ask: t.Callable[[], object], *, master: bool = False) -> Found:
    """Judge the host by its kubelet.conf and by what the API says about its node to `ask`."""
    conf = root / KUBELET_CONF
    if not conf.exists() or not _has_certificate(root, conf):
        return Found("absent")
    server = read_kubeconfig(str(conf)).server
    runs_api = (root / kubeadm.MANIFESTS / "kube-apiserver.yaml").exists()  # its kubelet asks its own API server
    if server != f"https://{endpoint}" and not runs_api:
        detail = f"this host joined a cluster at {server}, and cluster_control_plane_endpoint is {endpoint}"
        return Found("foreign", detail, f"where that is the same cluster, write the endpoint that it has; {CORRECT}")
    try:
        node = t.cast("Json", ask())
    except KubeError as error:
        if error.reason == DAMAGED:
            raise
        if error.status == 401 and (ended := _expired(root, conf)):
            return Found("expired", ended, EXPIRED)
        if error.reason == OTHER_CLUSTER or error.status == 401:
            return Found("foreign", f"this host is a node of another cluster: {error}")
        if error.status == 403:
            return Found("foreign", f"this host joined under another name: {error}")
        if error.status == 404:
            return Found("unknown", "the cluster has forgotten this node")
    else:
        if master and not is_master(node):
            return Found("partial")
    return Found("joined")  # also when nobody answers: a silent API is no reason to join again


def _expired(root: Path, conf: Path) -> str:
    """Say since when the kubelet's certificate is not valid any more, or nothing."""
    named = _certificate_file(root, conf)
    try:
        text = named.read_text() if named else read_kubeconfig(str(conf)).certificate.decode()
        ends = read_certificate(text).not_after
    except (OSError, ValueError, KubeError):
        return ""
    if ends >= dt.datetime.now(dt.timezone.utc):
        return ""
    return f"the certificate of this host's kubelet expired at {ends:%Y-%m-%d %H:%M} UTC"


def _certificate_file(root: Path, conf: Path) -> Path | None:
    named = re.search(r"^ *client-certificate: *(\S+) *$", conf.read_text(), re.MULTILINE)
    return root / named[1].strip("\"'").lstrip("/") if named else None


def _has_certificate(root: Path, conf: Path) -> bool:
    """Say whether the kubelet got its certificate: it writes its kubelet.conf before it asks for one."""
    named = _certificate_file(root, conf)
    return named is None or named.exists()


def wrong_ca(root: Path, config: str) -> str:
    """Say what is wrong when the host keeps another cluster's CA; kubeadm would leave it, and the kubelet trust it."""
    pins = PIN.findall(config)
    path = root / CA
    if not pins or not path.exists():
        return ""
    try:
        pin = read_certificate(path.read_text()).pin
    except ValueError as error:
        return f"/{CA}: {error}"
    return "" if pin in pins else f"/{CA} is another cluster's CA"


class Join:
    """The joining of one host, or the look at one that has joined; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        self.root = Path("/")

    def run(self) -> None:
        """Join, or only look."""
        found = self._look()
        if found.state in UNFINISHED and not self.module.check_mode:
            try:
                with kubeadm.exclusive(self.options["timeout"]) as lock:
                    found = self._look()  # an earlier kubeadm may have come to its end
                    if found.state in UNFINISHED and self.options["config"]:
                        self._join(found, lock)
            except kubeadm.BusyError as error:
                self.module.fail_json(msg=str(error))
        if found.state in UNFINISHED:
            if self.options["try_ports"] and not self.module.check_mode:
                self._refuse(*join_paths.endpoint_faults(self.options["endpoint"]))
            changes = [self._joining(found)] if self.options["config"] else []
            address = self.options["address"]
            self.module.exit_json(changed=bool(changes), changes=changes, joined=False, address=address)
        self._keep_running(found)

    def _look(self) -> Found:
        try:
            found = look(self.root, self.options["endpoint"], self._ask, master=self.options["master"])
        except KubeError as error:
            self.module.fail_json(msg=str(error))
        if found.state == "foreign":
            self._refuse(Fault("other cluster", found.detail, found.remedy))
        if found.state == "expired":
            commands = (f"remove {self.options['node']}", f"add {self.options['node']}")
            self._refuse(Fault("certificate", found.detail, found.remedy, commands=commands))
        return found

    def _ask(self) -> object:
        return KubeApi.from_file(str(self.root / KUBELET_CONF), timeout=3).get(f"/api/v1/nodes/{self.options['node']}")

    def _refuse(self, *faults: Fault) -> None:
        if faults:
            self.module.fail_json(**Report(faults, PREFLIGHT).as_failure())

    def _keep_running(self, found: Found) -> t.NoReturn:
        stopped = not kubeadm.kubelet_active()
        leftover = self.root / "etc/kubernetes/bootstrap-kubelet.conf"  # holds a token, and is of no more use
        changes = ["start kubelet"] if stopped else []
        if found.state == "unknown":
            changes = [f"{'start' if stopped else 'restart'} kubelet, as the cluster has forgotten this node"]
        if leftover.exists():
            changes.append(f"remove {leftover}")
        if changes and not self.module.check_mode:
            leftover.unlink(missing_ok=True)
            # A kubelet registers its node when it starts.
            if (stopped or found.state == "unknown") and (why := kubeadm.start_kubelet(again=True)):
                self.module.fail_json(msg=why, kubelet_journal=kubeadm.kubelet_journal())
        self.module.exit_json(changed=bool(changes), changes=changes, joined=True)

    def _joining(self, found: Found) -> str:
        if found.state == "partial":
            return "finish joining the cluster as a master"
        master = re.search(r"^controlPlane:", self.options["config"], re.MULTILINE)
        return f"join the cluster as a {'master' if master else 'node'}"

    def _join(self, found: Found, lock: int) -> t.NoReturn:
        config = self.options["config"]
        detail = wrong_ca(self.root, config)
        if detail:
            self._refuse(Fault("other cluster", detail, CORRECT))
        if self.options["try_ports"]:
            self._refuse(
                *join_paths.endpoint_faults(self.options["endpoint"], PIN.findall(config)),
                *join_paths.blocked(join_paths.of_masters(self.options["etcd"])).values(),
                *join_paths.blocked(join_paths.of_registry(self.options["registry"])).values(),
            )
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        ignored = [
            *self.options["ignore_preflight_errors"],
            *kubeadm.join_leftovers(self.root, kubeadm.listeners()),
        ]
        argv = [program, "join", *([f"--skip-phases={DONE}"] if found.state == "partial" else [])]
        if ignored:
            argv.append(f"--ignore-preflight-errors={','.join(ignored)}")
        kubeadm.write_patches(self.options["patches"])
        outcome = kubeadm.run(argv, config, lock, self.options["timeout"])
        if outcome.rc != 0:
            self.module.fail_json(
                **kubeadm.failure(
                    "join", outcome, "cluster_slow_factor (or node_join_timeout, if the inventory sets it)"
                )
            )
        self.module.exit_json(
            changed=True,
            changes=[self._joining(found)],
            joined=True,
            ignored=ignored,
            seconds=round(outcome.seconds, 1),
        )
