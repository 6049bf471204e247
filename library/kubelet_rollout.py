#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring the cluster's kubelet configuration to this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_rollout
short_description: Write the cluster's kubelet configuration to this host
description:
  - Lets kubeadm write C(/var/lib/kubelet/config.yaml) from ConfigMap C(kube-system/kubelet-config) and the host's
    patches, restarts the kubelet where the file changed, and returns when the node has reported that it is Ready.
  - If the kubelet does not become ready with it, the former file is restored, the kubelet is restarted, and the module
    fails with the end of the kubelet's log. With C(throttle) of 1 hosts after one that failed are not
    tried (plugins/action/kubelet_rollout.py).
author: [The maintainers]
options:
  node: {description: Name of the node, type: str, required: true}
  patches:
    description: "kubeadm's patches, each a dictionary of target and strategic merge patch. Later ones win."
    type: list
    elements: dict
    default: []
  fields: {description: "What differs, in words", type: list, elements: str, default: []}
  timeout: {description: Seconds until the node must be ready, type: int, default: 120}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [Says what it would do.]}
"""
EXAMPLES = r"""
- name: Restart the kubelet with the configuration of the cluster
  kubelet_rollout:
    node: node1
    patches:
      - kubeletconfiguration: {maxPods: 50}
    fields: [maxPods 50 instead of 110]
    cluster: prod
    cluster_id: 0123456789abcdef
  throttle: 1
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
kubelet_journal: {description: The end of its log, returned: when it is not healthy, type: list, elements: str}
faults:
  description: Why the host is refused, or kubeadm writes no file, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import datetime as dt
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import files, identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import condition

KUBECONFIG = "/etc/kubernetes/kubelet.conf"
STOPPED = 10  # looks at a kubelet that does not run, after which it is known to end again and again


def problem(node: Json, since: dt.datetime) -> str:
    """Say what a node lacks to be Ready as reported by a kubelet that was started at `since`; empty when it is."""
    ready = condition(node, "Ready")
    reported = ready.get("lastHeartbeatTime") or "1970-01-01T00:00:00Z"
    moment = dt.datetime.strptime(reported, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.timezone.utc)  # noqa: UP017
    if moment < since.replace(microsecond=0):
        return "the kubelet has not reported since it was restarted"
    return "" if ready.get("status") == "True" else f"not Ready: {ready.get('message') or ready.get('reason')}"


class Rollout:
    """The module's work on one host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params

    def run(self) -> None:
        """Write the file, and restart the kubelet where it differs."""
        words = [f"restart kubelet with {', '.join(self.options['fields'])}"]
        if self.module.check_mode:
            self.module.exit_json(changed=True, changes=words)
        before = files.read_state(kubelet_file.CONFIG)
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        try:
            kubelet_file.write(program, self.options["patches"], self.options["timeout"])
        except kubelet_file.WriteError as error:
            self.module.fail_json(**error.failure)
        if files.read_state(kubelet_file.CONFIG).content == before.content:
            self.module.exit_json(changed=False, changes=[])
        detail = self._restart()
        if detail:
            journal = kubeadm.kubelet_journal()
            files.write(kubelet_file.CONFIG, before)
            again = self._restart()
            outcome = "the former configuration is back" + (f", and {again}" if again else " and the node is Ready")
            self.module.fail_json(
                msg=f"with {', '.join(self.options['fields'])}: {kubeadm.kubelet_cause(journal) or detail}; {outcome}",
                remedy="correct cluster_kubelet_config or node_patches, and run the same command again",
                kubelet_journal=journal,
            )
        self.module.exit_json(changed=True, changes=words)

    def _restart(self) -> str:
        """Restart the kubelet; return why the node is not Ready when the time is up."""
        since = dt.datetime.now(dt.timezone.utc)  # noqa: UP017 - Python 3.9
        kubeadm.start_kubelet(again=True)
        deadline = time.monotonic() + t.cast("int", self.options["timeout"])
        stopped = 0
        with KubeApi.from_file(KUBECONFIG, timeout=5) as api:
            while True:
                try:
                    detail = problem(api.get(f"/api/v1/nodes/{self.options['node']}"), since)
                except KubeError as error:
                    detail = str(error)
                stopped += not kubeadm.kubelet_active()
                if not detail or time.monotonic() > deadline:
                    return detail
                if stopped >= STOPPED:
                    return "the kubelet does not stay up"
                time.sleep(0.5)


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "patches": kubelet_file.PATCHES_SPEC,
            "fields": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 120},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    Rollout(module).run()


if __name__ == "__main__":
    main()
