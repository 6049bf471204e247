# SPDX-License-Identifier: Apache-2.0
"""A host's kubelet gets the cluster's configuration, and the former one back where its node is not Ready with it."""

from __future__ import annotations

import datetime as dt
import time
import typing as t

from ansible.module_utils.yunkube.host import files
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import condition

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KUBECONFIG = "/etc/kubernetes/kubelet.conf"
STOPPED = 10  # looks at a kubelet that does not run, after which it is known to end again and again


def problem(node: Json, since: dt.datetime) -> str:
    """Say what a node lacks to be Ready as reported by a kubelet that was started at `since`; empty when it is."""
    ready = condition(node, "Ready")
    reported = ready.get("lastHeartbeatTime") or "1970-01-01T00:00:00Z"
    moment = dt.datetime.strptime(reported, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.timezone.utc)
    if moment < since.replace(microsecond=0):
        return "the kubelet has not reported since it was restarted"
    return "" if ready.get("status") == "True" else f"not Ready: {ready.get('message') or ready.get('reason')}"


class Rollout:
    """The change of one host's kubelet; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        self.seconds = scaled(self.options["timeout"])

    def run(self) -> None:
        """Write the file, and restart the kubelet where it differs."""
        words = [f"restart kubelet with {', '.join(self.options['fields'])}"]
        if self.module.check_mode:
            self.module.exit_json(changed=True, changes=words)
        before = files.read_state(kubelet_file.CONFIG)
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        try:
            kubelet_file.write(program, self.options["patches"], self.seconds)
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
        since = dt.datetime.now(dt.timezone.utc)
        kubeadm.start_kubelet(again=True)
        deadline = time.monotonic() + self.seconds
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
