#!/usr/bin/python
"""Make this host the cluster's first master."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make this host the cluster's first master with kubeadm init
description:
  - Looks at the host and at the API; where the control plane is complete, it answers in one round trip.
  - Finishes what an interrupted run left. Every phase of C(kubeadm init) can be repeated, so nothing is ever reset;
    the checks that fail on such leftovers are ignored by name, and only when the leftover is this cluster's own.
  - Waits for a kubeadm that still runs from an earlier, killed run, and for the API of a host that just started.
author: [Yunkube]
options:
  config:
    description: "kubeadm's configuration, YAML documents. It goes to kubeadm through memory, never over a disk."
    type: str
    required: true
  endpoint: {description: "The cluster's endpoint, host:port", type: str, required: true}
  ignore_preflight_errors: {description: Checks to ignore by name, type: list, elements: str, default: []}
  patches:
    description:
      - "kubeadm's patches, each a dictionary of target (C(etcd), C(corednsdeployment)...) and strategic merge patch."
      - Later ones come on top of earlier ones.
      - They are written to C(/run/yunkube/patches), which the configuration must name (C(patches.directory)).
    type: list
    elements: dict
    default: []
  kubeconfig_server:
    description: Under which address the API server stands in the kubeconfig that C(kubeconfig_digest) is of.
    type: str
    default: ""
  timeout: {description: Seconds for kubeadm to end, type: int, default: 360}
  boot_timeout: {description: Seconds to wait for a control plane that is there but silent, type: int, default: 60}
attributes:
  check_mode: {support: full, details: [Says what it would do.]}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
state: {description: "What was found: complete, stopped, silent, partial or absent", returned: always, type: str}
kubeconfig_digest: {description: "sha256 of admin.conf with O(kubeconfig_server) in it", returned: always, type: str}
missing: {description: What a partial control plane lacked, returned: always, type: list, elements: str}
ignored: {description: Checks that were ignored, returned: when kubeadm ran, type: list, elements: str}
seconds: {description: How long kubeadm took, returned: when kubeadm ran, type: float}
kubelet_journal: {description: The kubelet's last lines, returned: when it is not healthy, type: list, elements: str}
"""

import base64
import hashlib
import re
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import host_lock, kubeadm
from ansible.module_utils.yunkube.kube_api import KubeApi, KubeError, read_kubeconfig

SECRETS = "/api/v1/namespaces/kube-system/secrets"
TOKEN_DESCRIPTION = "made by kubeadm init and used by nobody"  # noqa: S105 - as in the configuration of role master

# What `kubeadm init` makes last of all; with them there, it came to its end.
LAST_STEPS = {
    "ConfigMap kubeadm-config": "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
    "Deployment coredns": "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
    "DaemonSet kube-proxy": "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
}


class Found(t.NamedTuple):
    """What is on the host: complete, stopped, silent, partial, absent or foreign, and what to say about it."""

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
        return Found("foreign", f"this host is a master of another cluster ({server}, not https://{endpoint})")
    try:
        missing = ask()
    except KubeError as error:
        if error.reason == "OtherCluster":
            return Found("foreign", str(error))
        complete = all((root / kubeadm.MANIFESTS / f"{name}.yaml").exists() for name in kubeadm.COMPONENTS)
        configured = complete and (root / "var/lib/kubelet/config.yaml").exists()
        return Found("silent" if configured else "partial", str(error))
    if missing:
        return Found("partial", "", missing)
    return Found("complete" if kubelet_runs else "stopped")


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
    for secret in api.items(SECRETS, fieldSelector="type=bootstrap.kubernetes.io/token"):
        if base64.b64decode(secret["data"].get("description", "")).decode() == TOKEN_DESCRIPTION:
            api.delete(f"{SECRETS}/{secret['metadata']['name']}")


def kubeconfig_digest(path: Path, server: str) -> str:
    """Return the sha256 of a kubeconfig in which the API server stands under `server`; empty where there is none."""
    if not path.exists():
        return ""
    text = re.sub(r"(?m)^(\s*server:) .*$", rf"\1 {server}", path.read_text())
    return hashlib.sha256(text.encode()).hexdigest()


class Init:
    """The module's work on one host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        self.root = Path("/")

    def look(self) -> Found:
        """See what is on the host now."""
        try:
            found = look(self.root, self.options["endpoint"], self._ask, kubelet_runs=kubeadm.kubelet_active())
        except KubeError as error:  # admin.conf is there and says nothing
            self.module.fail_json(msg=f"/etc/kubernetes/admin.conf: {error}")
        if found.state == "foreign":
            self.module.fail_json(
                msg=f"{found.detail}; take it out with `kubeadm reset` on it, or correct the inventory",
                kind="preflight",
                faults=[{"check": "other cluster", "message": found.detail, "remedy": "kubeadm reset"}],
            )
        return found

    def run(self) -> None:
        """Bring the control plane to its end, or find it there."""
        host_lock.take(self.module)
        found = self.look()
        if found.state == "complete":
            self._done(found, changed=False)
        if self.module.check_mode:
            self._done(found, changed=True)
        try:
            with kubeadm.exclusive(self.options["timeout"]) as lock:
                self._settle(self.look(), lock)
        except kubeadm.BusyError as error:
            self.module.fail_json(msg=str(error))

    def _settle(self, found: Found, lock: int) -> None:
        started = found.state in ("stopped", "silent") and not kubeadm.kubelet_active()
        if started:
            kubeadm.start_kubelet()
        if started or found.state == "silent":
            found = self._wait()
        if found.state == "complete":  # an earlier run, or the start of the host, came to its end meanwhile
            self._done(found._replace(state="stopped") if started else found, changed=started)
        self._init(found, lock)

    def _wait(self) -> Found:
        """Give a control plane that is there the time to start."""
        deadline = time.monotonic() + self.options["boot_timeout"]
        while (found := self.look()).state == "silent" and time.monotonic() < deadline:
            time.sleep(0.3)
        return found

    def _init(self, found: Found, lock: int) -> None:
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        config = self.options["config"]
        valid = kubeadm.run([program, "config", "validate"], config, lock, 60)
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
            self.module.fail_json(**kubeadm.failure("init", outcome))
        take_back_tokens(KubeApi.from_file(timeout=5))
        self._done(found, changed=True, ignored=ignored, seconds=round(outcome.seconds, 1))

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


def main() -> None:
    """Run as Ansible's module."""
    Init(
        AnsibleModule(
            argument_spec={
                "config": {"type": "str", "required": True},
                "endpoint": {"type": "str", "required": True},
                "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
                "patches": {"type": "list", "elements": "dict", "default": []},
                "kubeconfig_server": {"type": "str", "default": ""},
                "timeout": {"type": "int", "default": 360},
                "boot_timeout": {"type": "int", "default": 60},
            },
            supports_check_mode=True,
        )
    ).run()


if __name__ == "__main__":
    main()
